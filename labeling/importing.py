"""Imports: prepared batches → new rows by COPY → annotations → labels → counts and the list of rejected rows.

Every batch is one transaction together with its counts, so a killed import goes on after its last batch.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.files import File
from django.db import connection, transaction
from django.db.models import F, Max
from django.utils import timezone
from django.utils.text import slugify
from numpy.typing import NDArray

from labeling import batches, jobs, search_index
from labeling.batches import COPY_COLUMNS, Batch
from labeling.exporting import safe_cell
from labeling.import_process import first_rows, prepared_batches
from labeling.jobs import JobError, Progress, Superseded
from labeling.labels import derive_labels
from labeling.mapping import Mapping, guess_mapping
from labeling.models import Import, Job, Origin, Source, Tag, Verdict
from labeling.reading import UnreadableFileError

LOCK_KEY = 7_241_001  # Postgres advisory lock: one import writes at a time
LARGE = 10_000  # imported rows from which the planner's statistics are renewed
SURPRISING = 1_000  # judged rows in a first batch that the planner had better know of
REJECTED_COLUMNS = ["line", "reason", "row"]


# Before the job ------------------------------------------------------------------------------------------


def store_upload(upload: File[bytes], *, source: Source, user: AbstractBaseUser | None = None) -> Import:
    """Keep the file under a random name; what it was called is only shown."""
    row = Import(source=source, file_name=Path(upload.name or "upload").name[:255], created_by=user)  # type: ignore[misc]
    row.file.save(secrets.token_hex(16), upload, save=False)
    row.save()
    return row


def read_sample(row: Import) -> None:
    """Keep the first rows and a first mapping in the row, for the mapping page. Raises UnreadableFileError."""
    sample = sample_of(row.file.path, name=row.file_name)
    row.mapping = {**guess(sample).as_json(), "sample": sample}
    row.save(update_fields=["mapping"])


def sample_of(path: str, *, name: str) -> dict[str, Any]:
    """{"format", "columns", "rows"} of the beginning of a file, read by a child process."""
    return first_rows(path, name=name, memory_mb=settings.IMPORT_MEMORY_MB)


def guess(sample: dict[str, Any]) -> Mapping:
    tags = Tag.objects.values_list("name", flat=True)
    return guess_mapping(sample["columns"], sample["rows"], tags=tags, verdict_words=verdict_words())


def verdict_words() -> dict[str, int | None]:
    """The installation's own names of the verdicts, as they may stand in a file."""
    return {settings.VERDICT_DA.lower(): int(Verdict.DA), settings.VERDICT_NDA.lower(): int(Verdict.NDA)}


def author_key() -> str:
    """Secret of this installation that authors are hashed with."""
    return hmac.digest(settings.SECRET_KEY.encode(), b"labeling: author names", hashlib.sha256).hex()


def start(row: Import, mapping: Mapping, *, user: AbstractBaseUser | None, path: str = "") -> Job:
    """Queue the job of an import. `path` is given by a command whose file is not an upload."""
    with transaction.atomic():
        row.job = jobs.create_job(Job.Kind.IMPORT, user=user)
        row.mapping = {**mapping.as_json(), **({"path": path} if path else {})}
        row.save()
    return row.job


# The job -------------------------------------------------------------------------------------------------


def work(job: Job, progress: Progress) -> None:
    """Run an import. When it took over from a killed worker: skip the batches that are in already."""
    row = Import.objects.get(job=job)
    path = row.file.path if row.file else row.mapping.get("path", "")
    if not path:
        raise JobError("The file of this import is gone. Import it again: rows that are in are not doubled.")
    progress.report(stage="Reading the file")
    before = row.imported
    with _only_import(progress), _RejectedRows(row) as rejected:
        try:
            _run(row, str(path), job=job, progress=progress, rejected=rejected)
        except UnreadableFileError as error:
            row.refresh_from_db()
            raise JobError(_with_count(str(error), row)) from error
    row.refresh_from_db()
    if row.file:  # it holds names of authors; what is imported holds only their hashes
        row.file.delete()
    progress.report(stage="Finishing", done=row.rows_read, total=row.rows_read)
    if row.imported - before >= LARGE:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE labeling_tweet")
    if row.imported > before:
        search_index.request_tidying()
    if not row.rows_read:
        raise JobError("The file names its columns but has no rows.")


def _with_count(reason: str, row: Import) -> str:
    return f"{reason} {row.imported:,} rows before it were imported and stay." if row.imported else reason


def _run(row: Import, path: str, *, job: Job, progress: Progress, rejected: _RejectedRows) -> None:
    mapping = Mapping.from_json(row.mapping)
    tag_ids = {name.lower(): pk for pk, name in Tag.objects.values_list("pk", "name")}
    prepared = batches.Job(
        source=row.source,
        import_id=row.pk,
        mapping=mapping.as_json(),
        author_key=author_key(),
        known_tags=tuple(tag_ids),
        verdict_words=verdict_words(),
        batch_rows=settings.IMPORT_BATCH_ROWS,
    )
    source = prepared_batches(
        path,
        name=row.file_name,
        job=prepared,
        memory_mb=settings.IMPORT_MEMORY_MB,
        waiting=progress.write,
    )
    resumed_at = row.rows_read
    with _Lanes() as lanes:
        for batch in source:
            rejected.write(batch.rejected)
            if batch.end <= resumed_at:
                continue
            if batch.start < resumed_at:
                raise JobError("The file has changed since the import began. Import it again.")
            tag_ids.update(_create_tags(batch.new_tags))
            done = lanes.put(Writing(batch, import_id=row.pk, tag_ids=tag_ids), last=batch.fraction >= 1)
            total = int(done.end / done.fraction) if done and done.fraction else 0
            progress.report(stage="Importing", done=done.end if done else None, total=total or None)


def _create_tags(names: Sequence[str]) -> dict[str, int]:
    """Tags that the file brought, at the end of the list."""
    made: dict[str, int] = {}
    for name in names:
        position = (Tag.objects.aggregate(last=Max("position"))["last"] or 0) + 1
        base = slugify(name)[:50] or "tag"
        slug = base if not Tag.objects.filter(slug=base).exists() else f"{base}-{secrets.token_hex(3)}"
        found = Tag.objects.filter(name__iexact=name).first()
        tag = found or Tag.objects.create(name=name, slug=slug, position=position)
        made[name.lower()] = tag.pk
    return made


@contextmanager
def _only_import(progress: Progress) -> Iterator[None]:
    """Wait for other imports: two at once could both find a tweet missing."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY])
            if cursor.fetchone() == (True,):
                break
            progress.report(stage="Waiting for another import to end")
            cursor.execute("SELECT pg_sleep(0.5)")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])


class _RejectedRows:
    """The list of rejected rows, as CSV under a random name; there is no file without a row."""

    def __init__(self, row: Import) -> None:
        self.row = row
        self.stream: IO[str] | None = None

    def __enter__(self) -> _RejectedRows:
        if self.row.rejected_file:  # of a worker that was killed: this one writes all rows anew
            self.row.rejected_file.delete()
        return self

    def __exit__(self, *error: object) -> None:
        if self.stream:
            self.stream.close()

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if self.stream is None:
            self.row.rejected_file.name = f"rejected/{secrets.token_hex(16)}.csv"
            path = Path(self.row.rejected_file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            Import.objects.filter(pk=self.row.pk).update(rejected_file=self.row.rejected_file.name)
            self.stream = path.open("w", encoding="utf-8", newline="")
            csv.writer(self.stream).writerow(REJECTED_COLUMNS)
        csv.writer(self.stream).writerows([number, reason, safe_cell(row)] for number, reason, row in rows)
        self.stream.flush()


# Writing -------------------------------------------------------------------------------------------------


class _Lanes:
    """Writes batches two at a time, each on a connection of its own, and commits them in their order.

    A file of one batch is written in this thread: most files are small, and threads cost connections.
    """

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.running: list[tuple[Writing, Future[None]]] = []

    def __enter__(self) -> _Lanes:
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
                cursor.copy_expert(f"COPY labeling_tweet ({COPY_COLUMNS}) FROM STDIN", self._lines())
                self._annotate(cursor)
            imported = int(self.keep.sum())
            if before is not None:
                before.result()
            self._count(imported)

    def _lines(self) -> IO[bytes]:
        batch = self.batch
        if self.keep.all():
            return io.BytesIO(batch.lines)
        starts, ends = batch.offsets[:-1][self.keep].tolist(), batch.offsets[1:][self.keep].tolist()
        return io.BytesIO(b"".join([batch.lines[a:b] for a, b in zip(starts, ends, strict=True)]))

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
