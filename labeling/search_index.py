"""Full-text search over tweets: in segments, so that an import does not pay for it.

Rows of small additions are in segment 0, whose index is kept up with every insert. A large import puts its rows
into segments of their own; when it has ended, a job builds their indexes beside everybody's work. A search asks the
indexes that are ready, and coverage() says what that leaves out. Why: docs/decisions/0006-search-segments.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from labeling import jobs
from labeling.jobs import Progress
from labeling.models import Import, Job, SearchIndex, Tweet

SEGMENT_AFTER = 100_000  # rows of an import that go into segment 0; the others wait for an index of their own
SMALL_ADDITIONS = "tweet_search_0"

State = SearchIndex.State


# Writing --------------------------------------------------------------------------------------------------


def open_segment(row: Import) -> int:
    """The segment for the rows of an import after its first SEGMENT_AFTER. Safe to call before every batch."""
    waiting = SearchIndex.objects.filter(import_row=row, state=State.WAITING).last()
    if waiting is None:
        with transaction.atomic():
            last = SearchIndex.objects.aggregate(last=Max("last_segment"))["last"] or 0
            waiting = SearchIndex.objects.create(
                import_row=row, first_segment=last + 1, last_segment=last + 1
            )
    return waiting.last_segment


# Searching ------------------------------------------------------------------------------------------------


def condition(words: str, *, alias: str = "t", plain: bool = False) -> tuple[str, list[Any]]:
    """SQL and parameters: the tweet `alias` has these words, and an index that is ready knows it.

    "quoted words" are a phrase, -word excludes; `plain` takes every word as it is. Each arm of the OR repeats the
    condition of a partial index, so that the planner can read all of them and nothing else.
    """
    parse = "plainto_tsquery" if plain else "websearch_to_tsquery"
    has_words = f"to_tsvector('simple'::regconfig, COALESCE({alias}.text, ''::text)) @@ {parse}('simple'::regconfig, %s)"
    ready = SearchIndex.objects.filter(state=State.READY).values_list("first_segment", "last_segment")
    segments = [f"{alias}.search_segment = 0"]
    segments += [segment_condition(first, last, alias=f"{alias}.") for first, last in ready]
    arms = [f"({segment} AND {has_words})" for segment in segments]
    return f"({' OR '.join(arms)})", [words] * len(arms)


def find(words: str, *, cap: int, plain: bool = False) -> list[int]:
    """Ids of up to `cap` tweets with these words, in no order.

    The planner is kept from reading the table instead: without statistics it takes a rare word for a common one,
    and then reads every tweet to find none.
    """
    has_words, values = condition(words, plain=plain)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            f"SELECT t.id FROM labeling_tweet t WHERE {has_words} LIMIT %s",  # noqa: S608 - values are parameters
            [*values, cap],
        )
        ids = [int(row[0]) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_seqscan = on")  # for what follows in an outer transaction
    return ids


def expected_matches(words: str) -> int:
    """About how many tweets have these words, as the planner expects: nothing is read."""
    has_words, values = condition(words)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM labeling_tweet t WHERE {has_words}", values)
        (plan,) = cursor.fetchone()
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


def among(ids: Sequence[int], words: str, *, is_common: bool) -> list[int]:
    """Those of the tweets that have these words.

    Common words are looked for in the texts. For others the indexes on words and on ids are read as bitmaps, so that
    only tweets in both are read: parsing a text takes 30 µs.
    """
    has_words, values = condition(words)
    array = f"{{{','.join(map(str, ids))}}}"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL enable_indexscan = {'on' if is_common else 'off'}")
        cursor.execute(
            f"SELECT t.id FROM labeling_tweet t WHERE {has_words} AND t.id = ANY(%s::bigint[])",  # noqa: S608
            [*values, array],
        )
        found = [int(row[0]) for row in cursor.fetchall()]
        cursor.execute("SET LOCAL enable_indexscan = on")  # for what follows in an outer transaction
    return found


def segment_condition(first: int, last: int, *, alias: str = "") -> str:
    return f"{alias}search_segment BETWEEN {int(first)} AND {int(last)}"


@dataclass(frozen=True)
class Coverage:
    """How much of the tweets a search finds. Counts are estimates."""

    waiting: int  # tweets whose index is not ready
    share: float  # of all tweets that are indexed, 0 to 1
    job: Job | None  # that builds it; None before the import has ended


def coverage() -> Coverage | None:
    """None: everything is indexed. One query then, three otherwise."""
    missing = list(SearchIndex.objects.exclude(state=State.READY).select_related("import_row"))
    if not missing:
        return None
    waiting = sum(_tweets_in(index) * (1 - index.built) for index in missing)
    total = max(Tweet.objects.order_by("-id").values_list("id", flat=True).first() or 0, 1)
    job = Job.objects.active().filter(kind=Job.Kind.SEARCH).first()
    return Coverage(int(waiting), max(0.0, 1 - waiting / total), job)


def _tweets_in(index: SearchIndex) -> int:
    if index.tweets or index.import_row is None:
        return index.tweets
    return max(0, index.import_row.imported - SEGMENT_AFTER)


# The job --------------------------------------------------------------------------------------------------


def request_tidying() -> Job | None:
    """A queued job that files the pending entries; None when one is queued or running already."""
    try:
        return jobs.create_job(Job.Kind.SEARCH, exclusive_key="search")
    except jobs.AlreadyRunning:
        return None


def work(job: Job, progress: Progress) -> None:
    """File the pending entries. Searching is right before, during and after; it is fast again after."""
    progress.report(stage="Filing new tweets in the search index")
    with connection.cursor() as cursor:
        # Sorting in more memory needs fewer passes; the setting ends with the session's next statement.
        cursor.execute("SET maintenance_work_mem = '256MB'")
        try:
            cursor.execute("SELECT gin_clean_pending_list(%s::regclass)", [SMALL_ADDITIONS])
            pages = cursor.fetchone()
            if not connection.in_atomic_block:  # new rows do not call autovacuum: migration 0002 says why
                progress.report(stage="Renewing the statistics of tweets")
                cursor.execute("VACUUM (ANALYZE) labeling_tweet")
        finally:
            cursor.execute("RESET maintenance_work_mem")
    progress.report(detail={"pages": pages[0] if pages else 0})
