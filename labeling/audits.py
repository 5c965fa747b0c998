"""Audits: a random sample of the scored general tweets, denser where the scores leave more in doubt, judged blind.

The corpus is cut into strata by the version's scores. How many tweets each holds is known from the stored histogram,
so each drawn tweet's inclusion probability is known, and labeling.estimates can say what the labels mean for the whole.
"""

# ruff: noqa: S608 - what is put into SQL here is numbers and constants of this module

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from numpy.typing import NDArray

from labeling.labels import hold_tweets
from labeling.models import Audit, Job, ModelVersion, Queue, QueueItem, Source
from labeling.queues import MAX_SIZE
from labeling.sampling import CannotDraw
from labeling.score_tables import ScoreTables
from labeling.scoring import exclusive_key, threshold_of
from labeling.snapshots import random_ids
from ml import estimates
from ml.estimates import Bins, Cells

SMALLEST = 50  # labels: below it, no interval says anything
SURVEYED = (
    500  # random ids that tell how high the scores are within a wide bin: each is fetched from the disk
)
NAME_LOCK = 7_241_004  # Postgres advisory lock
READ_UP_TO = 300_000  # tweets of a stratum that are read from the index to draw among them
MAX_IDS, MOST_AT_ONCE = 2_000_000, 20_000  # random ids looked up for one audit, and by one query
EDGE = 1e-12  # edges nearer to each other are one
ENOUGH = 20  # surveyed tweets in a bin, to take their mean for the bin's


@dataclass(frozen=True)
class Corpus:
    """The general tweets that a version has scored, by score. `edges` has one value more than there are bins."""

    version: ModelVersion
    first_id: int
    last_id: int
    edges: list[float]
    bins: Bins


@dataclass(frozen=True)
class Plan:
    """Strata, from the lowest scores to the highest, and how many tweets to draw from each."""

    corpus: Corpus
    parts: list[slice]  # of the corpus' bins
    cells: Cells
    drawn: NDArray[np.int64]

    @property
    def edges(self) -> list[float]:
        return [*(self.corpus.edges[part.start] for part in self.parts), self.corpus.edges[-1]]


# The corpus -----------------------------------------------------------------------------------------------


def survey(version: ModelVersion | None) -> Corpus:
    """What there is to draw from. Some hundred milliseconds at 20 million. CannotDraw, with words for the user."""
    if version is None or not version.score_summary.get("histogram"):
        raise CannotDraw(
            "An audit needs a model that has scored the tweets, and there is none yet. Train a version, score with it"
            " and activate it."
        )
    if Job.objects.active().filter(exclusive_key=exclusive_key(version)).exists():
        raise CannotDraw(f"{version} is scoring tweets just now. Wait until it has ended: see its page.")
    edges, size = _histogram(version)
    size = size - _count_specific(version, edges)
    if size.sum() < SMALLEST:
        raise CannotDraw(
            "An audit is of the general tweets, and there are hardly any. Import more and score them."
        )
    first, last = _id_range(version)
    expected = _middles(edges)
    found = _look_up(version, edges, next(random_ids(first, last, rng=np.random.default_rng()))[:SURVEYED])
    for place in range(len(size)):
        risks = [risk for _, own, risk in found if own == place]
        if len(risks) >= ENOUGH:
            expected[place] = float(np.mean(risks))
    flagged = np.array(edges[:-1]) >= _threshold(version)
    return Corpus(version, first, last, edges, Bins(np.maximum(size, 0), expected, flagged))


def _threshold(version: ModelVersion) -> float:
    """As the scores are compared with it: they are stored in single precision."""
    return float(np.float32(threshold_of(version)))


def _histogram(version: ModelVersion) -> tuple[list[float], NDArray[np.int64]]:
    """The stored counts of all tweets, the bin of the threshold cut in two: how many are flagged is stored too."""
    summary, threshold = version.score_summary, _threshold(version)
    edges: list[float] = list(summary["histogram"]["edges"])
    counts: list[int] = list(summary["histogram"]["counts"])
    place = min(int(np.searchsorted(edges, threshold, side="right")) - 1, len(counts) - 1)
    if edges[place] < threshold:
        above = min(max(summary["flagged"] - sum(counts[place + 1 :]), 0), counts[place])
        counts[place : place + 1] = [counts[place] - above, above]
        edges.insert(place + 1, threshold)
    return edges, np.array(counts, dtype=np.int64)


def _count_specific(version: ModelVersion, edges: Sequence[float]) -> NDArray[np.int64]:
    """Those of the histogram that are specific tweets: few, and looked up one by one."""
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    with transaction.atomic():
        # Left to itself, the planner may read the scores of all tweets.
        _run(
            "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
        )
        rows = _rows(
            f"SELECT width_bucket(s.risk::float8, %s::float8[]), count(*)"
            f" FROM labeling_tweet t JOIN {ScoreTables(version.pk).score} s ON s.tweet_id = t.id"
            " WHERE t.source = %s GROUP BY 1",
            [list(edges[1:-1]), Source.SPECIFIC.value],
        )
        _run("SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on")
    for place, n in rows:
        counts[place] = n
    return counts


def _id_range(version: ModelVersion) -> tuple[int, int]:
    first, last = _rows(f"SELECT min(tweet_id), max(tweet_id) FROM {ScoreTables(version.pk).score}", [])[0]
    return int(first), int(last)


def _middles(edges: Sequence[float]) -> NDArray[np.float64]:
    """Of each bin, in log odds; the outer bins are as wide as their neighbours."""
    inner = np.array(edges[1:-1])
    log_odds = np.log(inner / (1 - inner))
    step = float(np.median(np.diff(log_odds)))
    ends = np.concatenate([[log_odds[0] - step], log_odds, [log_odds[-1] + step]])
    middles: NDArray[np.float64] = 1 / (1 + np.exp(-(ends[1:] + ends[:-1]) / 2))
    return middles


# Drawing --------------------------------------------------------------------------------------------------


def plan(corpus: Corpus, labels: int, *, only_flagged: bool = False) -> Plan:
    """A version's audits share the strata of its first one, so that their labels can be put together."""
    first = Audit.objects.filter(version=corpus.version).order_by("id").first()
    parts = estimates.cut(corpus.bins) if first is None else _parts_again(corpus, first)
    cells = estimates.merge(corpus.bins, parts)
    return Plan(corpus, parts, cells, estimates.allocate(cells, labels, only_flagged=only_flagged))


def _parts_again(corpus: Corpus, audit: Audit) -> list[slice]:
    lows = [stratum["low"] for stratum in audit.strata]
    starts = [0, *(int(np.searchsorted(corpus.edges, low - EDGE)) for low in lows[1:]), len(corpus.edges) - 1]
    return [slice(start, stop) for start, stop in itertools.pairwise(starts)]


def start(
    version: ModelVersion | None, *, labels: int, user: AbstractBaseUser | None, only_flagged: bool = False
) -> Audit:
    """Draw an audit of `labels` tweets and make its queue. CannotDraw, with words for the user. Seconds at most.

    A tweet that people have judged before is drawn like any other, and its label stands: it is not asked again.
    `only_flagged`: all labels go to the strata above the threshold. The queue's name does not tell, as the label page
    has it, and whoever judges is not to know that the model flags every one.
    """
    if not SMALLEST <= labels <= MAX_SIZE:
        raise CannotDraw(f"An audit has from {SMALLEST} to {MAX_SIZE:,} tweets.")
    corpus = survey(version)
    planned = plan(corpus, labels, only_flagged=only_flagged)
    if not planned.drawn.any():
        raise CannotDraw(
            f"{version} flags no general tweet, so there is none to draw. Draw among all tweets."
        )
    drawn = draw(planned)
    with transaction.atomic():
        # Two that begin at the same moment take their names one after the other.
        _rows("SELECT pg_advisory_xact_lock(%s)", [NAME_LOCK])
        queue = Queue.objects.create(
            name=_free_name(),
            strategy=Queue.Strategy.AUDIT,
            version=version,
            created_by=user,  # type: ignore[misc]
        )
        audit = Audit.objects.create(
            queue=queue,
            version=corpus.version,
            first_id=corpus.first_id,
            last_id=corpus.last_id,
            tweets=planned.cells.total,
            strata=_strata(planned, drawn),
        )
        _make_items(queue, planned, drawn)
        with connection.cursor() as cursor:  # as for every new queue: the planner is to know it
            cursor.execute("ANALYZE (SKIP_LOCKED) labeling_queueitem")
    return audit


def _free_name() -> str:
    number = Audit.objects.count() + 1
    while Queue.objects.filter(name=f"Audit {number}").exists():
        number += 1
    return f"Audit {number}"


def _strata(planned: Plan, drawn: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    cells, edges = planned.cells, planned.edges
    return [
        {
            "low": edges[h],
            "high": edges[h + 1],
            "tweets": int(cells.size[h]),
            "expected": float(cells.expected[h]),
            "flagged": bool(cells.flagged[h]),
            "drawn": len(drawn[h]),
        }
        for h in range(len(cells.size))
    ]


def _make_items(queue: Queue, planned: Plan, drawn: Sequence[Sequence[int]]) -> None:
    """In an order that says nothing of the scores. What people have judged before is done from the start."""
    judged = {
        row[0]
        for row in _rows(
            "SELECT tweet_id FROM labeling_label WHERE tweet_id = ANY(%s::bigint[]) AND annotators > 0",
            [[tweet_id for ids in drawn for tweet_id in ids]],
        )
    }
    there = hold_tweets([tweet_id for ids in drawn for tweet_id in ids])
    order = [(tweet_id, h) for h, ids in enumerate(drawn) for tweet_id in ids if tweet_id in there]
    random.SystemRandom().shuffle(order)
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                queue=queue,
                tweet_id=tweet_id,
                position=position,
                stratum=stratum_name(h, len(drawn)),
                inclusion_probability=len(drawn[h]) / int(planned.cells.size[h]),
                state=QueueItem.State.DONE if tweet_id in judged else QueueItem.State.WAITING,
            )
            for position, (tweet_id, h) in enumerate(order, 1)
        ],
        batch_size=2_000,
    )


def stratum_name(place: int, of: int) -> str:
    return f"{place + 1} of {of} by score"


def stratum_place(name: str) -> int:
    return int(name.split(maxsplit=1)[0]) - 1


def draw(planned: Plan) -> list[list[int]]:
    """Of each stratum, as many tweets as planned, every one with the same chance; fewer where too few are met.

    1. A stratum among what the version lists, unless very large: read it there, and draw among all.
    2. The others: look random ids up until each has enough. The first ones met of a stratum, in the order in which
       their ids were drawn, are a simple random sample of it.
    """
    wanted = planned.drawn.tolist()
    drawn: list[list[int]] = [[] for _ in wanted]
    floor = float(planned.corpus.version.score_summary["floor"])
    edges = planned.edges
    missing = {}
    for h, n in enumerate(wanted):
        if n and edges[h] >= floor and planned.cells.size[h] <= READ_UP_TO:
            drawn[h] = _sample(planned.corpus, edges[h], edges[h + 1], n)
        elif n:
            missing[h] = n
    _meet(planned, missing, drawn)
    return drawn


def _meet(planned: Plan, missing: dict[int, int], drawn: list[list[int]]) -> None:
    corpus, looked_up = planned.corpus, 0
    ids = itertools.chain.from_iterable(
        random_ids(corpus.first_id, corpus.last_id, rng=np.random.default_rng())
    )
    at_once = int(1.25 * sum(missing.values())) + 100
    while any(len(drawn[h]) < n for h, n in missing.items()) and looked_up < MAX_IDS:
        some = list(itertools.islice(ids, at_once))
        if not some:
            return
        looked_up += len(some)
        at_once = min(2 * at_once, MOST_AT_ONCE)  # a rare stratum is met in few rounds
        for tweet_id, h, _ in _look_up(corpus.version, planned.edges, some):
            if h in missing and len(drawn[h]) < missing[h]:
                drawn[h].append(tweet_id)


def _look_up(version: ModelVersion, edges: Sequence[float], ids: list[int]) -> list[tuple[int, int, float]]:
    """(tweet id, place between the edges, risk) of the scored general tweets among these ids, in their order."""
    rows = _rows(
        f"SELECT tweet_id, width_bucket(risk::float8, %s::float8[]), risk FROM {ScoreTables(version.pk).score}"
        " WHERE tweet_id = ANY(%s::bigint[]) AND source = %s",
        [list(edges[1:-1]), ids, Source.GENERAL.value],
    )
    found = {tweet_id: (tweet_id, int(place), float(risk)) for tweet_id, place, risk in rows}
    return [found[tweet_id] for tweet_id in ids if tweet_id in found]


def _sample(corpus: Corpus, low: float, high: float, n: int) -> list[int]:
    """`n` of a stratum that is listed, or all where it has fewer; PostgreSQL draws, so that only these are fetched."""
    upper = "" if high >= 1 else f" AND risk::float8 < {high!r}"
    rows = _rows(
        f"SELECT tweet_id FROM {ScoreTables(corpus.version.pk).listed}"
        f" WHERE risk >= {low!r}::real AND risk::float8 >= {low!r}{upper} AND source = %s ORDER BY random() LIMIT %s",
        [Source.GENERAL.value, n],
    )
    return [row[0] for row in rows]


def _run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _rows(sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
