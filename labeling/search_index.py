"""Full-text search over tweets: in segments, so that an import does not pay for it.

Rows of small additions are in segment 0, whose index is kept up with every insert. A larger import puts its rows
into segments of their own; when it has ended, a job builds their indexes beside everybody's work. A search asks the
indexes that are ready, and coverage() says what that leaves out. Why: docs/decisions/0006-search-segments.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import Max, Sum

from labeling import jobs
from labeling.models import Import, Job, SearchIndex, Tweet

# Rows of an import that go into segment 0, at four times the cost of the row itself; the others wait for an index of
# their own. To build one reads every tweet twice: where there are many, more rows go into segment 0.
SEGMENT_AFTER = 10_000
SEGMENT_SHARE = 200
# Tweets of one index. Smaller ones are ready sooner, and a common word needs but one of them; more take more disk.
SEGMENT_TWEETS = 5_000_000
SMALL_ADDITIONS = "tweet_search_0"
VECTOR = "to_tsvector('tweet_text'::regconfig, COALESCE({alias}text, ''::text))"  # as the indexes have it
WORDS = "websearch_to_tsquery('tweet_text'::regconfig, %s)"
COMMON = 1_000_000  # an index takes about 0.1 s to list so many tweets; reading one text takes 30 µs

State = SearchIndex.State


# Writing --------------------------------------------------------------------------------------------------


def segment_after() -> int:
    """After how many rows an import that begins now gets a segment of its own."""
    return max(SEGMENT_AFTER, _last_id() // SEGMENT_SHARE)


def open_segment(row: Import) -> int:
    """The segment for the later rows of an import. Call it before every batch."""
    opened = list(SearchIndex.objects.filter(import_row=row))
    if opened and opened[-1].state == State.WAITING and tweets_in(opened[-1]) < SEGMENT_TWEETS:
        return opened[-1].last_segment
    with transaction.atomic():
        for full in opened[-1:]:
            SearchIndex.objects.filter(pk=full.pk, tweets=0).update(tweets=tweets_in(full))
        last = SearchIndex.objects.aggregate(last=Max("last_segment"))["last"] or 0
        SearchIndex.objects.create(import_row=row, first_segment=last + 1, last_segment=last + 1)
    return last + 1


def _last_id() -> int:
    """About how many tweets there are."""
    return Tweet.objects.order_by("-id").values_list("id", flat=True).first() or 0


def drop_empty(row: Import) -> None:
    """An import of nothing but duplicates has opened a segment that holds no tweet: there is nothing to build."""
    if not row.imported:
        SearchIndex.objects.filter(import_row=row).delete()


def tweets_in(index: SearchIndex) -> int:
    """About how many tweets an index has or will have: what its import has brought beyond the segments before."""
    if index.tweets or index.import_row_id is None:
        return index.tweets
    imported = Import.objects.values_list("imported", flat=True).get(pk=index.import_row_id)
    others = SearchIndex.objects.filter(import_row=index.import_row_id).aggregate(n=Sum("tweets"))["n"] or 0
    return max(0, imported - others)


def ready_to_build() -> list[SearchIndex]:
    """The indexes that wait, and whose imports have ended."""
    waiting = SearchIndex.objects.filter(state=State.WAITING).exclude(import_row__job__state__in=Job.ACTIVE)
    found = list(waiting.select_related("import_row__job"))
    for index in found:
        index.tweets = tweets_in(index)
    return found


def request() -> Job | None:
    """A queued job that builds and files what waits; None when one is queued or running already."""
    try:
        return jobs.create_job(Job.Kind.SEARCH, exclusive_key="search")
    except jobs.AlreadyRunning:
        return None


# Searching ------------------------------------------------------------------------------------------------


def condition(words: str, *, alias: str = "t") -> tuple[str, list[Any]]:
    """SQL and parameters: the tweet `alias` has these words, and an index that is ready knows it.

    "quoted words" are a phrase, -word excludes. Each arm of the OR repeats the condition of a partial index, so that
    the planner can read all of them and nothing else.
    """
    has_words = f"{VECTOR.format(alias=f'{alias}.')} @@ {WORDS}"
    arms = [f"({segments} AND {has_words})" for segments in _searchable(alias)]
    return f"({' OR '.join(arms)})", [words] * len(arms)


def find(words: str, *, cap: int, plain: bool = False) -> list[int]:
    """Ids of up to `cap` tweets with these words, in no order; `plain` takes every word as it is.

    One index after another, so that a common word is not looked up in all. The planner is kept from reading the
    table instead: without statistics it takes a rare word for a common one, and reads every tweet to find none.
    """
    query = WORDS.replace("websearch_", "plain") if plain else WORDS
    ids: list[int] = []
    segments = _searchable("t")
    with _without("seqscan") as cursor:
        while segments and len(ids) < cap:
            cursor.execute(
                f"SELECT t.id FROM labeling_tweet t WHERE {segments.pop()} AND {VECTOR.format(alias='t.')} @@ {query}"  # noqa: S608
                " LIMIT %s",
                [words, cap - len(ids)],
            )
            ids += [int(row[0]) for row in cursor.fetchall()]
    return ids


def are_common(words: str) -> bool:
    """Whether so many tweets have them that reading texts until enough are found is less than asking the indexes."""
    return expected_matches(words) > COMMON


def expected_matches(words: str) -> int:
    """About how many tweets have these words, by the statistics of migration 0008.

    These know the thousand commonest words, from about one tweet in 1,000; any other is taken for half as common.
    """
    has_words, values = condition(words)
    return expected_rows(f"SELECT FROM labeling_tweet t WHERE {has_words}", values)


def expected_rows(sql: str, values: list[Any]) -> int:
    """About how many rows a statement gives, by PostgreSQL's statistics: nothing is read."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        (plan,) = cursor.fetchone()
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


@contextmanager
def _without(*ways: str) -> Iterator[Any]:
    """A cursor whose planner does without these ways to read a table, in a transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL enable_{way} = off" for way in ways))
        yield cursor
        # For what follows in an outer transaction.
        cursor.execute("; ".join(f"SET LOCAL enable_{way} = on" for way in ways))


def only_excludes(words: str) -> bool:
    """Whether the search names nothing to look for, as "-word" does: it would list nearly every tweet."""
    if "-" not in words:
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT querytree({WORDS})", [words])
        (tree,) = cursor.fetchone()
    return bool(tree == "T")


def _searchable(alias: str) -> list[str]:
    """A condition for each index that can be asked, the newest last."""
    ready = SearchIndex.objects.filter(state=State.READY).values_list("first_segment", "last_segment")
    return [
        f"{alias}.search_segment = 0",
        *(segment_condition(first, last, alias=f"{alias}.") for first, last in ready),
    ]


def segment_condition(first: int, last: int, *, alias: str = "") -> str:
    return f"{alias}search_segment BETWEEN {int(first)} AND {int(last)}"


@dataclass(frozen=True)
class Coverage:
    """How much of the tweets a search finds. Counts are estimates."""

    waiting: int  # tweets whose index is not ready
    share: float  # of all tweets that are indexed, 0 to 1
    job: Job | None  # that builds it; None before the import has ended

    @property
    def percent(self) -> int:
        """Rounded down: 100 would say that it is done."""
        return int(100 * self.share)


def coverage() -> Coverage | None:
    """None: everything is indexed. One query then, three otherwise."""
    indexes = list(SearchIndex.objects.all())
    ready = [index for index in indexes if index.state == State.READY]
    missing = [index for index in indexes if index not in ready and not any(map(index.contains, ready))]
    if not missing:
        return None
    waiting = sum(tweets_in(index) * (1 - index.built) for index in missing)
    total = max(_last_id(), 1)
    job = Job.objects.active().filter(kind=Job.Kind.SEARCH).first()
    return Coverage(int(waiting), max(0.0, 1 - waiting / total), job)
