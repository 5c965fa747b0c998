"""Tweets that one version flags and another does not: those that people have judged, and all others by risk.

A head is DA or a tag. Everything is read from the two versions' own score tables by index, a page at a time.
"""

# ruff: noqa: S608 - what is put into SQL here is numbers, and names of tables made of them

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection

from labeling import score_tables
from labeling.models import ModelVersion, Origin, Tag, Verdict
from labeling.score_tables import ScoreTables
from labeling.suggestions import threshold_of

PAGE_SIZE = 25
SAMPLED = 5_000  # flagged tweets in which the flips are counted, where there are more
WINDOWS = (
    2_000,
    8_000,
    40_000,
)  # flagged tweets tried for one page, 3 µs each: most flips are near the threshold
PEOPLE = f"({Origin.ANALYST.value}, {Origin.REVIEW.value})"

Cursor = tuple[float, int]  # risk and tweet of the row that a page begins after


class CannotCompare(Exception):
    """The message is for the user."""


@dataclass(frozen=True)
class Flip:
    """What one version flags (or: gives the tag to) and another, which has scored the same tweet, does not."""

    by: ModelVersion
    but_not: ModelVersion
    tag_id: int | None = None  # None: DA

    @property
    def is_flagged(self) -> str:
        """Condition on a tweet c.tweet_id: `by` flags it."""
        return _flags(self.by, self.tag_id)

    @property
    def is_dropped(self) -> str:
        return _drops(self.but_not, self.tag_id)

    @property
    def candidates(self) -> tuple[str, str]:
        """Table and condition of all that `by` flags, by an index on risk."""
        tables = ScoreTables(self.by.pk)
        if self.tag_id is not None:
            return tables.tag, f"tag_id = {int(self.tag_id)}"
        return tables.listed, f"risk >= {threshold_of(self.by)!r}::real"


def _flags(version: ModelVersion, tag_id: int | None) -> str:
    tables = ScoreTables(version.pk)
    if tag_id is not None:
        return (
            f"EXISTS (SELECT FROM {tables.tag} g WHERE g.tweet_id = c.tweet_id AND g.tag_id = {int(tag_id)}"
            " OFFSET 0)"
        )
    return _has_score(version, f"s.risk >= {threshold_of(version)!r}::real")


def _drops(version: ModelVersion, tag_id: int | None) -> str:
    """It has scored the tweet and does not flag it."""
    if tag_id is not None:
        return f"{_has_score(version, 'true')} AND NOT {_flags(version, tag_id)}"
    return _has_score(version, f"s.risk < {threshold_of(version)!r}::real")


def _has_score(version: ModelVersion, condition: str) -> str:
    """By key for each row, whatever the planner believes: OFFSET 0 keeps it from reading the whole table."""
    table = ScoreTables(version.pk).score
    return f"EXISTS (SELECT FROM {table} s WHERE s.tweet_id = c.tweet_id AND {condition} OFFSET 0)"


def check(*versions: ModelVersion) -> None:
    """Raises CannotCompare."""
    for version in versions:
        if version.scores_published_at is None:
            raise CannotCompare(
                f"{version} has no published scores, so what it would flag in the corpus is not known. Score the"
                " tweets with it first."
            )
        if not score_tables.exist(ScoreTables(version.pk)):
            raise CannotCompare(f"The scores of {version} are being removed.")


# What people have judged ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """Tweets that people judged DA, or gave a tag to, and that both versions have scored."""

    tag: Tag | None  # None: DA
    n: int
    before: int  # flagged by the earlier version
    after: int
    lost: int  # flagged by the earlier version alone
    gained: int

    @property
    def name(self) -> str:
        return self.tag.name if self.tag else "DA"


def judged(before: ModelVersion, after: ModelVersion) -> list[Judged]:
    """DA, then each tag that both know and people gave. Two look-ups by key for each judged tweet: 10 µs."""
    check(before, after)
    tags = {tag.pk: tag for tag in Tag.objects.filter(pk__in=set(before.tag_ids) & set(after.tag_ids))}
    found = [Judged(None, *_judged_da(before, after))]
    by_tag = {row[0]: row[1:] for row in _judged_tags(before, after, list(tags))}
    return found + [Judged(tag, *by_tag[pk]) for pk, tag in tags.items() if pk in by_tag]


def _judged_da(before: ModelVersion, after: ModelVersion) -> tuple[int, ...]:
    (row,) = _rows(
        f"""
        SELECT count(*), count(*) FILTER (WHERE b), count(*) FILTER (WHERE a),
               count(*) FILTER (WHERE b AND NOT a), count(*) FILTER (WHERE a AND NOT b)
        FROM (
            SELECT b.risk >= {threshold_of(before)!r}::real AS b, a.risk >= {threshold_of(after)!r}::real AS a
            FROM labeling_label c {_scores(before, "b")} {_scores(after, "a")}
            WHERE {_is_judged(None)}
        ) decided
        """
    )
    return tuple(row)


def _judged_tags(before: ModelVersion, after: ModelVersion, tag_ids: Sequence[int]) -> list[tuple[int, ...]]:
    return _rows(
        f"""
        SELECT tag_id, count(*), count(*) FILTER (WHERE b), count(*) FILTER (WHERE a),
               count(*) FILTER (WHERE b AND NOT a), count(*) FILTER (WHERE a AND NOT b)
        FROM (
            SELECT given.tag_id, {_gives(before)} AS b, {_gives(after)} AS a
            FROM labeling_label c {_scores(before, "b")} {_scores(after, "a")}
            CROSS JOIN unnest(c.tag_ids) AS given (tag_id)
            WHERE c.annotators > 0 AND c.tags_origin IN {PEOPLE} AND given.tag_id = ANY(%s)
        ) decided
        GROUP BY tag_id
        """,
        [list(tag_ids)],
    )


def _scores(version: ModelVersion, name: str) -> str:
    """By key for each row, as in _has_score."""
    table = ScoreTables(version.pk).score
    return f"JOIN LATERAL (SELECT risk FROM {table} WHERE tweet_id = c.tweet_id OFFSET 0) {name} ON true"


def _gives(version: ModelVersion) -> str:
    return (
        f"EXISTS (SELECT FROM {ScoreTables(version.pk).tag} g"
        " WHERE g.tweet_id = c.tweet_id AND g.tag_id = given.tag_id OFFSET 0)"
    )


def _is_judged(tag_id: int | None) -> str:
    """People say that the tweet of the label c is DA, or that it has the tag."""
    if tag_id is None:
        return f"c.verdict = {Verdict.DA.value} AND c.verdict_origin IN {PEOPLE}"
    return f"c.tag_ids @> ARRAY[{int(tag_id)}] AND c.tags_origin IN {PEOPLE}"


def losses(version: ModelVersion) -> list[Judged]:
    """What would be lost if this version took the active one's place; empty where that is nothing, or not known."""
    active = ModelVersion.objects.active()
    if active is None or active.pk == version.pk:
        return []
    try:
        return [row for row in judged(active, version) if row.lost]
    except CannotCompare:
        return []


# Lists ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One tweet that flips."""

    tweet_id: int
    text: str
    by: float  # probability of the head by the version that flags it, and by the other
    but_not: float
    verdict: int | None
    verdict_origin: int | None
    tag_ids: list[int]


@dataclass(frozen=True)
class Page:
    rows: list[Row]
    after: Cursor | None = None  # the next page begins after this; None: there is none
    looked_down_to: float | None = None  # lower risks were not looked at for this page


def judged_page(flip: Flip, *, after: Cursor | None = None, size: int = PAGE_SIZE) -> Page:
    """Those that people judged DA or gave the tag to, the newest tweet first."""
    check(flip.by, flip.but_not)
    found = _rows(
        f"SELECT c.tweet_id FROM labeling_label c WHERE {_is_judged(flip.tag_id)}"
        f" AND {flip.is_flagged} AND {flip.is_dropped} AND (%s::bigint IS NULL OR c.tweet_id < %s)"
        " ORDER BY c.tweet_id DESC LIMIT %s",
        [after and after[1], after and after[1], size + 1],
    )
    ids = [row[0] for row in found]
    return Page(_read(flip, ids[:size]), after=(0.0, ids[size - 1]) if len(ids) > size else None)


def page(flip: Flip, *, after: Cursor | None = None, size: int = PAGE_SIZE) -> Page:
    """All of them, by the risk that the flagging version gives, highest first.

    So many flagged tweets are tried as WINDOWS say; the next page goes on where the last window ended.
    """
    check(flip.by, flip.but_not)
    found: list[Cursor] = []
    end = after
    for window in WINDOWS:
        matches, end = _try(flip, end, window)
        found += matches
        if end is None or len(found) > size:
            break
    rows = _read(flip, [tweet_id for _, tweet_id in found[:size]])
    if len(found) > size:
        return Page(rows, after=found[size - 1])
    return Page(rows, after=end, looked_down_to=end[0] if end else None)


def _try(flip: Flip, after: Cursor | None, window: int) -> tuple[list[Cursor], Cursor | None]:
    """What flips among the next flagged tweets; and the last of these, where there may be more."""
    table, condition = flip.candidates
    beyond, values = ("true", []) if after is None else ("(risk, tweet_id) < (%s::real, %s)", list(after))
    rows = _rows(
        f"WITH c AS MATERIALIZED (SELECT risk, tweet_id FROM {table} WHERE {condition} AND {beyond}"
        " ORDER BY risk DESC, tweet_id DESC LIMIT %s)"
        f" SELECT risk, tweet_id, {flip.is_dropped} FROM c ORDER BY risk DESC, tweet_id DESC",
        [*values, window],
    )
    found = [(risk, tweet_id) for risk, tweet_id, is_dropped in rows if is_dropped]
    return found, (rows[-1][0], rows[-1][1]) if len(rows) == window else None


def _read(flip: Flip, ids: Sequence[int]) -> list[Row]:
    rows = _rows(
        f"""
        SELECT t.id, t.text, b.risk, b.tag_bytes, o.risk, o.tag_bytes, l.verdict, l.verdict_origin,
               coalesce(l.tag_ids, '{{}}')
        FROM unnest(%s::bigint[]) WITH ORDINALITY AS wanted (id, place)
        JOIN labeling_tweet t ON t.id = wanted.id
        JOIN {ScoreTables(flip.by.pk).score} b ON b.tweet_id = t.id
        JOIN {ScoreTables(flip.but_not.pk).score} o ON o.tweet_id = t.id
        LEFT JOIN labeling_label l ON l.tweet_id = t.id
        ORDER BY wanted.place
        """,
        [list(ids)],
    )
    return [
        Row(pk, text, _probability(flip.by, flip.tag_id, *by), _probability(flip.but_not, flip.tag_id, *o), *label)
        for pk, text, *rest in rows
        for by, o, label in [(rest[:2], rest[2:4], rest[4:])]
    ]  # fmt: skip


def _probability(version: ModelVersion, tag_id: int | None, risk: float, tag_bytes: bytes) -> float:
    return risk if tag_id is None else bytes(tag_bytes)[version.tag_ids.index(tag_id)] / 255


# How many -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """Flips among the flagged tweets, counted in a sample of them."""

    flagged: int  # by the version that flags; as stored with its scores, where that is more than the sample
    sampled: int
    flips: int  # in the sample

    @property
    def is_exact(self) -> bool:
        return self.sampled == self.flagged

    @property
    def estimate(self) -> int:
        return self.flips if self.is_exact else round(self.flips * self.flagged / max(self.sampled, 1))


def count(flip: Flip) -> Count:
    """Reads the index of the flagged tweets; only of about SAMPLED, chosen by a hash of their ids, the other score."""
    check(flip.by, flip.but_not)
    flagged = _stored_count(flip)
    table, condition = flip.candidates
    one_in = max(1, flagged // SAMPLED)
    ((sampled, flips),) = _rows(
        f"SELECT count(*), count(*) FILTER (WHERE {flip.is_dropped}) FROM"
        f" (SELECT tweet_id FROM {table} WHERE {condition} AND mod(hashint8(tweet_id), {one_in}) = 0 OFFSET 0) c"
    )
    return Count(sampled if one_in == 1 else max(flagged, sampled), sampled, flips)


def _stored_count(flip: Flip) -> int:
    summary = flip.by.score_summary
    if flip.tag_id is None:
        return int(summary.get("flagged", 0))
    return next((int(row["n"]) for row in summary.get("tags", []) if row["tag"] == flip.tag_id), 0)


def _rows(sql: str, values: Sequence[Any] = ()) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())
