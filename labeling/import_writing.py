"""Batches of an import on their way into the database: COPY, annotations, labels, counts, in one transaction."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from numpy.typing import NDArray

from labeling import search_index
from labeling.batches import Batch
from labeling.copy_rows import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER, set_segment
from labeling.jobs import Superseded
from labeling.labels import derive_labels
from labeling.models import Import, Origin

COPY_BYTES = 1 << 20  # handed to the server at once
SURPRISING = 1_000  # judged rows in a first batch that the planner had better know of


class Lanes:
    """Writes batches two at a time, each on a connection of its own, and commits them in their order.

    A file of one batch is written in this thread: most files are small, and threads cost connections.
    """

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
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

    def put(self, writing: Writing, *, last: bool) -> Batch | None:
        """Start writing. Returns the batch that has been committed meanwhile, if any."""
        if settings.IMPORT_LANES < 2 or (last and self.pool is None):
            writing.run(None)
            return writing.batch
        if self.pool is None:
            self.pool = ThreadPoolExecutor(settings.IMPORT_LANES)
        before = self.running[-1] if self.running else None
        for other, _ in self.running:
            writing.leave_out(other.batch.keys)
        self.running.append((writing, self.pool.submit(writing.run_in_thread, before[1] if before else None)))
        return self._await_oldest() if len(self.running) > settings.IMPORT_LANES else None

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
    segment: int = 0  # of the full-text search, for the rows after the import's first SEGMENT_AFTER
    keep: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.keep = np.zeros(len(self.batch.keys), dtype=bool)
        self.keep[np.unique(self.batch.keys, return_index=True)[1]] = True  # the first of those alike

    def leave_out(self, keys: NDArray[np.int64]) -> None:
        """Rows that a batch still being written brings."""
        self.keep &= ~np.isin(self.batch.keys, keys)

    def run_in_thread(self, before: Future[None] | None) -> None:
        try:
            self.run(before)
        finally:
            connection.close()

    def run(self, before: Future[None] | None) -> None:
        """Steps: leave out rows that are in, COPY the rest, annotate, derive labels, count, commit in order."""
        batch = self.batch
        with transaction.atomic(), connection.cursor() as cursor:
            # A crash of the server may lose the last batches, but then their counts as well.
            cursor.execute("SET LOCAL synchronous_commit = off")
            if len(batch.keys):
                cursor.execute(
                    "SELECT dedupe_key FROM labeling_tweet WHERE dedupe_key = ANY(%s::bigint[])",
                    [_array(batch.keys[self.keep].tolist())],
                )
                self.leave_out(np.array([key for (key,) in cursor.fetchall()], dtype=np.int64))
                cursor.copy_expert(
                    f"COPY labeling_tweet ({COPY_COLUMNS}) FROM STDIN (FORMAT binary)",
                    self._rows(),
                    COPY_BYTES,
                )
                self._annotate(cursor)
            imported = int(self.keep.sum())
            if before is not None:
                before.result()
            self._count(imported)

    def _rows(self) -> IO[bytes]:
        """The rows to keep, copied run by run, with their search segment."""
        batch = self.batch
        rows = np.frombuffer(batch.rows, np.uint8)
        if self.segment:
            rows = rows.copy()
            later = max(0, search_index.SEGMENT_AFTER - batch.start)
            set_segment(rows, batch.offsets[later:-1], self.segment)
        edges = batch.offsets[np.flatnonzero(np.diff(self.keep, prepend=False, append=False))].tolist()
        runs = [rows[start:end].data for start, end in zip(edges[0::2], edges[1::2], strict=True)]
        return io.BytesIO(b"".join([COPY_HEADER, *runs, COPY_TRAILER]))

    def _annotate(self, cursor: Any) -> None:
        batch = self.batch
        judged = [n for n, row in enumerate(batch.judged) if self.keep[row]]
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
        if batch.start == 0 and len(judged) >= SURPRISING:
            # The planner takes a table that was empty a moment ago for empty still: 7 s in place of .2 s.
            cursor.execute("ANALYZE labeling_annotation")
        derive_labels([ids[key] for key in keys])

    def _count(self, imported: int) -> None:
        """The counts of the batch, in its transaction. Whoever finds them changed has been superseded."""
        batch = self.batch
        undated = int(self.keep[batch.undated].sum()) if batch.undated else 0
        changed = Import.objects.filter(pk=self.import_id, rows_read=batch.start).update(
            rows_read=batch.end,
            imported=F("imported") + imported,
            duplicates=F("duplicates") + len(batch.keys) - imported,
            rejected=F("rejected") + len(batch.rejected),
            undated=F("undated") + undated,
        )
        if not changed:
            raise Superseded(f"Import {self.import_id} goes on in another worker")


def _array(values: Sequence[int]) -> str:
    return "{" + ",".join(map(str, values)) + "}"
