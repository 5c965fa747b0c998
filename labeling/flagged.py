"""Flagged tweets: the list by risk under any filter, and what the dashboard shows of the active version.

How the list stays fast at millions of rows: it reads the version's own partition, pages by row comparison, and
starts from whichever index bounds the work, see choose_start(). Conditions that cost a look-up for each tweet are
tried on a window of the highest risks; where a window does not fill the page, the page says down to which risk it
has looked, and its next page goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import TextChoices
from django.utils import timezone

from labeling import exporting, search_index
from labeling.models import AuditEvent, ModelVersion, Origin, ReviewItem, Source, Tag, Verdict
from labeling.score_tables import ScoreTables
from labeling.scoring import threshold_of

PAGE_SIZE = 50
COUNT_UP_TO = 1_000  # counts are exact up to here, then "1,000+"
IDS_UP_TO = (
    20_000  # a label state with fewer tweets is a list of ids to start from; so is a list of high risks
)
WORD_IDS_UP_TO = 2_000  # the same for a text search, which has to read a block of the table for each tweet
DATED_UP_TO = 50_000  # flagged tweets in a range of dates that are sorted to start from
LOOKUP_WINDOW = 20_000  # risks tried at once against labels, reviews or tags: about 3 µs each
TEXT_WINDOW = 3_000  # risks tried at once against a text search: about 30 µs each
EXPORT_PAGE = 2_000

Cursor = tuple[float, int]  # risk and tweet id of the row that a page begins after


class LabelState(TextChoices):
    UNLABELLED = "unlabelled", "No verdict yet"
    LABELLED = "labelled", "Verdict by people"
    DA = "da", "DA"
    NDA = "nda", "NDA"
    UNSURE = "unsure", "Unsure"
    IN_REVIEW = "in_review", "Waiting for review"
    REVIEWED = "reviewed", "Reviewed"


@dataclass(frozen=True)
class Filters:
    """What a visitor asked for. Everything that is None or empty does not filter."""

    min_risk: float | None = None  # None: the version's threshold
    tag: int | None = None
    date_from: date | None = None
    date_to: date | None = None  # inclusive
    source: int | None = None
    state: str = ""
    q: str = ""

    @property
    def is_plain(self) -> bool:
        """Nothing but the threshold."""
        return self == Filters()


@dataclass
class Row:
    """One tweet of the list, with all that its line shows."""

    tweet_id: int
    external_id: str
    text: str
    source: int
    posted_at: datetime | None
    risk: float
    tag_bytes: bytes
    tags: list[tuple[int, float]]  # what the model gives it: tag id and probability, the likeliest first
    verdict: int | None
    verdict_origin: int | None
    tag_ids: list[int] | None
    tags_origin: int | None
    is_disputed: bool
    in_review: bool
    spans: list[list[float]] | None  # the words that drove the score; None: not computed


@dataclass
class Page:
    rows: list[Row]
    before: Cursor | None = None  # the previous page ends before this
    after: Cursor | None = None  # the next page begins after this
    count: int | None = None  # up to COUNT_UP_TO; None on later pages
    count_is_capped: bool = False
    looked_down_to: float | None = None  # the window ended here, and lower risks may match too
    words_capped: bool = False  # the text is too common for a list of ids


@dataclass
class _Sql:
    """Conditions and their parameters, in order."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values.extend(values)

    @property
    def where(self) -> str:
        return " AND ".join(self.conditions) or "true"


class Start(StrEnum):
    """Which index a query starts from."""

    RISK = "risk"
    TAG = "tag"
    DATE = "date"
    IDS = "ids"


@dataclass
class Plan:
    """How one page is found: start, walked in the order of risk or sorted, then what is left to check."""

    start: Start
    ids: list[int] = field(default_factory=list)
    checks: _Sql = field(default_factory=_Sql)  # on c.tweet_id, c.source, c.posted_at
    window: int | None = None  # rows of the start that are tried; None: as many as it takes
    words_capped: bool = False


# The list -------------------------------------------------------------------------------------------------


def page_of(
    version: ModelVersion,
    filters: Filters,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int | None = None,
) -> Page:
    """One page of the list, highest risk first. Two to five queries, none of which counts a large table."""
    size = size or PAGE_SIZE
    plan = choose_start(version, filters)
    is_first = after is None and before is None
    limit = max(COUNT_UP_TO, size) + 1 if is_first else size + 1
    found = _find(version, filters, plan, cursor=before or after, backwards=before is not None, limit=limit)
    page = Page(rows=[], words_capped=plan.words_capped)
    if is_first:
        page.count, page.count_is_capped = min(len(found), COUNT_UP_TO), len(found) > COUNT_UP_TO
    has_more = len(found) > size
    chosen = found[:size]
    end = None
    if not has_more and plan.window:
        end = _window_end(version, filters, plan, cursor=before or after, backwards=before is not None)
    if before is not None:
        chosen.reverse()
        page.before = chosen[0] if has_more else end
        page.after = chosen[-1] if chosen else before
    else:
        page.before = (chosen[0] if chosen else after) if after is not None else None
        page.after = chosen[-1] if has_more else end
        if end is not None:
            page.looked_down_to, page.count_is_capped = end[0], True
    page.rows = rows_of(version, [tweet_id for _, tweet_id in chosen])
    return page


def choose_start(version: ModelVersion, filters: Filters) -> Plan:
    """The planner. In order of preference: few ids, few dates, a tag's own index, the walk along the risk index."""
    plan = Plan(Start.RISK)
    if filters.q:
        ids, capped = _ids(
            "labeling_tweet t", *search_index.condition(filters.q), column="id", limit=WORD_IDS_UP_TO
        )
        if capped:
            ids, capped = _risks_with_words(version, filters)
        plan.words_capped = capped
        if not capped:
            plan.start, plan.ids = Start.IDS, ids
    if filters.state and plan.start is not Start.IDS and filters.state != LabelState.UNLABELLED:
        ids, capped = _ids(*_state_source(filters.state), column="tweet_id", limit=IDS_UP_TO)
        if not capped:
            plan.start, plan.ids = Start.IDS, ids
    if plan.start is Start.RISK and _flagged_in(version, filters) <= DATED_UP_TO:
        plan.start = Start.DATE
    if plan.start is Start.RISK and filters.tag is not None:
        plan.start = Start.TAG
    _add_checks(plan, ScoreTables(version.pk), filters)
    return plan


def _add_checks(plan: Plan, tables: ScoreTables, filters: Filters) -> None:
    """What the start does not settle. Walks get a window, so that a rare match cannot make them long."""
    checks, is_walk = plan.checks, plan.start in (Start.RISK, Start.TAG)
    if filters.tag is not None and plan.start is not Start.TAG:
        checks.add(
            f"EXISTS (SELECT 1 FROM {tables.tag} g WHERE g.tweet_id = c.tweet_id AND g.tag_id = %s)",
            filters.tag,
        )
        plan.window = LOOKUP_WINDOW
    if plan.start is Start.TAG and (filters.source or filters.date_from or filters.date_to):
        cheap = _cheap(filters, "s")
        checks.add(
            f"EXISTS (SELECT 1 FROM {tables.score} s WHERE s.tweet_id = c.tweet_id AND {cheap.where})",
            *cheap.values,
        )
        plan.window = LOOKUP_WINDOW
    if filters.state:
        condition, values = _state_check(filters.state)
        checks.add(condition, *values)
        plan.window = LOOKUP_WINDOW
    if filters.q and (plan.words_capped or plan.start is not Start.IDS):
        condition, values = search_index.condition(filters.q)
        checks.add(
            f"EXISTS (SELECT 1 FROM labeling_tweet t WHERE t.id = c.tweet_id AND {condition})", *values
        )
        plan.window = TEXT_WINDOW
    if not is_walk:
        plan.window = None  # bounded already


def _find(
    version: ModelVersion, filters: Filters, plan: Plan, *, cursor: Cursor | None, backwards: bool, limit: int
) -> list[Cursor]:
    """(risk, tweet id) of the matches after the cursor, in order of risk."""
    way = "ASC" if backwards else "DESC"
    start = _start(version, filters, plan, cursor=cursor, backwards=backwards)
    inner = f"ORDER BY risk {way}, tweet_id {way} LIMIT %s" if plan.start in (Start.RISK, Start.TAG) else ""
    values = [*start.values]
    if inner:
        values.append(plan.window or limit)
    sql = f"""
        WITH c AS MATERIALIZED ({start.where} {inner})
        SELECT c.risk, c.tweet_id FROM c WHERE {plan.checks.where}
        ORDER BY c.risk {way}, c.tweet_id {way} LIMIT %s
    """
    with connection.cursor() as db:
        db.execute(sql, [*values, *plan.checks.values, limit])
        return [(risk, tweet_id) for risk, tweet_id in db.fetchall()]


def _window_end(
    version: ModelVersion, filters: Filters, plan: Plan, *, cursor: Cursor | None, backwards: bool
) -> Cursor | None:
    """The last row that a walk has tried, where its window was full. None: nothing lies beyond."""
    way = "ASC" if backwards else "DESC"
    start = _start(version, filters, plan, cursor=cursor, backwards=backwards)
    with connection.cursor() as db:
        db.execute(
            f"SELECT risk, tweet_id FROM ({start.where} ORDER BY risk {way}, tweet_id {way} LIMIT %s) c"
            f" ORDER BY risk {way}, tweet_id {way} OFFSET %s",  # within the window: at most its length
            [*start.values, plan.window, (plan.window or 1) - 1],
        )
        row = db.fetchone()
    return (row[0], row[1]) if row else None


def _start(
    version: ModelVersion, filters: Filters, plan: Plan, *, cursor: Cursor | None, backwards: bool
) -> _Sql:
    """SELECT … of the candidates that the chosen index gives; `.where` is the whole statement."""
    tables = ScoreTables(version.pk)
    where = _Sql()
    if plan.start is Start.TAG:
        table, columns = tables.tag, "tweet_id, risk"
        where.add("tag_id = %s", filters.tag)
    else:
        table, columns = tables.score, "tweet_id, risk"
        where.add("risk >= %s::real", floor_of(version))  # says that the partial indexes apply
        cheap = _cheap(filters, table)
        if cheap.conditions:
            where.add(cheap.where, *cheap.values)
    if plan.start is Start.IDS:
        where.add("tweet_id = ANY(%s)", plan.ids)
    where.add("risk >= %s::real", min_risk_of(version, filters))
    if cursor is not None:
        where.add(f"(risk, tweet_id) {'>' if backwards else '<'} (%s::real, %s)", *cursor)
    return _Sql([f"SELECT {columns} FROM {table} WHERE {where.where}"], where.values)


def _cheap(filters: Filters, table: str) -> _Sql:
    """Conditions that the indexes on risk and date carry themselves."""
    sql = _Sql()
    if filters.source is not None:
        sql.add(f"{table}.source = %s", filters.source)
    if filters.date_from:
        sql.add(f"{table}.posted_at >= %s", _midnight(filters.date_from))
    if filters.date_to:
        sql.add(f"{table}.posted_at < %s", _midnight(filters.date_to + timedelta(days=1)))
    return sql


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def _flagged_in(version: ModelVersion, filters: Filters) -> float:
    """How many flagged tweets the dates allow, by the stored days; infinite without dates."""
    if not (filters.date_from or filters.date_to):
        return float("inf")
    first = (filters.date_from or date.min).isoformat()
    last = (filters.date_to or date.max).isoformat()
    return sum(
        int(flagged)
        for day, _, flagged in version.score_summary.get("days", [])
        if day and first <= day <= last
    )


PEOPLE = [Origin.ANALYST, Origin.REVIEW]


def _state_source(state: str) -> tuple[str, str, list[Any]]:
    """Table and condition that list the tweets of a label state, by index."""
    if state == LabelState.IN_REVIEW:
        return "labeling_reviewitem t", "t.state = %s", [ReviewItem.State.OPEN.value]
    condition, values = _label_condition(state, "t")
    return "labeling_label t", condition, values


def _state_check(state: str) -> tuple[str, list[Any]]:
    if state == LabelState.UNLABELLED:
        return (
            "NOT EXISTS (SELECT 1 FROM labeling_label l WHERE l.tweet_id = c.tweet_id AND l.verdict IS NOT NULL)",
            [],
        )
    if state == LabelState.IN_REVIEW:
        return (
            "EXISTS (SELECT 1 FROM labeling_reviewitem r WHERE r.tweet_id = c.tweet_id AND r.state = %s)",
            [ReviewItem.State.OPEN.value],
        )
    condition, values = _label_condition(state, "l")
    return f"EXISTS (SELECT 1 FROM labeling_label l WHERE l.tweet_id = c.tweet_id AND {condition})", values


def _label_condition(state: str, table: str) -> tuple[str, list[Any]]:
    verdicts = {LabelState.DA: [1], LabelState.NDA: [0], LabelState.UNSURE: [2]}.get(
        LabelState(state), [0, 1, 2]
    )
    condition, values = f"{table}.verdict = ANY(%s)", [verdicts]
    if state in (LabelState.LABELLED, LabelState.REVIEWED):
        origins = PEOPLE if state == LabelState.LABELLED else [Origin.REVIEW]
        condition += f" AND {table}.verdict_origin = ANY(%s)"
        values.append([int(origin) for origin in origins])
    return condition, values


def _risks_with_words(version: ModelVersion, filters: Filters) -> tuple[list[int], bool]:
    """Common words among few high risks: both lists as bitmaps, so that only what is in both is read."""
    high = _start(version, filters, Plan(Start.RISK), cursor=None, backwards=False)
    with transaction.atomic(), connection.cursor() as db:
        db.execute(f"{high.where} LIMIT %s", [*high.values, IDS_UP_TO + 1])
        ids = sorted(row[0] for row in db.fetchall())
        if len(ids) > IDS_UP_TO:
            return [], True
        # Else the planner reads every one of the tweets and parses its text, at 30 µs each.
        db.execute("SET LOCAL enable_indexscan = off")
        condition, values = search_index.condition(filters.q)
        db.execute(f"SELECT t.id FROM labeling_tweet t WHERE {condition} AND t.id = ANY(%s)", [*values, ids])
        found = [row[0] for row in db.fetchall()]
        db.execute("SET LOCAL enable_indexscan = on")  # the caller may have a transaction of its own
        return found, False


def _ids(table: str, condition: str, values: list[Any], *, column: str, limit: int) -> tuple[list[int], bool]:
    """Up to `limit` ids, and whether there are more: then the list is of no use."""
    with connection.cursor() as db:
        db.execute(f"SELECT t.{column} FROM {table} WHERE {condition} LIMIT %s", [*values, limit + 1])
        ids = [row[0] for row in db.fetchall()]
    return ([], True) if len(ids) > limit else (ids, False)


def floor_of(version: ModelVersion) -> float:
    return float(version.score_summary.get("floor", 0.0))


def min_risk_of(version: ModelVersion, filters: Filters) -> float:
    """What was asked for, else the threshold; never below the floor of the indexes."""
    asked = threshold_of(version) if filters.min_risk is None else filters.min_risk
    return max(asked, floor_of(version))


def rows_of(version: ModelVersion, tweet_ids: Sequence[int]) -> list[Row]:
    """The lines of some tweets, in the order of the ids; tweets erased meanwhile are left out. One query."""
    if not tweet_ids:
        return []
    tables = ScoreTables(version.pk)
    with connection.cursor() as db:
        db.execute(
            f"""
            SELECT t.id, t.external_id, t.text, t.source, t.posted_at, s.risk, s.tag_bytes,
                   (SELECT json_agg(json_build_array(g.tag_id, g.probability) ORDER BY g.probability DESC)
                    FROM {tables.tag} g WHERE g.tweet_id = t.id),
                   l.verdict, l.verdict_origin, l.tag_ids, l.tags_origin, coalesce(l.is_disputed, false),
                   EXISTS (SELECT 1 FROM labeling_reviewitem r WHERE r.tweet_id = t.id AND r.state = 'open'),
                   w.spans
            FROM unnest(%s::bigint[]) WITH ORDINALITY AS c(tweet_id, place)
            JOIN labeling_tweet t ON t.id = c.tweet_id
            JOIN {tables.score} s ON s.tweet_id = c.tweet_id
            LEFT JOIN labeling_label l ON l.tweet_id = c.tweet_id
            LEFT JOIN labeling_flaggedwords w ON w.version_id = %s AND w.tweet_id = c.tweet_id
            ORDER BY c.place
            """,
            [list(tweet_ids), version.pk],
        )
        rows = [Row(*row) for row in db.fetchall()]
    return [
        replace(
            row,
            tag_bytes=bytes(row.tag_bytes),
            tags=[(tag, p) for tag, p in _json(row.tags) or []],
            spans=_json(row.spans),
        )
        for row in rows
    ]


def _json(value: Any) -> Any:
    """Django has a raw cursor hand jsonb over as text."""
    return json.loads(value) if isinstance(value, str) else value


def matches(version: ModelVersion, filters: Filters, *, limit: int | None = None) -> Iterator[Row]:
    """Every match, page after page; for exports."""
    after: Cursor | None = None
    left = limit
    while left is None or left > 0:
        size = EXPORT_PAGE if left is None else min(EXPORT_PAGE, left)
        page = page_of(version, filters, after=after, size=size)
        yield from page.rows
        if page.after is None:
            return
        after = page.after
        left = None if left is None else left - len(page.rows)


# The dashboard --------------------------------------------------------------------------------------------

LONGEST_BY_DAY = 62
LONGEST_BY_WEEK = 2 * 366


def over_time(summary: dict[str, Any]) -> tuple[str, list[tuple[str, int, int]]]:
    """("day" | "week" | "month", [(first day, scored, flagged), …]) from the stored days, as fits their span."""
    days = [(date.fromisoformat(day), n, flagged) for day, n, flagged in summary.get("days", []) if day]
    if not days:
        return "day", []
    span = (days[-1][0] - days[0][0]).days
    unit = "day" if span <= LONGEST_BY_DAY else "week" if span <= LONGEST_BY_WEEK else "month"
    sums: dict[date, tuple[int, int]] = {}
    for day, n, flagged in days:
        first = {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[unit]
        before = sums.get(first, (0, 0))
        sums[first] = (before[0] + n, before[1] + flagged)
    return unit, [(first.isoformat(), n, flagged) for first, (n, flagged) in sorted(sums.items())]


# Export ---------------------------------------------------------------------------------------------------

EXPORT_COLUMNS = (
    "id", "tweet", "text", "source", "posted_at", "version", "risk", "tags", "tag_probabilities",
    "verdict", "verdict_origin", "label_tags", "disputed", "in_review",
)  # fmt: skip


def export(
    version: ModelVersion,
    filters: Filters,
    *,
    name: str | Path,
    limit: int | None,
    user: AbstractBaseUser | None,
    asked: dict[str, str],
    stream: IO[bytes] | None = None,
) -> int:
    """Write the matches to a file whose name says the format, and record who took what. Returns how many."""
    count = exporting.write_rows(
        name, EXPORT_COLUMNS, export_rows(version, filters, limit=limit), stream=stream
    )
    AuditEvent.objects.create(
        action=AuditEvent.Action.EXPORT,
        user=user,  # type: ignore[misc]
        detail={"what": "flagged", "version": version.number, "filter": asked, "limit": limit},
        tweets=count,
    )
    return count


def export_rows(version: ModelVersion, filters: Filters, *, limit: int | None) -> Iterator[tuple[Any, ...]]:
    names = dict(Tag.objects.values_list("pk", "name"))
    verdicts = {Verdict.DA: settings.VERDICT_DA, Verdict.NDA: settings.VERDICT_NDA, Verdict.UNSURE: "unsure"}
    for row in matches(version, filters, limit=limit):
        label_tags = None if row.tag_ids is None else [names[t] for t in row.tag_ids if t in names]
        yield (
            row.external_id,
            row.tweet_id,
            row.text,
            Source(row.source).label,
            row.posted_at,
            version.number,
            row.risk,
            [names[tag] for tag, _ in row.tags if tag in names],
            {
                names[t]: round(b / 255, 3)
                for t, b in zip(version.tag_ids, row.tag_bytes, strict=False)
                if t in names
            },
            None if row.verdict is None else verdicts[Verdict(row.verdict)],
            None if row.verdict_origin is None else Origin(row.verdict_origin).label,
            label_tags,
            row.is_disputed,
            row.in_review,
        )
