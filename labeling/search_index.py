"""Full-text search over tweets: in segments, so that an import does not pay for it.

Rows of small additions are in segment 0, whose index is kept up with every insert. A larger import puts its rows
into segments of their own; when it has ended, a job builds their indexes beside everybody's work. A search (labeling/word_search.py)
asks the indexes that are ready, and coverage() says what that leaves out. Why: docs/decisions/0006-search-segments.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Max, Sum

from labeling import jobs
from labeling.models import Import, Job, SearchIndex, Tweet
from labeling.models.tweets import MAX_ID

# Rows of an import that go into segment 0, at four times the cost of the row itself; the others wait for an index of
# their own. To build one reads every tweet three times: where there are many, more rows go into segment 0.
SEGMENT_AFTER = 10_000
SEGMENT_SHARE = 200
# Tweets of one index. Smaller ones are ready sooner, and a page needs but the newest; but each is built by reading all
# tweets, and a rare word asks all of them. So they grow with the corpus, to about so many.
SEGMENT_TWEETS = 2_500_000
SEGMENTS = 16
SMALL_ADDITIONS = "tweet_search_0"
VECTOR = "to_tsvector('tweet_text'::regconfig, COALESCE({alias}text, ''::text))"  # as the indexes have it
WORDS = "websearch_to_tsquery('tweet_text'::regconfig, %s)"

State = SearchIndex.State


# Writing --------------------------------------------------------------------------------------------------


def segment_after() -> int:
    """After how many rows an import that begins now gets a segment of its own."""
    return max(SEGMENT_AFTER, _last_id() // SEGMENT_SHARE)


def segment_size() -> int:
    """After how many tweets a segment is full."""
    return max(SEGMENT_TWEETS, _last_id() // SEGMENTS)


def open_segment(row: Import) -> int:
    """The segment for the later rows of an import. Call it before every batch."""
    opened = list(SearchIndex.objects.filter(import_row=row))
    if opened and opened[-1].state == State.WAITING and tweets_in(opened[-1]) < segment_size():
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


# What is indexed ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """The tweets of one index that can be asked. Every id of them is within the bounds."""

    first_segment: int
    last_segment: int
    first_id: int
    last_id: int
    tweets: int  # about

    def condition(self, alias: str) -> str:
        """As the partial index has it, so that the planner takes it for a search."""
        if self.last_segment == 0:
            return f"{alias}search_segment = 0"
        return segment_condition(self.first_segment, self.last_segment, alias=alias)


@dataclass(frozen=True)
class Searched:
    parts: list[Part]  # small additions first, which lie anywhere; then in order of the import, oldest first
    waits: bool  # for some tweets there is no index yet

    @property
    def tweets(self) -> int:
        return sum(part.tweets for part in self.parts)

    @property
    def largest(self) -> int:
        """Tweets of the largest part."""
        return max(part.tweets for part in self.parts)

    @property
    def newest_id(self) -> int | None:
        """Of the tweets that a large import brought; None: there is none, or none of them has an index."""
        return max((part.last_id for part in self.parts[1:]), default=None)


def searched() -> Searched:
    """All that can be asked."""
    every = list(SearchIndex.objects.all())
    ready = [index for index in every if index.state == State.READY]
    missing = _missing(every)
    elsewhere = sum(tweets_in(index) for index in [*ready, *missing])
    additions = Part(0, 0, 0, MAX_ID, max(0, _about_tweets() - elsewhere))
    large = [
        Part(index.first_segment, index.last_segment, index.first_id, index.last_id, index.tweets)
        for index in ready
    ]
    return Searched([additions, *large], waits=bool(missing))


def _missing(indexes: list[SearchIndex]) -> list[SearchIndex]:
    """Those whose tweets no index has yet."""
    ready = [index for index in indexes if index.state == State.READY]
    return [index for index in indexes if index not in ready and not any(map(index.contains, ready))]


def _about_tweets() -> int:
    """How many there are, by PostgreSQL's estimate; before the first one, by their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN reltuples > 0 THEN reltuples ELSE (SELECT coalesce(max(id), 0) FROM labeling_tweet) END"
            " FROM pg_class WHERE oid = 'labeling_tweet'::regclass"
        )
        return int(cursor.fetchone()[0])


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
    """None: everything is indexed. One query then, a few otherwise."""
    missing = _missing(list(SearchIndex.objects.all()))
    if not missing:
        return None
    waiting = sum(tweets_in(index) * (1 - index.built) for index in missing)
    total = max(_last_id(), 1)
    job = Job.objects.active().filter(kind=Job.Kind.SEARCH).first()
    return Coverage(int(waiting), max(0.0, 1 - waiting / total), job)
