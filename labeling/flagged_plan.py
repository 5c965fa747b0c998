"""How a page of the flagged list is found: where the query starts, by what PostgreSQL's statistics say of each way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from labeling.flagged_filters import (
    Filters,
    LabelState,
    Sql,
    carried,
    fetch,
    min_risk_of,
    state_check,
    state_source,
)
from labeling.models import ModelVersion
from labeling.score_tables import ScoreTables
from labeling.word_search import expected_rows

FEW = 5_000  # listed tweets that are sooner all read and sorted than thought about
STATE_UP_TO = 3_000  # a label state with fewer tweets bounds the work
# What indexes find, and the tweets of a label state, that are sooner met with each other as a whole than window by window.
MET_UP_TO, MET_STATE_UP_TO = 30_000, 30_000
# Labels are asked for words: from so many tweets with the words on, in a label state of no more tweets.
ASKED_FROM, ASKED_STATE_UP_TO = 500, 60_000
# Microseconds of a listed tweet: that indexes find, to be read and sorted; that is passed on the walk along the risks,
# where the index on risk says enough, or its words and tags are asked.
SORTING, PASSING, ASKING = 1.0, 0.1, 0.4
RELATED = 4  # words go with tags: how many times as many tweets may have both as chance would give
# Candidates whose labels are looked up at once, the small windows first: 3 to 5 µs each.
LOOKUP_WINDOWS = (2_000, 2_000, 4_000, 14_000)
SORTED_WINDOWS = (2_000, 20_000)  # where each window reads and sorts them all
SMALL_WINDOW = 300  # comes before these where most candidates match, and on later pages, which count nothing


class Start(StrEnum):
    """Where a query starts."""

    LIST = "list"  # the listed scores, by the index that PostgreSQL finds best: on risk, on dates, on words and tags
    TAG = "tag"  # the scores that have the tag, by risk
    STATE = "state"  # the tweets of a label state


@dataclass
class Plan:
    """How one page is found: candidates, in the order of risk, then what is left to check."""

    start: Start
    sorts: bool = False  # reads all candidates and sorts them; else walks along an index on risk
    check: Sql = field(default_factory=Sql)  # on c.tweet_id
    windows: tuple[int, ...] = ()  # candidates that are tried; none: all of them match


def choose_start(version: ModelVersion, filters: Filters, *, wanted: int, only_page: bool) -> Plan:
    """The planner; `wanted` matches are enough. `only_page`: they fill a page, and nothing is counted beyond it.

    In order of preference: the labels of a label state that have the words; few tweets by their words, tag
    or dates; few of a label state, or not many of either, met with each other; a tag alone by its own index; else what is
    cheaper, to sort what the indexes find or to walk along the risks.
    """
    plan = Plan(Start.LIST)
    most_match = filters.state == LabelState.UNLABELLED
    windows = (SMALL_WINDOW, *LOOKUP_WINDOWS) if most_match or only_page else LOOKUP_WINDOWS
    found = _found_by_index(version, filters)
    asks_labels = filters.is_known_to_labels and found > ASKED_FROM
    if asks_labels and _has_at_most(filters.state, ASKED_STATE_UP_TO):
        plan.start, plan.sorts = Start.STATE, True
    elif found <= FEW:
        plan.sorts = True
    elif filters.state and _has_at_most(filters.state, STATE_UP_TO):
        plan.start = Start.STATE
    elif filters.state and found <= MET_UP_TO and _has_at_most(filters.state, MET_STATE_UP_TO):
        plan.start, plan.sorts = Start.STATE, True
    elif filters.tag is not None and filters == Filters(
        tag=filters.tag, min_risk=filters.min_risk, state=filters.state
    ):
        plan.start = Start.TAG
    elif found < float("inf"):
        first = windows[0] if filters.state else wanted
        plan.sorts = found * SORTING <= _walking(version, filters, wanted=first)
    if filters.state and plan.start is not Start.STATE:
        condition, values = state_check(filters.state)
        plan.check.add(condition, *values)
        plan.windows = SORTED_WINDOWS if plan.sorts else windows
    return plan


def _found_by_index(version: ModelVersion, filters: Filters) -> float:
    """About how many listed tweets have the words, the tag and the dates; infinite without any of these."""
    indexed = replace(filters, source=None, min_risk=None, state="")
    return float("inf") if indexed.is_plain else _expected(version, indexed)


def _walking(version: ModelVersion, filters: Filters, *, wanted: int) -> float:
    """About how many microseconds it takes to find so many tweets on the walk along the risks."""
    passed = _expected(version, Filters(min_risk=min_risk_of(version, filters)))
    having = _expected(version, replace(filters, min_risk=min_risk_of(version, filters)))
    one = ASKING if filters.q or filters.tag is not None else PASSING
    return passed * min(1.0, wanted / max(having, 1)) * one


def _expected(version: ModelVersion, filters: Filters) -> float:
    """About how many listed tweets there are of this kind, whatever their label, by PostgreSQL's statistics.

    They take words and tags to be independent, which these are not: so several times as many as they say.
    """
    listed = ScoreTables(version.pk).listed
    where = carried(filters, listed)
    if filters.min_risk:
        where.add("risk >= %s::real", filters.min_risk)
    rows = expected_rows(f"SELECT FROM {listed} WHERE {where.where}", where.values)
    return rows * RELATED if filters.q and filters.tag is not None else rows


def _has_at_most(state: str, most: int) -> bool:
    """Whether no more tweets are in a label state than that."""
    if state == LabelState.UNLABELLED:
        return False
    source, condition, values = state_source(state)
    rows = fetch(
        f"SELECT count(*) FROM (SELECT FROM {source} WHERE {condition} LIMIT %s) t", [*values, most + 1]
    )
    return bool(rows[0][0] <= most)
