"""Imports: prepared batches → new rows by COPY → annotations → labels → counts and the list of rejected rows.

Every batch is one transaction together with its counts, so a killed import goes on after its last batch.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.files import File
from django.db import connection, transaction

from labeling import erased, jobs, search_index
from labeling.exporting import safe_cell
from labeling.imports.mapping import BadCellError, Mapping, guess_mapping
from labeling.imports.preparing import Cells
from labeling.imports.preparing import Job as Preparing
from labeling.imports.reader_process import first_rows, prepared_batches
from labeling.imports.sheets import UnreadableFileError
from labeling.imports.writing import Lanes, Writing
from labeling.jobs import JobError, Progress
from labeling.models import Import, Job, Source, Tag, Verdict
from labeling.tags import create_tag

LOCK_KEY = 7_241_001  # Postgres advisory lock: one import writes at a time
LARGE = (
    1_000_000  # imported rows whose statistics cannot wait for the search job, which renews them otherwise
)
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


@dataclass(frozen=True, slots=True)
class TrialRow:
    """How one row of the sample would be imported, or why it would not."""

    name: str = ""
    text: str = ""
    date: str = ""
    is_undated: bool = False
    verdict: int | None = None
    tags: list[str] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """A mapping tried out on the sample."""

    rows: list[TrialRow]
    problems: list[str]  # why the import cannot start; empty when it can
    unknown_tags: list[str]

    @property
    def rejected(self) -> int:
        return sum(bool(row.problem) for row in self.rows)

    @property
    def undated(self) -> int:
        return sum(row.is_undated for row in self.rows)


def try_mapping(row: Import, mapping: Mapping) -> Trial:
    """Read the sample of an upload by this mapping. Nothing is written."""
    columns, samples = row.mapping["sample"]["columns"], row.mapping["sample"]["rows"]
    if problems := mapping.problems(columns):
        return Trial([], problems, [])
    picks = [columns.index(name) for name in mapping.wanted]
    known = tuple(Tag.objects.values_list("name", flat=True))
    as_mapped = _preparing(row, mapping, known)
    creating = replace(as_mapped, mapping={**as_mapped.mapping, "unknown_tags": "create"})
    unknown: dict[str, None] = {}
    rows = []
    for sample in samples:
        cells = [sample[pick] for pick in picks]
        rows.append(_try_row(Cells(as_mapped), cells))
        if mapping.unknown_tags != "create":
            created = Cells(creating)
            _try_row(created, cells)
            unknown.update(dict.fromkeys(created.new_tags))
    if mapping.unknown_tags == "create":
        names = {tag.lower() for tag in known}
        unknown = {tag: None for found in rows for tag in found.tags or () if tag not in names}
    return Trial(rows, [], list(unknown))


def _try_row(reader: Cells, cells: list[Any]) -> TrialRow:
    try:
        found = reader.read(cells)
    except BadCellError as error:
        return TrialRow(problem=str(error))
    try:
        date, undated = reader.read_date(cells), False
    except (ValueError, OverflowError, TypeError):
        date, undated = "", True
    return TrialRow(found.name, found.text, date, undated, found.verdict, found.tags)


def start(row: Import, mapping: Mapping, *, user: AbstractBaseUser | None, path: str = "") -> Job:
    """Queue the job of an import. `path` is given by a command whose file is not an upload.

    Raises AlreadyRunning: two people, or two clicks, start it once.
    """
    with transaction.atomic():
        locked = (
            Import.objects.select_for_update(of=("self",)).select_related("job").filter(pk=row.pk).first()
        )
        if locked and locked.job and locked.job.is_active:
            raise jobs.AlreadyRunning(locked.job)
        row.job = jobs.create_job(Job.Kind.IMPORT, user=user)
        row.mapping = {**mapping.as_json(), **({"path": path} if path else {})}
        row.save()
    return row.job


def resume(row: Import, *, user: AbstractBaseUser | None) -> Job:
    """Queue a new job for an import that failed or was cancelled; it goes on after the last batch."""
    return start(row, Mapping.from_json(row.mapping), user=user, path=row.mapping.get("path", ""))


def discard(row: Import) -> None:
    """Forget an upload whose import was never started."""
    row.file.delete(save=False)
    row.delete()


def first_rejected(row: Import, count: int) -> list[list[str]]:
    """[line, reason, row] of the first rejected rows."""
    if not row.rejected_file:
        return []
    try:
        with Path(row.rejected_file.path).open(encoding="utf-8", newline="") as stream:
            return list(islice(csv.reader(stream), 1, count + 1))
    except OSError:
        return []


# The job -------------------------------------------------------------------------------------------------


def work(job: Job, progress: Progress) -> Job | None:
    """Run an import. When it took over from a killed worker: skip the batches that are in already.

    Returns the queued job that files the new words in the search index, if one is needed.
    """
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
    search_index.drop_empty(row)
    if row.file:  # it holds names of authors; what is imported holds only their hashes
        row.file.delete()
    progress.report(stage="Finishing", done=row.rows_read, total=row.rows_read)
    if row.imported - before >= LARGE:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE (SKIP_LOCKED) labeling_tweet")  # an index may be being built
    if not row.rows_read:
        raise JobError("The file names its columns but has no rows.")
    return search_index.request() if row.imported > before else None


def _with_count(reason: str, row: Import) -> str:
    return f"{reason} {row.imported:,} rows before it were imported and stay." if row.imported else reason


def _run(row: Import, path: str, *, job: Job, progress: Progress, rejected: _RejectedRows) -> None:
    mapping = Mapping.from_json(row.mapping)
    tag_ids = {name.lower(): pk for pk, name in Tag.objects.values_list("pk", "name")}
    source = prepared_batches(
        path,
        name=row.file_name,
        job=_preparing(row, mapping, tuple(tag_ids)),
        memory_mb=settings.IMPORT_MEMORY_MB,
        waiting=progress.write,
    )
    resumed_at, segment_after = row.rows_read, search_index.segment_after()
    with Lanes() as lanes:
        for batch in source:
            rejected.write(batch.rejected)
            # Of a batch that is in, too: its tags may have been renamed since.
            tag_ids.update(_create_tags(batch.new_tags))
            if batch.end <= resumed_at:
                continue
            if batch.start < resumed_at:
                raise JobError("The file has changed since the import began. Import it again.")
            segment = search_index.open_segment(row) if batch.end > segment_after else 0
            writing = Writing(batch, import_id=row.pk, tag_ids=tag_ids, segment=segment)
            done = lanes.put(writing, last=batch.fraction >= 1)
            progress.report(
                stage="Importing",
                done=done.end if done else None,
                total=done.rows_expected if done and done.fraction else None,
            )


def _preparing(row: Import, mapping: Mapping, tags: tuple[str, ...]) -> Preparing:
    return Preparing(
        source=row.source,
        import_id=row.pk or 0,
        mapping=mapping.as_json(),
        author_key=author_key(),
        known_tags=tags,
        erased_authors=erased.authors(),
        verdict_words=verdict_words(),
        batch_rows=settings.IMPORT_BATCH_ROWS,
    )


def _create_tags(names: Sequence[str]) -> dict[str, int]:
    """Tags that the file brought, at the end of the list."""
    found = {
        name.lower(): Tag.objects.filter(name__iexact=name).first() or create_tag(name) for name in names
    }
    return {name: tag.pk for name, tag in found.items()}


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
        rows = self._without_erased(rows)
        if self.stream is None:
            self.row.rejected_file.name = f"rejected/{secrets.token_hex(16)}.csv"
            path = Path(self.row.rejected_file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            Import.objects.filter(pk=self.row.pk).update(rejected_file=self.row.rejected_file.name)
            self.stream = path.open("w", encoding="utf-8", newline="")
            csv.writer(self.stream).writerow(REJECTED_COLUMNS)
        csv.writer(self.stream).writerows([number, reason, safe_cell(row)] for number, reason, row in rows)
        self.stream.flush()

    def _without_erased(self, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Without what they say, where that is a tweet that was erased."""
        with connection.cursor() as cursor:
            marks = erased.known_marks(cursor)
        if not len(marks):
            return rows
        gone = erased.are_erased([str(content) for _, _, content in rows], marks)
        return [
            (number, reason, "" if is_gone else content)
            for (number, reason, content), is_gone in zip(rows, gone, strict=True)
        ]
