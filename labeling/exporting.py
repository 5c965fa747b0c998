"""Rows into files: CSV, JSONL or Parquet by the file's name, in constant memory; and the export of labels."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import zstandard
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q, QuerySet

from labeling.models import AuditEvent, Label, Origin, Source, Tag, Verdict
from ml.groups import groups_of, splits_of

FORMATS = ".csv, .jsonl or .parquet, the first two also with .gz or .zst"
BATCH = 10_000
DANGEROUS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes cells that begin so for formulas
TAG_SEPARATOR = "|"


class UnknownFormatError(ValueError):
    def __init__(self, name: str) -> None:
        super().__init__(f"The name {name} does not say the format. Use {FORMATS}.")


def write_rows(
    file_name: str | os.PathLike[str],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    raw: bool = False,
    stream: IO[bytes] | None = None,
) -> int:
    """Write the rows and return how many. The name decides the format; `stream` is written in place of the file.

    A cell is None, a string, number, bool, datetime, list or dict. CSV cells that a spreadsheet would run as a
    formula get a leading apostrophe, unless `raw`. A file appears whole or not at all.
    """
    name = Path(file_name).name.lower()
    packing = next((ending for ending in (".gz", ".zst") if name.endswith(ending)), "")
    ending = Path(name.removesuffix(packing)).suffix
    if ending not in _WRITERS or (packing and ending == ".parquet"):
        raise UnknownFormatError(name)
    with _target(file_name, stream) as target, _packed(target, packing) as packed:
        return _WRITERS[ending](packed, columns, rows, raw)


def safe_cell(text: str) -> str:
    """The text, defused where a spreadsheet would take it for a formula."""
    return "'" + text if text.startswith(DANGEROUS) else text


@contextmanager
def _target(file_name: str | os.PathLike[str], stream: IO[bytes] | None) -> Iterator[IO[bytes]]:
    if stream is not None:
        yield stream
        return
    partial = Path(f"{os.fspath(file_name)}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(file_name)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _packed(stream: IO[bytes], packing: str) -> Iterator[IO[bytes]]:
    if packing == ".gz":
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6) as packed:
            yield cast("IO[bytes]", packed)
    elif packing == ".zst":
        with zstandard.ZstdCompressor().stream_writer(stream, closefd=False) as packed:
            yield cast("IO[bytes]", packed)
    else:
        yield stream


def _write_csv(stream: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[Any]], raw: bool) -> int:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=False)
    writer = csv.writer(text)
    writer.writerow(columns)
    count = 0
    for row in rows:
        cells = [_csv_cell(cell) for cell in row]
        writer.writerow(cells if raw else [safe_cell(c) if isinstance(c, str) else c for c in cells])
        count += 1
    text.flush()
    text.detach()
    return count


def _csv_cell(cell: Any) -> Any:
    """Lists as a|b, or as JSON where that would be ambiguous: [] says "none of them", an empty cell "not judged"."""
    if isinstance(cell, list | tuple):
        plain = cell and all(isinstance(part, str) and part and TAG_SEPARATOR not in part for part in cell)
        joined = TAG_SEPARATOR.join(cell) if plain else ""
        return joined if joined and not joined.startswith("[") else json.dumps(cell, ensure_ascii=False)
    if isinstance(cell, dict):
        return json.dumps(cell, ensure_ascii=False)
    return cell.isoformat() if isinstance(cell, datetime) else cell


def _write_jsonl(stream: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[Any]], raw: bool) -> int:
    count = 0
    for row in rows:
        value = dict(zip(columns, row, strict=True))
        stream.write(json.dumps(value, ensure_ascii=False, default=datetime.isoformat).encode() + b"\n")
        count += 1
    return count


def _write_parquet(
    stream: IO[bytes], columns: Sequence[str], rows: Iterable[Sequence[Any]], raw: bool
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer, count, batch = None, 0, list[Sequence[Any]]()

    def flush() -> None:
        nonlocal writer, count
        values: list[Any] = [list(column) for column in zip(*batch, strict=True)] or [[] for _ in columns]
        schema = writer.schema if writer else None
        kinds = [
            schema.field(n).type if schema else _parquet_type(columns[n], cells)
            for n, cells in enumerate(values)
        ]
        arrays = [pa.array(_plain(cells), kind) for cells, kind in zip(values, kinds, strict=True)]
        table = pa.table(dict(zip(columns, arrays, strict=True)))
        writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd")
        writer.write_table(table)
        count += len(batch)
        batch.clear()

    for row in rows:
        batch.append(row)
        if len(batch) >= BATCH:
            flush()
    if batch or writer is None:
        flush()
    assert writer is not None
    writer.close()
    return count


def _plain(cells: list[Any]) -> list[Any]:
    return [json.dumps(cell, ensure_ascii=False) if isinstance(cell, dict) else cell for cell in cells]


def _parquet_type(column: str, cells: list[Any]) -> Any:
    """The type of a column, from the first batch. A column that is empty there is text, except what its name says."""
    import pyarrow as pa

    known = [cell for cell in cells if cell is not None and cell != []]
    if not known:
        lists = column in ("tags", "labels") or any(cell == [] for cell in cells)
        return (
            pa.list_(pa.string())
            if lists
            else pa.timestamp("us", "UTC")
            if column.endswith("_at")
            else pa.string()
        )
    kind = pa.array(_plain(known)).type
    if pa.types.is_integer(kind) and any(isinstance(cell, float) for cell in known):
        return pa.float64()
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind


# Labels --------------------------------------------------------------------------------------------------

LABEL_COLUMNS = ("id", "text", "labels", "verdict", "annotator", "created_at", "split", "meta")


def export_labels(
    file_name: str | os.PathLike[str],
    *,
    at_least: Origin = Origin.RULE,
    source: Source | None = None,
    raw: bool = False,
    user: AbstractBaseUser | None = None,
    by: str = "",
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Every label that `at_least` this origin gave, one row for each tweet. Leaves an audit event."""
    labels = Label.objects.filter(Q(verdict_origin__gte=at_least) | Q(tags_origin__gte=at_least))
    if source is not None:
        labels = labels.filter(tweet__source=source)
    count = write_rows(file_name, LABEL_COLUMNS, _label_rows(labels, progress), raw=raw)
    AuditEvent.objects.create(
        action=AuditEvent.Action.EXPORT,
        user=user,  # type: ignore[misc]
        detail={
            "what": "labels",
            "file": Path(file_name).name,
            "at_least": at_least.label,
            "source": source.label if source else "",
            "raw": raw,
            "by": by,
        },
        tweets=count,
    )
    return count


def _label_rows(labels: QuerySet[Label], progress: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    names = dict(Tag.objects.values_list("pk", "name"))
    verdicts = {Verdict.DA: settings.VERDICT_DA, Verdict.NDA: settings.VERDICT_NDA, Verdict.UNSURE: "unsure"}
    rows = labels.select_related("tweet").order_by("tweet_id").iterator(chunk_size=BATCH)
    done = 0
    while batch := list(islice(rows, BATCH)):
        tweets = [label.tweet for label in batch]
        splits = splits_of(groups_of([t.group_hash for t in tweets], [t.text for t in tweets]))
        for label, split in zip(batch, splits, strict=True):
            tweet = label.tweet
            origin = max(filter(None, (label.verdict_origin, label.tags_origin)), default=None)
            yield (
                tweet.external_id,
                tweet.text,
                None if label.tag_ids is None else [names[pk] for pk in label.tag_ids if pk in names],
                None if label.verdict is None else verdicts[Verdict(label.verdict)],
                Origin(origin).label if origin else None,
                tweet.posted_at,
                str(split),
                {
                    "tweet": tweet.pk,
                    "source": tweet.get_source_display(),
                    "verdict_by": Origin(label.verdict_origin).label if label.verdict_origin else None,
                    "labels_by": Origin(label.tags_origin).label if label.tags_origin else None,
                    "annotators": label.annotators,
                    "disputed": label.is_disputed,
                    "labelled_at": label.updated_at.isoformat(),
                },
            )
        done += len(batch)
        progress(done)


_WRITERS = {".csv": _write_csv, ".jsonl": _write_jsonl, ".parquet": _write_parquet}
