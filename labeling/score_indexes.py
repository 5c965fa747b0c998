"""What makes one version's scores quick to read: indexes, the order of the list, what the planner knows of them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connection

from labeling.score_tables import ScoreTables, bounded_transaction

LOCK = 7_241_002  # advisory locks, with the index's name: one builds it


@dataclass(frozen=True)
class Index:
    """One index, and what is done to its table right after it."""

    table: str
    name: str
    columns: str
    unique: bool = False
    then: tuple[str, ...] = ()
    memory: str = "32MB"  # for sorting; more has not made any of them quicker at 20 million
    helpers: int = 0  # of PostgreSQL's own, each on one more core

    @property
    def sql(self) -> str:
        kind = "UNIQUE INDEX" if self.unique else "INDEX"
        return f"CREATE {kind} {self.name} ON {self.table} {self.columns}"


def indexes(tables: ScoreTables) -> list[Index]:
    """All but that of words, in the order in which they are begun: what others wait for, then what takes longest."""
    score, tag, listed = tables.score, tables.tag, tables.listed
    # Rows in the order of the walk: a page of the table serves thirty of its steps, not one.
    in_order = f"CLUSTER {listed} USING {listed}_risk"
    return [
        Index(
            listed,
            f"{listed}_risk",
            "(risk DESC, tweet_id DESC) INCLUDE (source, posted_at)",
            then=(in_order, f"ANALYZE {listed}"),
        ),
        # The proof that no tweet was scored twice.
        Index(score, f"{score}_tweet", "(tweet_id)", unique=True, then=(f"ANALYZE {score}",)),
        Index(
            tag,
            f"{tag}_risk",
            "(tag_id, risk DESC, tweet_id DESC) INCLUDE (probability)",
            then=(f"ANALYZE {tag}",),
        ),
        # With what look-ups by tweet ask for: the rows are long, and lie in the order of the risks.
        Index(listed, f"{listed}_tweet", "(tweet_id) INCLUDE (risk, posted_at, source)", unique=True),
        Index(listed, f"{listed}_date", "(posted_at) INCLUDE (risk, tweet_id, source)"),
        Index(tag, f"{tag}_tweet", "(tweet_id)"),
    ]


def words_index(tables: ScoreTables) -> Index:
    """Without a pending list, which every search would read through.

    The run builds nothing else then, so that a helper has a core: half the time, from PostgreSQL 18 on, with memory for both.
    """
    listed = tables.listed
    columns = "USING gin (words) WITH (fastupdate = off)"
    return Index(listed, f"{listed}_words", columns, memory="128MB", helpers=1)


def build_words(tables: ScoreTables) -> None:
    """The index of the list's words, unless it is there: it takes longer than all others of the list together.

    After the publication: until it is there, a search reads the words of all that is listed, a tenth of a second at
    half a million, and whoever erases listed tweets waits.
    """
    _build(words_index(tables))


def build(tables: ScoreTables) -> None:
    """All that are missing but that of words. Safe to repeat, and by two at once.

    Two at a time, each on a connection of its own and on one core: helpers would take a third more of both cores for the
    same index. A table's first is waited for by its others. Raises IntegrityError where a tweet was scored twice.
    """
    missing = [index for index in indexes(tables) if not _exists(index)]
    if connection.in_atomic_block:  # no other connection sees the tables yet
        for index in missing:
            _build(index)
        return
    first: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(2) as two:
        jobs = []
        for index in missing:
            job = two.submit(_build_on_a_connection_of_its_own, index, first.get(index.table))
            first.setdefault(index.table, job)
            jobs.append(job)
    for job in jobs:
        job.result()


def _build_on_a_connection_of_its_own(index: Index, after: Future[None] | None) -> None:
    if after is not None:
        after.result()
    try:
        _build(index)
    finally:
        connection.close()


def _build(index: Index) -> None:
    with bounded_transaction() as cursor:
        # The backend of a worker that was killed may be at the same index still.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, index.name])
        if _exists(index):
            return
        cursor.execute(
            f"SET LOCAL maintenance_work_mem = '{index.memory}';"
            f" SET LOCAL max_parallel_maintenance_workers = {index.helpers}"
        )
        if index.then:
            # They need a stronger lock than the index. Waiting for it later, with that of the index, could be for ever.
            cursor.execute(f"LOCK TABLE {index.table} IN SHARE ROW EXCLUSIVE MODE")
        for statement in (index.sql, *index.then):
            cursor.execute(statement)


def _exists(index: Index) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [index.name])
        return bool(cursor.fetchone()[0])


def analyze_list(tables: ScoreTables) -> None:
    """What the planner knows of the list, anew after its rows have changed: how common a word is."""
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {tables.listed}")


def vacuum(tables: ScoreTables) -> None:
    """Mark the pages that every reader may see, so that lists read the indexes alone. Not in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM {', '.join(tables.all)}")


def keep_near(tables: ScoreTables) -> None:
    """Read all that is listed once, for PostgreSQL to have it in its memory: a tenth of a second where it does.

    After a restart, or once a large import has taken the memory, each list would fetch its rows one by one, and take
    more than twice as long. A list larger than a quarter of that memory is left alone: PostgreSQL would read it and keep none.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(words) FROM {tables.listed} WHERE"
            " (SELECT 4 * pg_relation_size(%s) < pg_size_bytes(current_setting('shared_buffers')))",
            [tables.listed],
        )
