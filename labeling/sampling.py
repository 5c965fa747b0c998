"""Choosing tweets for a queue: one function for each strategy, all behind STRATEGIES.

None of them picks a tweet that a person has judged or that waits in an open queue. Those that go by risk take one
tweet of a group of near copies.
"""

# ruff: noqa: S608 - what is put into SQL here is numbers and constants of this module

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from labeling import near_copies, search_index
from labeling.models import ModelVersion, Queue, Source, Tag
from labeling.score_tables import ScoreTables
from labeling.suggestions import tag_limits, threshold_of

EXACT_RANGE = 100_000  # up to so many ids, the random draw reads them all
MAX_DRAWS = 2_000_000  # random ids tried at most, where few tweets are eligible
CANDIDATES = 8  # tweets near the threshold that are weighed for each one taken
SEARCH_CAP = 5_000
COPIES = 10  # times as many are read where the first are near copies of each other: judge one, not all

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
class Order:
    """What a queue is to hold."""

    size: int
    tag: Tag | None = None
    version: ModelVersion | None = None
    source: Source | None = None
    tweet_ids: Sequence[int] = ()
    randomness: random.Random = field(default_factory=random.SystemRandom)


Strategy = Callable[[Order], list[Drawn]]


# Random ---------------------------------------------------------------------------------------------------


def draw_random(order: Order) -> list[Drawn]:
    """Uniform over the eligible tweets, with the probability of each to be in the sample.

    m ids are drawn out of the range of R ids, without replacement; `size` of the h eligible tweets among
    them are kept. Each eligible tweet is in the sample with probability m / R · size / h. No sort and no
    count over the table: the cost depends on the size of the sample only.
    """
    first, last = _id_range()
    span = last - first + 1
    if span <= EXACT_RANGE:
        hits, drawn = _eligible_in_range(first, last, order.source), span
    else:
        hits, drawn = _eligible_of_random_ids(first, span, order)
    taken = order.randomness.sample(hits, min(order.size, len(hits)))
    stratum = order.source.label if order.source else "all"
    probability = drawn / span * len(taken) / len(hits) if hits else None
    return [Drawn(tweet_id, f"random: {stratum}", probability) for tweet_id in taken]


def _eligible_of_random_ids(first: int, span: int, order: Order) -> tuple[list[int], int]:
    """Eligible tweets among random ids, and how many ids were drawn. Stops when there are enough."""
    seen: set[int] = set()
    hits: list[int] = []
    batch = max(2 * order.size, 2_000)
    while len(hits) < order.size and len(seen) < min(MAX_DRAWS, span):
        fresh: set[int] = set()
        wanted = min(batch, span - len(seen))
        while len(fresh) < wanted:
            offset = order.randomness.randrange(span)
            if offset not in seen:
                fresh.add(offset)
        seen |= fresh
        hits += _eligible_of([first + offset for offset in fresh], order.source)
        batch = min(2 * batch, 200_000)
    return hits, len(seen)


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


def _eligible_of(ids: Sequence[int], source: Source | None) -> list[int]:
    return _ids(
        f"SELECT t.id FROM labeling_tweet t WHERE t.id = ANY(%(ids)s::bigint[])"
        f" AND (%(source)s::smallint IS NULL OR t.source = %(source)s) AND {ELIGIBLE.format(id='t.id')}",
        {"ids": list(ids), "source": source},
    )


# By the scores of a version -------------------------------------------------------------------------------


def choose_risk(order: Order) -> list[Drawn]:
    """The highest risk that nobody has judged. Walks the version's index on risk, then the rest if need be."""
    version = _scored(order.version)
    for limit in (order.size, COPIES * order.size):  # the second time where many were copies of each other
        ids = _riskiest(version, limit)
        if len(kept := near_copies.one_of_each(ids)) >= order.size or len(ids) < limit:
            break
    return [Drawn(tweet_id, "highest risk") for tweet_id in kept[: order.size]]


def _riskiest(version: ModelVersion, limit: int) -> list[int]:
    floor = f"{_floor(version)!r}::real"
    ids = _by_risk(version, f"s.risk >= {floor}", "s.risk DESC, s.tweet_id DESC", limit)
    if len(ids) < limit:
        ids += _by_risk(version, f"s.risk < {floor}", "s.risk DESC", limit - len(ids))
    return ids


def choose_uncertain(order: Order) -> list[Drawn]:
    """Risk nearest the threshold, weighed with the tags that are nearest theirs.

    1. The tweets next to the threshold on both sides, CANDIDATES times as many as asked for.
    2. Each gets 1 at the threshold falling to 0 at probabilities 0 and 1; plus half of the same for its
       most uncertain tag. The greatest sums are taken (margin sampling: Settles 2009, section 3.1).
    """
    version = _scored(order.version)
    threshold = threshold_of(version)
    near = CANDIDATES * order.size // 2
    above = _near(version, f"s.risk >= {threshold!r}::real", "s.risk", near)
    below = _near(version, f"s.risk < {threshold!r}::real", "s.risk DESC", near)
    limits = tag_limits(version)

    def uncertainty(row: tuple[int, float, bytes]) -> float:
        _, risk, tag_bytes = row
        tags = zip(bytes(tag_bytes), limits, strict=False)
        of_tags = [_margin(byte / 255, limit) for byte, limit in tags if limit is not None]
        return _margin(risk, threshold) + 0.5 * max(of_tags, default=0.0)

    best = {row[0]: row[1] for row in sorted(above + below, key=uncertainty, reverse=True)}
    return [
        Drawn(
            tweet_id,
            "uncertain, above the threshold" if best[tweet_id] >= threshold else "uncertain, below it",
        )
        for tweet_id in near_copies.one_of_each(list(best))[: order.size]
    ]


def _margin(probability: float, threshold: float) -> float:
    """1 at the threshold, 0 at certainty."""
    if probability < threshold:
        return probability / threshold
    return (1 - probability) / (1 - threshold) if threshold < 1 else 1.0


def _near(version: ModelVersion, side: str, direction: str, limit: int) -> list[tuple[int, float, bytes]]:
    """(tweet id, risk, tag bytes) of the eligible tweets next to the threshold. A low threshold reads it all."""
    floor = f"s.risk >= {_floor(version)!r}::real"
    for bound in (f"{side} AND {floor}", side):
        rows = _rows(
            f"SELECT s.tweet_id, s.risk, s.tag_bytes FROM {_score_table(version)} s"
            f" WHERE {bound} AND {ELIGIBLE.format(id='s.tweet_id')} ORDER BY {direction} LIMIT %(limit)s",
            {"limit": limit},
        )
        if len(rows) == limit:
            break
    return [(int(row[0]), float(row[1]), bytes(row[2])) for row in rows]


def _by_risk(version: ModelVersion, where: str, direction: str, limit: int) -> list[int]:
    return _ids(
        f"SELECT s.tweet_id FROM {_score_table(version)} s"
        f" WHERE {where} AND {ELIGIBLE.format(id='s.tweet_id')} ORDER BY {direction} LIMIT %(limit)s",
        {"limit": limit},
    )


# A rare tag -----------------------------------------------------------------------------------------------


def choose_rare_tag(order: Order) -> list[Drawn]:
    """Tweets that may deserve the tag: by the model, then by the rules, then by the tag's own name."""
    tag = order.tag or rarest_tag()
    version = order.version
    found: dict[int, str] = {}
    if version is not None and version.scores_published_at is not None:
        ids = _ids(
            f"SELECT s.tweet_id FROM {ScoreTables(version.pk).tag} s WHERE s.tag_id = %(tag)s"
            f" AND {ELIGIBLE.format(id='s.tweet_id')} ORDER BY s.probability DESC LIMIT %(limit)s",
            {"tag": tag.pk, "limit": order.size},
        )
        found.update(dict.fromkeys(ids, "by the model"))
    if len(found) < order.size:
        ids = _ids(
            f"SELECT l.tweet_id FROM labeling_label l WHERE l.tag_ids @> ARRAY[%(tag)s]"
            f" AND {ELIGIBLE.format(id='l.tweet_id')} LIMIT %(cap)s",
            {"tag": tag.pk, "cap": SEARCH_CAP},
        )
        _fill(found, ids, "by a rule or the import", order)
    if len(found) < order.size:
        matches = search_index.find(tag.name, cap=SEARCH_CAP, plain=True)
        _fill(found, _eligible_of(matches, order.source), "by its name", order)
    return [Drawn(tweet_id, f"{tag.slug[:14]}: {how}") for tweet_id, how in found.items()]


def _fill(found: dict[int, str], ids: list[int], how: str, order: Order) -> None:
    """Top up with a random choice of `ids`."""
    fresh = [tweet_id for tweet_id in ids if tweet_id not in found]
    wanted = min(order.size - len(found), len(fresh))
    found.update(dict.fromkeys(order.randomness.sample(fresh, wanted), how))


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


# By hand --------------------------------------------------------------------------------------------------


def choose_selected(order: Order) -> list[Drawn]:
    """The tweets given, in their order, but for those already judged or waiting elsewhere."""
    eligible = set(_eligible_of(order.tweet_ids, None))
    ids = [tweet_id for tweet_id in dict.fromkeys(order.tweet_ids) if tweet_id in eligible]
    return [Drawn(tweet_id, "selected") for tweet_id in ids[: order.size]]


STRATEGIES: dict[str, Strategy] = {
    Queue.Strategy.UNCERTAIN: choose_uncertain,
    Queue.Strategy.RISK: choose_risk,
    Queue.Strategy.RARE_TAG: choose_rare_tag,
    Queue.Strategy.RANDOM: draw_random,
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


def _score_table(version: ModelVersion) -> str:
    # The version's own partition: its partial index on risk is then used whatever the statistics say.
    return ScoreTables(version.pk).score


def _floor(version: ModelVersion) -> float:
    """Where the version's indexes on risk begin."""
    return float(version.score_summary.get("floor", 0.1))


def _rows(sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _ids(sql: str, parameters: dict[str, Any]) -> list[int]:
    return [int(row[0]) for row in _rows(sql, parameters)]
