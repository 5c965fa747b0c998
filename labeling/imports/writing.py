"""Batches of an import on their way into the database: COPY, annotations, labels, counts, in one transaction."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.utils import timezone
from numpy.typing import NDArray

from labeling import erased
from labeling.binary_copy import COPY_HEADER, COPY_TRAILER
from labeling.imports.batches import Batch
from labeling.imports.columns import bytes_of
from labeling.imports.copy_rows import COPY_COLUMNS, set_segment
from labeling.imports.known_keys import KnownKeys, known_keys
from labeling.jobs import Superseded
from labeling.labels import derive_labels
from labeling.models import Import, Origin
from labeling.models.tweets import ADDING_LOCK

PIECE_ROWS = 20_000  # copied out of a batch and handed to the server at once
LARGE = 10_000  # rows that are written in the order of their keys


class Lanes:
    """Writes batches two at a time, each on a connection of its own, and commits them in their order.

    A file of one batch is written in this thread: most files are small, and threads cost connections.
    """

    def __init__(self) -> None:
        self.known: KnownKeys | None = None  # of the tweets that are in, and of all batches put here
        self.pool: ThreadPoolExecutor | None = None
        self.connections: list[BaseDatabaseWrapper] = []  # of the pool's threads
        self.running: list[tuple[Writing, Future[None]]] = []

    def __enter__(self) -> Lanes:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            while self.running and kind is None:
                self._await_oldest()
        finally:
            if self.pool:
                self.pool.shutdown(cancel_futures=True)
            for own in self.connections:
                own.close()

    def put(self, writing: Writing, *, last: bool) -> Batch | None:
        """Start writing. Returns the batch that has been committed meanwhile, if any."""
        if self.known is None:
            with connection.cursor() as cursor:
                self.known = known_keys(cursor, writing.batch.rows_expected)
        writing.unsure = writing.keys[self.known.may_be_in(writing.keys)]
        if settings.IMPORT_LANES < 2 or (last and self.pool is None):
            writing.run(None)
            return writing.batch
        if self.pool is None:
            self.pool = ThreadPoolExecutor(settings.IMPORT_LANES, initializer=self._keep_connection)
        before = self.running[-1] if self.running else None
        for other, _ in self.running:
            writing.leave_out(other.brought)
        self.running.append((writing, self.pool.submit(writing.run, before[1] if before else None)))
        return self._await_oldest() if len(self.running) > settings.IMPORT_LANES else None

    def _keep_connection(self) -> None:
        """This thread's, to be closed when all is done."""
        own = connections[DEFAULT_DB_ALIAS]
        own.inc_thread_sharing()
        self.connections.append(own)

    def _await_oldest(self) -> Batch:
        writing, future = self.running.pop(0)
        future.result()
        return writing.batch


@dataclass(slots=True)
class Writing:
    """One batch on its way into the database."""

    batch: Batch
    import_id: int
    tag_ids: dict[str, int]
    segment: int = 0  # of the full-text search
    erased: int = 0  # rows that are left out because they were erased before
    keys: NDArray[np.int64] = field(init=False)  # of the rows to write, sorted
    rows: NDArray[np.int64] = field(init=False)  # of the batch, in the order of their keys
    brought: NDArray[np.int64] = field(init=False)  # sorted keys of all its rows
    unsure: NDArray[np.int64] = field(init=False)  # those of them that may be in or on their way already

    def __post_init__(self) -> None:
        self.keys, self.rows = _first_of_each(self.batch.keys)
        self.brought = self.unsure = self.keys

    def leave_out(self, keys: NDArray[np.int64]) -> None:
        """Rows that are in, or that a batch still being written brings. `keys` are sorted."""
        known = self.unsure[_are_in(self.unsure, keys)]
        if len(known):
            new = ~_are_in(self.keys, known)
            self.keys, self.rows = self.keys[new], self.rows[new]

    def leave_out_erased(self, cursor: Any) -> None:
        """Rows that were erased before, themselves or with all of their author's."""
        gone = np.zeros(len(self.keys), bool)
        if self.batch.erased:
            gone |= np.isin(self.rows, self.batch.erased)
        marks = erased.known_marks(cursor)
        if len(marks):
            gone |= np.isin(erased.marks_of(self.keys), marks)
        if gone.any():
            self.keys, self.rows = self.keys[~gone], self.rows[~gone]
        self.erased = int(gone.sum())

    def run(self, before: Future[None] | None) -> None:
        """Steps: leave out rows that are in or were erased, COPY the rest, annotate, derive labels, count, commit in order."""
        batch = self.batch
        with transaction.atomic(), connection.cursor() as cursor:
            # A crash of the server may lose the last batches, but then their counts as well.
            cursor.execute("SET LOCAL synchronous_commit = off")
            cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [ADDING_LOCK])
            if len(batch.keys):
                self.leave_out(_present(cursor, self.unsure))
                # After that question: a tweet that is erased in between is not in any more, but marked.
                self.leave_out_erased(cursor)
                cursor.copy_expert(
                    f"COPY labeling_tweet ({COPY_COLUMNS}) FROM STDIN (FORMAT binary)",
                    _Pieces(self._copied()),
                )
                self._annotate(cursor)
            imported = len(self.keys)
            if before is not None:
                before.result()
            self._count(imported)

    def _copied(self) -> Iterator[bytes]:
        """The rows to write, in the order of their keys: the index of keys is then written page by page.

        A few stay in the order of the file, which people like to see.
        """
        batch = self.batch
        (data,) = batch.rows
        if self.segment:
            set_segment(np.frombuffer(data, np.uint8), batch.offsets[:-1], self.segment)
        places, content = pa.py_buffer(batch.offsets), pa.py_buffer(data)
        rows = pa.Array.from_buffers(pa.large_binary(), len(batch.keys), [None, places, content])
        rows.validate(full=True)  # another process has made it
        order = self.rows if len(self.rows) > LARGE else np.sort(self.rows)
        yield COPY_HEADER
        for start in range(0, len(order), PIECE_ROWS):
            ends, piece = bytes_of(rows.take(_int64(order[start : start + PIECE_ROWS])))
            yield piece[: ends[-1]].tobytes()
        yield COPY_TRAILER
        batch.rows.clear()  # it waits for its turn to be committed; its memory is for the next

    def _kept(self) -> NDArray[np.bool_]:
        kept = np.zeros(len(self.batch.keys), bool)
        kept[self.rows] = True
        return kept

    def _annotate(self, cursor: Any) -> None:
        batch = self.batch
        keep = self._kept()
        judged = [n for n, row in enumerate(batch.judged) if keep[row]]
        if not judged:
            return
        keys = [int(batch.keys[batch.judged[n]]) for n in judged]
        cursor.execute(
            "SELECT dedupe_key, id FROM labeling_tweet WHERE dedupe_key = ANY(%s::bigint[])", [_array(keys)]
        )
        ids: dict[int, int] = dict(cursor.fetchall())
        now = timezone.now().isoformat()
        lines = []
        for n, key in zip(judged, keys, strict=True):
            verdict, names = batch.verdicts[n], batch.tags[n]
            tags = "\\N" if names is None else _array(sorted({self.tag_ids[name] for name in names}))
            shown = "\\N" if verdict is None else int(verdict)
            lines.append(f"{ids[key]}\t{int(Origin.IMPORT)}\t{shown}\t{tags}\t\t{now}\n")
        cursor.copy_expert(
            "COPY labeling_annotation (tweet_id, origin, verdict, tag_ids, note, created_at) FROM STDIN",
            io.BytesIO("".join(lines).encode()),
        )
        derive_labels([ids[key] for key in keys])

    def _count(self, imported: int) -> None:
        """The counts of the batch, in its transaction. Whoever finds them changed has been superseded."""
        batch = self.batch
        undated = int(self._kept()[batch.undated].sum()) if batch.undated else 0
        changed = Import.objects.filter(pk=self.import_id, rows_read=batch.start).update(
            rows_read=batch.end,
            imported=F("imported") + imported,
            duplicates=F("duplicates") + len(batch.keys) - imported - self.erased,
            erased=F("erased") + self.erased,
            rejected=F("rejected") + len(batch.rejected),
            undated=F("undated") + undated,
        )
        if not changed:
            raise Superseded(f"Import {self.import_id} goes on in another worker")


def _first_of_each(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What np.unique(keys, return_index=True) gives, in a third of the time: its sort has to be stable."""
    order = np.argsort(keys)
    in_order = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    if is_first.all():
        return in_order, order
    starts = np.flatnonzero(is_first)
    return in_order[starts], np.minimum.reduceat(order, starts)


def _are_in(keys: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are among the others. Both are sorted."""
    if not len(among):
        return np.zeros(len(keys), bool)
    found: NDArray[np.bool_] = among[np.minimum(np.searchsorted(among, keys), len(among) - 1)] == keys
    return found


def _int64(values: NDArray[np.int64]) -> Any:
    """Without pa.array(), which loads pandas to ask whether it has made the values: .3 s of a first import."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


class _Pieces:
    """A file for psycopg: read() gives the next piece, whatever its size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def read(self, size: int) -> bytes:
        return next(self.pieces, b"")


def _present(cursor: Any, keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the sorted keys that tweets have, sorted.

    The array comes out of a query of its own, so that the planner does not weigh each of its elements.
    """
    cursor.execute(
        "SELECT dedupe_key FROM labeling_tweet WHERE dedupe_key = ANY((SELECT %s::bigint[])::bigint[])",
        [_array(keys.tolist())],
    )
    return np.sort(np.array([key for (key,) in cursor.fetchall()], np.int64))


def _array(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
