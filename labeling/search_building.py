"""Building the full-text indexes, beside everybody's work: CREATE INDEX CONCURRENTLY, watched from outside.

One long statement runs on a connection of its own in a thread of its own; this thread reports how far it is, and
stops it on a cancel. A build that was killed leaves an invalid index, which the next run drops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from labeling import search_index
from labeling.jobs import Progress
from labeling.models import Import, Job, SearchIndex
from labeling.models.tweets import MAX_ID
from labeling.search_index import SMALL_ADDITIONS, VECTOR, State

logger = logging.getLogger(__name__)

LOCK_KEY = 7_241_002  # Postgres advisory lock: one builder at a time
POLL_SECONDS = 0.5
MERGE_FROM = 8  # indexes of less than half a segment: a search asks each of them
# Grown row by row, by two writers: a quarter of their pages is empty. Packed they are 250 MB smaller at 20 million.
KEYS = ("labeling_tweet_pkey", "labeling_tweet_dedupe_key_key")
TRY_AGAIN_AFTER = timedelta(hours=1)  # a build that failed
WORTH_TIDYING = 0.05  # share of new rows from which reading them again for VACUUM and ANALYZE pays

# Where each phase of pg_stat_progress_create_index begins and ends, as a share of the time: measured.
PHASES = {
    "building index: scanning table": (0.0, 0.80),
    "building index": (0.80, 0.90),
    "index validation: scanning index": (0.90, 0.95),
    "index validation": (0.95, 1.0),
}


def work(job: Job, progress: Progress) -> None:
    """File small additions, renew the statistics, build the indexes that wait, merge small ones. Safe to repeat."""
    with _Session(progress) as session:
        _take_up(session)
        _close_bounds(session)
        progress.report(stage="Filing small additions")
        session.run("SELECT gin_clean_pending_list(%s::regclass)", [SMALL_ADDITIONS])
        waiting = [index for index in search_index.ready_to_build() if not _forget_empty(index)]
        _renew_statistics(session, progress, is_new=bool(waiting))
        total, done = sum(index.tweets for index in waiting), 0
        for index in waiting:
            _build(index, session, progress, done=done, total=total)
            done += index.tweets
        merged = [_merge(parts, session, progress) for parts in _to_merge()]
        _tidy_up(session, progress)
    progress.report(
        stage="Searchable", done=total, total=total, detail={"built": len(waiting), "merged": len(merged)}
    )


class _Session:
    """A connection in a thread, for statements of minutes that this thread watches."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.thread = ThreadPoolExecutor(1)
        self.pid = 0

    def __enter__(self) -> _Session:
        try:
            self.pid = self.run("SELECT pg_backend_pid()")
            self.run(f"SET maintenance_work_mem = '{int(settings.SEARCH_BUILD_MEMORY_MB)}MB'")
            # One process beside the first (PostgreSQL 18 builds GIN indexes in parallel; older ones do not).
            self.run("SET max_parallel_maintenance_workers = 1")
            self.run("SET client_connection_check_interval = '2s'")  # so that it ends with a killed worker
            while not self.run("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]):
                self.progress.report(stage="Waiting for an earlier build to end")
                self.run("SELECT pg_sleep(1)")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        self.thread.submit(_hang_up)
        self.thread.shutdown()

    def run(self, sql: str, values: Sequence[Any] = (), *, watch: Callable[[], None] | None = None) -> Any:
        """The first value of the first row. `watch` is called again and again meanwhile, and may raise to stop."""
        running = self.thread.submit(_execute, sql, values)
        try:
            while not wait([running], timeout=POLL_SECONDS).done:
                (watch or self.progress.report)()
        except BaseException:
            _execute("SELECT pg_cancel_backend(%s)", [self.pid])
            wait([running])
            raise
        return running.result()


def _execute(sql: str, values: Sequence[Any] = ()) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def _hang_up() -> None:
    connection.close()  # the thread's own, and with it its lock and settings


# What earlier runs left -----------------------------------------------------------------------------------


def _take_up(session: _Session) -> None:
    """Forget half-done builds and indexes that nobody asks: of killed runs, merged parts and deleted imports."""
    for index in SearchIndex.objects.filter(state=State.BUILDING):
        if _parts_of(index):
            index.delete()
        else:
            SearchIndex.objects.filter(pk=index.pk).update(state=State.WAITING, built=0)
    _drop_unused(session)


def _drop_unused(session: _Session, *, watch: Callable[[], None] | None = None) -> None:
    wanted = [SMALL_ADDITIONS, *(index.name for index in SearchIndex.objects.filter(state=State.READY))]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE i.indrelid = 'labeling_tweet'::regclass AND (c.relname ~ '^tweet_search_[0-9_]+$'"
            # A REINDEX that was stopped leaves the new half of an index behind, or the old one.
            " OR NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$')"
        )
        found = [name for (name,) in cursor.fetchall()]
    for name in found:
        if name not in wanted:
            session.run(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", watch=watch)


def _parts_of(merged: SearchIndex) -> list[SearchIndex]:
    """The indexes that a merged one replaces."""
    others = SearchIndex.objects.exclude(pk=merged.pk)
    return [index for index in others if merged.contains(index)]


def _forget_empty(index: SearchIndex) -> bool:
    """An import of duplicates alone, or one that was deleted, has left its segment empty: nothing to build."""
    if index.import_row_id is None:
        return False
    segments = search_index.segment_condition(index.first_segment, index.last_segment)
    if _execute(
        f"SELECT 1 FROM labeling_tweet WHERE import_id = %s AND {segments} LIMIT 1",  # noqa: S608 - whole numbers
        [index.import_row_id],
    ):
        return False
    index.delete()
    return True


# Building -------------------------------------------------------------------------------------------------


def _build(index: SearchIndex, session: _Session, progress: Progress, *, done: int, total: int) -> None:
    """Build one index and have it searched. Blocks nobody; waits for transactions that are older than itself."""
    SearchIndex.objects.filter(pk=index.pk).update(state=State.BUILDING, tweets=index.tweets)
    before, everything = _place_of(index)

    def watch() -> None:
        phase, blocks, is_waiting = _phase(session.pid)
        index.built = _share(phase, blocks, before=before, tweets=index.tweets, everything=everything)
        SearchIndex.objects.filter(pk=index.pk).update(built=index.built)
        stage = "Waiting for older transactions to end" if is_waiting else "Building search"
        progress.report(stage=stage, done=done + int(index.built * index.tweets), total=total)

    segments = search_index.segment_condition(index.first_segment, index.last_segment)
    try:
        session.run(
            f"CREATE INDEX CONCURRENTLY {index.name} ON labeling_tweet USING gin (({VECTOR.format(alias='')}))"
            f" WITH (fastupdate = off) WHERE {segments}",
            watch=watch,
        )
    except BaseException:
        session.run(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", watch=lambda: None)
        SearchIndex.objects.filter(pk=index.pk).update(state=State.WAITING, built=0)
        raise
    first_id, last_id = _bounds(index, session)
    with transaction.atomic():
        for part in _parts_of(index):
            part.delete()
        SearchIndex.objects.filter(pk=index.pk).update(
            state=State.READY, built=1, first_id=first_id, last_id=last_id
        )


def _close_bounds(session: _Session) -> None:
    """Measure those again that an import was still writing into when they were built."""
    for index in SearchIndex.objects.filter(state=State.READY, last_id=MAX_ID):
        first_id, last_id = _bounds(index, session)
        SearchIndex.objects.filter(pk=index.pk).update(first_id=first_id, last_id=last_id)


def _bounds(index: SearchIndex, session: _Session) -> tuple[int, int]:
    """Ids between which its tweets lie. Open ends where a last batch may still come: its import was gone on with."""
    parts = _parts_of(index)
    if parts:
        return min(part.first_id for part in parts), max(part.last_id for part in parts)
    segments = search_index.segment_condition(index.first_segment, index.last_segment)
    found = session.run(  # not by the index on ids, which begins with all older tweets
        f"SELECT ARRAY[min(id), max(id)] FROM (SELECT id FROM labeling_tweet WHERE {segments} OFFSET 0) own"  # noqa: S608 - whole numbers
    )
    if Import.objects.filter(searchindex=index, job__state__in=Job.ACTIVE).exists():
        return 0, MAX_ID
    return found[0] or 0, found[1] or 0


def _phase(pid: int) -> tuple[str, float, bool]:
    """(phase, share of the table's blocks that are read, whether it only waits for others)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT phase, blocks_done::float / greatest(blocks_total, 1), phase LIKE 'waiting%%'"
            " FROM pg_stat_progress_create_index WHERE pid = %s",
            [pid],
        )
        row = cursor.fetchone()
    return row or ("", 0.0, False)


def _place_of(index: SearchIndex) -> tuple[int, int]:
    """(about how many tweets lie before the index's in the table, and how many there are)."""
    lower = SearchIndex.objects.filter(last_segment__lt=index.first_segment)
    before = sum(other.tweets for other in lower)
    everything = _execute("SELECT reltuples FROM pg_class WHERE oid = 'labeling_tweet'::regclass") or 0
    return before, int(max(everything, before + index.tweets))


def _share(phase: str, blocks: float, *, before: int, tweets: int, everything: int) -> float:
    """How far a build is, 0 to 1. Its own tweets lie together: reading the rest of the table takes no time."""
    for name, (first, last) in PHASES.items():
        if phase.startswith(name):
            own = (blocks * everything - before) / max(tweets, 1)
            return first + (last - first) * min(max(own, 0.0), 1.0)
    return 0.99 if phase.startswith("waiting for old snapshots") else 0.0


# Merging --------------------------------------------------------------------------------------------------


def _to_merge() -> list[list[SearchIndex]]:
    """Runs of neighbours that fit into one segment, when there are many small indexes. None spans one that waits."""
    every, size = list(SearchIndex.objects.all()), search_index.segment_size()
    small = [index for index in every if index.state == State.READY and index.tweets < size / 2]
    if len(small) <= MERGE_FROM:
        return []
    runs: list[list[SearchIndex]] = [[]]
    for index in every:
        is_ready = index.state == State.READY
        if not is_ready or sum(other.tweets for other in runs[-1]) + index.tweets > size:
            runs.append([])
        if is_ready:
            runs[-1].append(index)
    return [run for run in runs if len(run) > 1]


def _merge(parts: list[SearchIndex], session: _Session, progress: Progress) -> SearchIndex:
    """One index in place of several. These are searched until it is ready."""
    tweets = sum(part.tweets for part in parts)
    merged = SearchIndex.objects.create(
        first_segment=parts[0].first_segment,
        last_segment=parts[-1].last_segment,
        tweets=tweets,
        state=State.BUILDING,
    )
    try:
        _build(merged, session, progress, done=0, total=tweets)
    except BaseException:
        merged.delete()
        raise
    _take_up(session)
    return merged


# Tidying --------------------------------------------------------------------------------------------------


def _renew_statistics(session: _Session, progress: Progress, *, is_new: bool) -> None:
    """ANALYZE where it pays, and before the first new index is ready: a search goes by how common its words are."""
    if is_new or _is_worth("s.n_mod_since_analyze"):
        progress.report(stage="Renewing the statistics of tweets")
        session.run("ANALYZE labeling_tweet")


def _tidy_up(session: _Session, progress: Progress) -> None:
    """After a large import: pack the keys, and VACUUM. New rows do not call autovacuum: migration 0002 says why.

    A table that only grows has nothing to be cleaned out of its indexes, and reading those is most of the work.
    """
    if not _is_worth("s.n_ins_since_vacuum"):
        return
    progress.report(stage="Packing the keys of tweets")
    try:
        _pack_keys(session)
    except DatabaseError:  # no room on the disk for a second one, perhaps
        logger.warning("The keys of tweets could not be packed: they stay larger than need be", exc_info=True)
    progress.report(stage="Marking what every reader may see")
    session.run("VACUUM (INDEX_CLEANUP OFF, TRUNCATE OFF) labeling_tweet")


def _pack_keys(session: _Session) -> None:
    try:
        for key in KEYS:
            session.run(f"REINDEX INDEX CONCURRENTLY {key}")
    except BaseException:
        _drop_unused(session, watch=lambda: None)
        raise


def _is_worth(changed: str) -> bool:
    """Whether so many rows have changed."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {changed} > %s * c.reltuples FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid"  # noqa: S608
            " WHERE c.oid = 'labeling_tweet'::regclass",
            [WORTH_TIDYING],
        )
        row = cursor.fetchone()
    return bool(row and row[0])


def is_overdue() -> bool:
    """Whether an import has ended with tweets that wait for an index, and nobody builds it.

    Nobody has asked for it since, or the job failed a while ago: its reason, a full disk, may be gone. What a person
    cancelled stays so until the next import.
    """
    for index in search_index.ready_to_build():
        row: Import | None = index.import_row
        ended = (row.job.finished_at if row and row.job else None) or index.created_at
        asked = Job.objects.filter(kind=Job.Kind.SEARCH, created_at__gte=ended).order_by("pk").last()
        if asked is None or _failed_a_while_ago(asked):
            return True
    return False


def _failed_a_while_ago(job: Job) -> bool:
    ended = job.finished_at if job.state == Job.State.FAILED else None
    return ended is not None and ended < timezone.now() - TRY_AGAIN_AFTER
