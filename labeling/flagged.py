"""Flagged tweets: the list by risk under any filter, and what the dashboard shows of the active version.

How the list stays fast at millions of rows: it reads the version's own table of listed scores, which carries dates,
sources, words and tags, and pages by row comparison. It starts from whatever bounds the work, see flagged_plan. Labels
cost a look-up for each tweet: they are tried on the highest risks first, in a small window and then in larger ones;
where these do not fill the page, it says down to which risk it has looked, and the next page goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connection

from labeling.flagged_filters import Filters, Sql, carried, fetch, min_risk_of, state_source
from labeling.flagged_plan import Plan, Start, choose_start
from labeling.models import ModelVersion
from labeling.score_tables import ScoreTables
from labeling.search_index import WORDS

PAGE_SIZE = 50
COUNT_UP_TO = 200  # tweets are counted up to here; where no count of more is stored, a page says "200+"

Cursor = tuple[float, int]  # risk and tweet id of the row that a page begins after


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
    count: int | None = None  # up to COUNT_UP_TO, or as it is stored; None on later pages
    count_is_capped: bool = False
    looked_down_to: float | None = None  # the window ended here, and lower risks may match too


# The list -------------------------------------------------------------------------------------------------


def page_of(
    version: ModelVersion,
    filters: Filters,
    *,
    after: Cursor | None = None,
    before: Cursor | None = None,
    size: int | None = None,
) -> Page:
    """One page of the list, highest risk first. A handful of queries, none of which counts a large table."""
    size = size or PAGE_SIZE
    is_first = after is None and before is None
    limit = max(COUNT_UP_TO, size) + 1 if is_first else size + 1
    plan = choose_start(version, filters, wanted=limit, only_page=limit <= COUNT_UP_TO)
    walk = _Walk(version, filters, plan, backwards=before is not None)
    found, end = walk.find(before or after, wanted=size + 1, limit=limit)
    page = Page(rows=[])
    has_more = len(found) > size
    if is_first:
        page.count, page.count_is_capped = _count(len(found), is_complete=end is None)
        stored = stored_count(version.score_summary, filters) if page.count_is_capped else None
        if stored is not None:
            page.count, page.count_is_capped = stored, False
    chosen = found[:size]
    if before is not None:
        chosen.reverse()
        page.before = chosen[0] if has_more else end
        page.after = chosen[-1] if chosen else before
    else:
        page.before = (chosen[0] if chosen else after) if after is not None else None
        page.after = chosen[-1] if has_more else end
        if end is not None and not has_more:
            page.looked_down_to = end[0]
    page.rows = rows_of(version, [tweet_id for _, tweet_id in chosen])
    return page


def _count(found: int, *, is_complete: bool) -> tuple[int, bool]:
    """The number to show, and whether there may be more. What a window happened to hold is rounded down."""
    if found > COUNT_UP_TO:
        return COUNT_UP_TO, True
    return (
        (found, False) if is_complete else (found - found % PAGE_SIZE if found > PAGE_SIZE else found, True)
    )


def stored_count(summary: dict[str, Any], filters: Filters) -> int | None:
    """How many tweets are flagged at all, with a tag, of a source or of some days, as counted at publication.

    None: several of these together, another risk, labels and words are not counted there.
    """
    if filters.is_plain:
        return int(summary["flagged"])
    if filters == Filters(tag=filters.tag):
        return next((int(tag["flagged"]) for tag in summary["tags"] if tag["tag"] == filters.tag), 0)
    if filters == Filters(source=filters.source):
        return int(summary["sources"].get(str(filters.source), [0, 0])[1])
    first, last = filters.date_from or date.min, filters.date_to or date.max
    if filters == Filters(date_from=filters.date_from, date_to=filters.date_to):
        days = ((date.fromisoformat(day), flagged) for day, _, flagged in summary["days"] if day)
        return sum(int(flagged) for day, flagged in days if first <= day <= last)
    return None


@dataclass
class _Walk:
    """The matches of a plan, in one direction."""

    version: ModelVersion
    filters: Filters
    plan: Plan
    backwards: bool

    def find(self, cursor: Cursor | None, *, wanted: int, limit: int) -> tuple[list[Cursor], Cursor | None]:
        """Up to `limit` (risk, tweet id) behind the cursor; window after window until there are as many as wanted.

        And the last candidate of the last window; None: nothing lies beyond it.
        """
        if not self.plan.windows:
            return self._all(cursor, limit), None
        found: list[Cursor] = []
        end = cursor
        for window in self.plan.windows:
            matches, end = self._try(end, window, limit)
            found += matches
            if end is None or len(found) >= wanted:
                break
        return found[:limit], end

    def _all(self, cursor: Cursor | None, limit: int) -> list[Cursor]:
        candidates = self._candidates(cursor, limit)
        return [(risk, tweet_id) for risk, tweet_id in fetch(candidates.where, candidates.values)]

    def _try(self, cursor: Cursor | None, window: int, limit: int) -> tuple[list[Cursor], Cursor | None]:
        """The matches among the next candidates, and the last of these where the window was full."""
        plan, (way, back) = self.plan, self._ways
        candidates = self._candidates(cursor, window)
        rows = fetch(
            f"""
            WITH c AS MATERIALIZED ({candidates.where}),
            found AS (
                SELECT c.risk, c.tweet_id FROM c WHERE {plan.check.where}
                ORDER BY c.risk {way}, c.tweet_id {way} LIMIT %s
            )
            SELECT risk, tweet_id, false FROM found
            UNION ALL
            (SELECT risk, tweet_id, true FROM c WHERE (SELECT count(*) FROM c) = %s
             ORDER BY risk {back}, tweet_id {back} LIMIT 1)
            """,
            [*candidates.values, *plan.check.values, limit, window],
        )
        return self._sorted(rows)

    def _sorted(self, rows: list[tuple[Any, ...]]) -> tuple[list[Cursor], Cursor | None]:
        """Rows of (risk, tweet id, whether it is the window's last candidate): the matches in order, and that candidate."""
        found = sorted(
            ((risk, tweet_id) for risk, tweet_id, is_end in rows if not is_end), reverse=not self.backwards
        )
        return found, next(((risk, tweet_id) for risk, tweet_id, is_end in rows if is_end), None)

    @property
    def _ways(self) -> tuple[str, str]:
        return ("ASC", "DESC") if self.backwards else ("DESC", "ASC")

    def _candidates(self, cursor: Cursor | None, limit: int) -> Sql:
        """SELECT … of what the chosen start gives; `.where` is the whole statement."""
        tables, plan, way = ScoreTables(self.version.pk), self.plan, self._ways[0]
        where = Sql()
        if plan.start is Start.TAG:
            table = tables.tag
            where.add("tag_id = %s", self.filters.tag)
        else:
            table = tables.listed
            where.include(carried(self.filters, table))
        if plan.start is Start.STATE:
            source, condition, values = state_source(self.filters.state)
            if self.filters.is_known_to_labels:
                condition, values = f"{condition} AND t.words @@ {WORDS}", [*values, self.filters.q]
            where.add(f"tweet_id IN (SELECT t.tweet_id FROM {source} WHERE {condition})", *values)
        where.add("risk >= %s::real", min_risk_of(self.version, self.filters))
        if cursor is not None:
            where.add(f"(risk, tweet_id) {'>' if self.backwards else '<'} (%s::real, %s)", *cursor)
        found = f"SELECT risk, tweet_id FROM {table} WHERE {where.where}"
        if plan.sorts:  # the planner takes the walk for cheaper than it is
            found = f"SELECT risk, tweet_id FROM ({found} OFFSET 0) few"
        return Sql([f"{found} ORDER BY risk {way}, tweet_id {way} LIMIT %s"], [*where.values, limit])


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
    for row in rows:
        row.tag_bytes = bytes(row.tag_bytes)
        row.tags = [(tag, p) for tag, p in _json(row.tags) or []]
        row.spans = _json(row.spans)
    return rows


def _json(value: Any) -> Any:
    """Django has a raw cursor hand jsonb over as text."""
    return json.loads(value) if isinstance(value, str) else value


# The dashboard --------------------------------------------------------------------------------------------

LONGEST_BY_DAY = 62
LONGEST_BY_WEEK = 2 * 366


def last_day(unit: str, first: str) -> str:
    """Of the day, week or month that begins on `first`."""
    day = date.fromisoformat(first)
    if unit == "month":
        return ((day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)).isoformat()
    return (day + timedelta(6 if unit == "week" else 0)).isoformat()


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
