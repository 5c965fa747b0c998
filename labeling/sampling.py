"""Choosing tweets for a queue: the strategies of ml.choosing over the database, all behind STRATEGIES.

None of them picks a tweet that a person has judged or that waits in an open queue. All but the random draw take one
tweet of a group of near copies. None reads the table of tweets from end to end.
"""

# ruff: noqa: S608 - what is put into SQL here is numbers and constants of this module

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Max, Q
from django.utils import timezone

from labeling import near_copies, word_search
from labeling.models import Job, ModelVersion, Origin, Queue, Source, Tag, Tweet
from labeling.score_tables import ScoreTables
from labeling.suggestions import tag_limits, threshold_of
from ml import choosing

EXACT_RANGE = 100_000  # up to so many ids, the random draw reads them all
MAX_DRAWS = 2_000_000  # random ids tried at most, where few tweets are eligible
LABELS_READ = (
    4_000_000  # bytes of the table of labels, in which tweets without a tag are looked for: 40,000 rows
)

# A tweet nobody has judged and that waits in no open queue. `{id}` is the column of its id.
ELIGIBLE = """
    NOT EXISTS (SELECT FROM labeling_label el WHERE el.tweet_id = {id} AND el.annotators > 0)
    AND NOT EXISTS (
        SELECT FROM labeling_queueitem ei JOIN labeling_queue eq ON eq.id = ei.queue_id
        WHERE ei.tweet_id = {id} AND eq.is_open AND ei.state IN ('waiting', 'claimed')
    )
"""


class CannotDraw(Exception):
    """A strategy lacks what it needs. The message is for the user: what is missing and what to do."""


@dataclass(frozen=True)
class Drawn:
    tweet_id: int
    stratum: str
    inclusion_probability: float | None = None  # None: chosen, not drawn


@dataclass(frozen=True)
class Remainder:
    """What a search has left: the tweets up to `last_id`, of one source or of all (None), that nobody had judged."""

    population: int
    last_id: int
    source: int | None
    since: str  # ISO; what was judged before is not part of it, what is judged later still is


@dataclass(frozen=True)
class Order:
    """What a queue is to hold."""

    size: int
    tag: Tag | None = None
    version: ModelVersion | None = None
    source: Source | None = None
    tweet_ids: Sequence[int] = ()
    remainder: Remainder | None = None
    randomness: random.Random = field(default_factory=random.SystemRandom)


Strategy = Callable[[Order], list[Drawn]]


# The pool -------------------------------------------------------------------------------------------------


class TweetPool:
    """ml.choosing.Pool over the database. `tag` is Tag.id. Each method reads by an index, and at most its limit."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def draw(self, limit: int) -> tuple[list[int], float | None]:
        """Uniform over the eligible tweets, with the probability of each to be in the sample.

        m ids are drawn out of the range of R ids, without replacement; `limit` of the h eligible tweets among
        them are kept. Each eligible tweet is in the sample with probability m / R · limit / h. No sort and no
        count over the table: the cost depends on the size of the sample only.
        """
        first, last = _id_range()
        span = last - first + 1
        if span <= EXACT_RANGE:
            hits, drawn = _eligible_in_range(first, last, self._order.source), span
        else:
            hits, drawn = self._eligible_of_random_ids(first, span, limit)
        taken = self._order.randomness.sample(hits, min(limit, len(hits)))
        return taken, drawn / span * len(taken) / len(hits) if hits else None

    def _eligible_of_random_ids(self, first: int, span: int, limit: int) -> tuple[list[int], int]:
        """Eligible tweets among random ids, and how many ids were drawn. Stops when there are enough."""
        drawn = 0
        hits: list[int] = []
        for ids in _random_ids(first, span, randomness=self._order.randomness, batch=max(2 * limit, 2_000)):
            hits += _eligible_of(ids, self._order.source)
            drawn += len(ids)
            if len(hits) >= limit:
                break
        return hits, drawn

    def riskiest(self, limit: int) -> list[int]:
        """Walks what the version lists, then the rest if need be."""
        tables = ScoreTables(self._scored().pk)
        ids = self._by_risk(tables.listed, "true", "s.risk DESC, s.tweet_id DESC", limit)
        if len(ids) < limit:
            rest = f"s.risk < {_floor(self._scored())!r}::real"
            ids += self._by_risk(tables.score, rest, "s.risk DESC", limit - len(ids))
        return ids

    def nearest(self, limit: int) -> list[int]:
        threshold = f"{threshold_of(self._scored())!r}::real"
        above = self._near(f"s.risk >= {threshold}", "s.risk", limit // 2)
        return above + self._near(f"s.risk < {threshold}", "s.risk DESC", limit // 2)

    def _near(self, side: str, direction: str, limit: int) -> list[int]:
        """Among what the version lists; where that is too little, a scan of all its scores."""
        tables = ScoreTables(self._scored().pk)
        ids = self._by_risk(tables.listed, side, direction, limit)
        return ids if len(ids) == limit else self._by_risk(tables.score, side, direction, limit)

    def _by_risk(self, table: str, where: str, direction: str, limit: int) -> list[int]:
        return _ids(
            f"SELECT s.tweet_id FROM {table} s"
            f" WHERE {where} AND {ELIGIBLE.format(id='s.tweet_id')} ORDER BY {direction} LIMIT %(limit)s",
            {"limit": limit},
        )

    def given(self, tag: int, limit: int) -> list[int]:
        version = self._order.version
        if version is None or version.scores_published_at is None:
            return []
        return _ids(
            f"SELECT s.tweet_id FROM {ScoreTables(version.pk).tag} s WHERE s.tag_id = %(tag)s"
            f" AND {ELIGIBLE.format(id='s.tweet_id')} ORDER BY s.probability DESC LIMIT %(limit)s",
            {"tag": tag, "limit": limit},
        )

    def voted(self, tag: int, limit: int) -> list[int]:
        return _ids(
            f"SELECT l.tweet_id FROM labeling_label l WHERE l.tag_ids @> ARRAY[%(tag)s]"
            f" AND l.tags_origin = %(rule)s AND {ELIGIBLE.format(id='l.tweet_id')} LIMIT %(limit)s",
            {"tag": tag, "rule": Origin.RULE.value, "limit": limit},
        )

    def having(self, word: str, limit: int) -> list[int]:
        """By the search index. Those that the import gave the tag of the order are its examples."""
        ids = word_search.any_of(word, cap=limit, plain=True)
        return _eligible_of(ids, self._order.source, without=self._order.tag)

    def probabilities(self, ids: Sequence[int]) -> tuple[choosing.Floats, Sequence[float | None]]:
        version = self._scored()
        rows = _rows(
            f"SELECT tweet_id, risk, tag_bytes FROM {ScoreTables(version.pk).score}"
            " WHERE tweet_id = ANY(%(ids)s::bigint[])",
            {"ids": list(ids)},
        )
        of = {int(i): [float(risk), *(byte / 255 for byte in bytes(tags))] for i, risk, tags in rows}
        return np.array([of[i] for i in ids]), [threshold_of(version), *tag_limits(version)]

    def texts(self, ids: Sequence[int]) -> list[str]:
        of = dict(Tweet.objects.filter(pk__in=ids).values_list("id", "text"))
        return [of.get(tweet_id, "") for tweet_id in ids]

    def one_of_each(self, ids: Sequence[int]) -> list[int]:
        return near_copies.one_of_each(ids)

    def background(self, limit: int) -> list[str]:
        first, last = _id_range()
        span = range(first, last + 1)
        ids = list(span) if len(span) <= limit else self._order.randomness.sample(span, limit)
        return list(Tweet.objects.filter(pk__in=ids).values_list("text", flat=True))

    def examples(self, tag: int, limit: int) -> list[str]:
        """Those of people, then those of the import. Without any: the tag's name, and what a rule gives it."""
        texts: list[str] = []
        for origins in ("l.annotators > 0", f"l.annotators = 0 AND l.tags_origin = {Origin.IMPORT.value}"):
            texts += _texts_of_labels(f"l.tag_ids @> ARRAY[%(tag)s] AND {origins}", tag, limit - len(texts))
        if texts:
            return texts
        by_rule = _texts_of_labels("l.tag_ids @> ARRAY[%(tag)s]", tag, limit)
        return [*Tag.objects.filter(pk=tag).values_list("name", flat=True), *by_rule]

    def counterexamples(self, tag: int, limit: int) -> list[str]:
        """Those of people, the last ones first; then some of the import, by blocks at random."""
        lacks = "NOT l.tag_ids @> ARRAY[%(tag)s]"
        # An expression, so that the index on updated_at is not walked through what rules have labelled since.
        latest = "ORDER BY l.updated_at + interval '0' DESC"
        texts = _texts_of_labels(f"l.annotators > 0 AND {lacks}", tag, limit // 2, order=latest)
        (size,) = _rows("SELECT pg_relation_size('labeling_label')", {})[0]
        blocks = f"TABLESAMPLE SYSTEM ({min(100.0, 100 * LABELS_READ / max(size, 1))})"
        imported = f"l.annotators = 0 AND l.tags_origin = {Origin.IMPORT.value} AND {lacks}"
        return texts + _texts_of_labels(imported, tag, limit // 2, sample=blocks)

    def _scored(self) -> ModelVersion:
        return _scored(self._order.version)


def _texts_of_labels(where: str, tag: int, limit: int, *, order: str = "", sample: str = "") -> list[str]:
    rows = _rows(
        f"SELECT t.text FROM (SELECT l.tweet_id FROM labeling_label l {sample} WHERE {where} {order} LIMIT %(limit)s) x"
        " JOIN labeling_tweet t ON t.id = x.tweet_id",
        {"tag": tag, "limit": limit},
    )
    return [row[0] for row in rows]


def _random_ids(first: int, span: int, *, randomness: random.Random, batch: int) -> Iterator[list[int]]:
    """Ids from `first` on, each of them once, in random order: larger and larger batches, MAX_DRAWS in all."""
    if span <= EXACT_RANGE:
        yield randomness.sample(range(first, first + span), span)
        return
    seen: set[int] = set()
    while len(seen) < min(MAX_DRAWS, span):
        fresh: list[int] = []
        wanted = min(batch, span - len(seen))
        while len(fresh) < wanted:
            tweet_id = first + randomness.randrange(span)
            if tweet_id not in seen:
                seen.add(tweet_id)
                fresh.append(tweet_id)
        yield fresh
        batch = min(2 * batch, 200_000)


def _id_range() -> tuple[int, int]:
    first, last = _rows("SELECT min(id), max(id) FROM labeling_tweet", {})[0]
    if first is None:
        raise CannotDraw("There are no tweets yet. Import some first.")
    return int(first), int(last)


def _eligible_in_range(first: int, last: int, source: Source | None) -> list[int]:
    return _ids(
        f"SELECT t.id FROM labeling_tweet t WHERE t.id BETWEEN %(first)s AND %(last)s"
        f" AND (%(source)s::smallint IS NULL OR t.source = %(source)s) AND {ELIGIBLE.format(id='t.id')}",
        {"first": first, "last": last, "source": source},
    )


def _eligible_of(ids: Sequence[int], source: Source | None, *, without: Tag | None = None) -> list[int]:
    """`without`: leave out what the import gave this tag."""
    return _ids(
        f"SELECT t.id FROM labeling_tweet t WHERE t.id = ANY(%(ids)s::bigint[])"
        f" AND (%(source)s::smallint IS NULL OR t.source = %(source)s) AND {ELIGIBLE.format(id='t.id')}"
        " AND (%(tag)s::int IS NULL OR NOT EXISTS (SELECT FROM labeling_label l WHERE l.tweet_id = t.id"
        " AND l.tags_origin = %(import)s AND l.tag_ids @> ARRAY[%(tag)s::int]))",
        {
            "ids": list(ids),
            "source": source,
            "tag": without.pk if without else None,
            "import": Origin.IMPORT.value,
        },
    )


# The strategies -------------------------------------------------------------------------------------------


def _choose(strategy: choosing.Strategy, order: Order) -> list[Drawn]:
    if strategy is choosing.choose_rare_tag and order.tag is None:
        order = replace(order, tag=rarest_tag())
    chosen = strategy(TweetPool(order), order.size, order.tag.pk if order.tag else None)
    return [Drawn(c.id, _stratum(strategy, order, c.why), c.probability) for c in chosen]


def _stratum(strategy: choosing.Strategy, order: Order, why: str) -> str:
    if strategy is choosing.choose_rare_tag and order.tag:
        return f"{order.tag.slug[:14]}: {why}"
    if strategy is choosing.choose_random:
        return f"{why}: {order.source.label if order.source else 'all'}"
    return why


def rarest_tag() -> Tag:
    """The tag in use that people gave to the fewest tweets."""
    tags = list(Tag.objects.in_use())
    if not tags:
        raise CannotDraw("There are no tags yet. Create some first.")
    counts: dict[int, int] = dict(
        _rows(
            "SELECT tag_id, count(*) FROM labeling_label l, unnest(l.tag_ids) AS t (tag_id)"
            " WHERE l.annotators > 0 GROUP BY tag_id",
            {},
        )
    )
    return min(tags, key=lambda tag: counts.get(tag.pk, 0))


def choose_selected(order: Order) -> list[Drawn]:
    """The tweets given, in their order, but for those already judged or waiting elsewhere."""
    eligible = set(_eligible_of(order.tweet_ids, None))
    ids = [tweet_id for tweet_id in dict.fromkeys(order.tweet_ids) if tweet_id in eligible]
    return [Drawn(tweet_id, "selected") for tweet_id in ids[: order.size]]


# The check of a search -------------------------------------------------------------------------------------


def remainder_of(version: ModelVersion | None, source: Source | None) -> Remainder:
    """Of the tweets that the version has scored, those that nobody has judged at this moment."""
    version = _scored(version)
    summary = version.score_summary
    by_source = summary.get("sources", {})
    scored = summary.get("n", 0) if source is None else by_source.get(str(int(source)), [0])[0]
    runs = version.scoring_runs.filter(Q(job__isnull=True) | Q(job__state=Job.State.DONE))
    last_id = runs.aggregate(last=Max("last_id"))["last"] or 0
    judged = _rows(
        "SELECT count(*) FROM labeling_label l WHERE l.annotators > 0 AND l.tweet_id <= %(last)s"
        " AND (%(source)s::smallint IS NULL"
        " OR (SELECT t.source FROM labeling_tweet t WHERE t.id = l.tweet_id) = %(source)s)",
        {"last": last_id, "source": source},
    )[0][0]
    return Remainder(
        population=max(0, scored - judged),
        last_id=last_id,
        source=None if source is None else int(source),
        since=timezone.now().isoformat(),
    )


# Before the sample was drawn nobody had judged it. Waiting in another queue is no reason to leave a tweet out here.
REMAINS = """
    t.id <= %(last)s AND (%(source)s::smallint IS NULL OR t.source = %(source)s)
    AND NOT (
        EXISTS (SELECT FROM labeling_label l WHERE l.tweet_id = t.id AND l.annotators > 0)
        AND EXISTS (
            SELECT FROM labeling_annotation a
            WHERE a.tweet_id = t.id AND a.origin >= %(analyst)s AND a.created_at < %(since)s::timestamptz
        )
    )
"""


def draw_remainder(order: Order) -> list[Drawn]:
    """Uniform over the remainder, but for `order.tweet_ids`: those of the sample so far. In random order."""
    remainder = order.remainder
    assert remainder is not None
    first, last = _id_range()
    span = max(0, min(last, remainder.last_id) - first + 1)
    taken = set(order.tweet_ids)
    drawn: list[int] = []
    for ids in _random_ids(first, span, randomness=order.randomness, batch=max(2 * order.size, 2_000)):
        remains = set(_remaining([tweet_id for tweet_id in ids if tweet_id not in taken], remainder))
        drawn += [tweet_id for tweet_id in ids if tweet_id in remains]
        if len(drawn) >= order.size:
            break
    probability = min(1.0, (len(taken) + min(order.size, len(drawn))) / max(remainder.population, 1))
    return [Drawn(tweet_id, "not judged before", probability) for tweet_id in drawn[: order.size]]


def _remaining(ids: Sequence[int], remainder: Remainder) -> list[int]:
    return _ids(
        f"SELECT t.id FROM labeling_tweet t WHERE t.id = ANY(%(ids)s::bigint[]) AND {REMAINS}",
        {
            "ids": list(ids),
            "last": remainder.last_id,
            "source": remainder.source,
            "since": remainder.since,
            "analyst": Origin.ANALYST.value,
        },
    )


STRATEGIES: dict[str, Strategy] = {
    **{name: partial(_choose, strategy) for name, strategy in choosing.STRATEGIES.items()},
    Queue.Strategy.REMAINDER: draw_remainder,
    Queue.Strategy.SELECTED: choose_selected,
}


# Small things ---------------------------------------------------------------------------------------------


def _scored(version: ModelVersion | None) -> ModelVersion:
    if version is None or version.scores_published_at is None:
        raise CannotDraw(
            "This strategy needs a model that has scored the tweets, and there is none yet. Train a version,"
            " score with it and activate it; or start with a random queue or with a rare tag."
        )
    return version


def _floor(version: ModelVersion) -> float:
    """From where on the version lists its scores."""
    return float(version.score_summary.get("floor", 0.1))


def _rows(sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _ids(sql: str, parameters: dict[str, Any]) -> list[int]:
    return [int(row[0]) for row in _rows(sql, parameters)]
