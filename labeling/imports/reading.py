"""Rows out of files: CSV, TSV, JSONL, Parquet, XLSX, plain or in gzip or zstd, within limits.

Knows nothing of Django or of tweets, so that a small child process can run it (see labeling.imports.reader_process).
"""

from __future__ import annotations

import gzip
import io
from typing import IO

from labeling.imports.byte_streams import (
    GZIP,
    ZSTD,
    Counted,
    Guarded,
    Lines,
    Unzstd,
    as_utf8,
    head_of,
    seekable,
)
from labeling.imports.csv_sheet import CsvSheet
from labeling.imports.jsonl_sheet import JsonlSheet
from labeling.imports.parquet_sheet import ParquetSheet
from labeling.imports.sheets import MIB, Limits, Sheet, UnreadableFileError
from labeling.imports.xlsx_sheet import XlsxSheet

PARQUET, ZIP, XLS = b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def open_sheet(stream: IO[bytes], *, name: str = "", size: int | None = None, limits: Limits) -> Sheet:
    """The content decides the format; the name only tells TSV from CSV. Raises UnreadableFileError."""
    counted = Counted(stream)
    buffered: io.BufferedReader = io.BufferedReader(counted, MIB)
    packed = head_of(buffered, 4)
    if packed.startswith((GZIP, ZSTD)):
        unpacked = gzip.GzipFile(fileobj=buffered) if packed.startswith(GZIP) else Unzstd(buffered)
        buffered = io.BufferedReader(Guarded(unpacked, counted, limits), MIB)
        if head_of(buffered, 4).startswith((GZIP, ZSTD)):
            raise UnreadableFileError("The file is compressed twice. Unpack it once and try again.")
    head = head_of(buffered, 4)
    if not head:
        raise UnreadableFileError("The file is empty.")
    if head.startswith(PARQUET):
        return ParquetSheet(seekable(buffered, stream, packed, limits), limits)
    if head.startswith(ZIP):
        return XlsxSheet(seekable(buffered, stream, packed, limits), limits)
    if head.startswith(XLS):
        raise UnreadableFileError("This is an old .xls workbook. Save it as .xlsx or .csv and try again.")
    lines = Lines(as_utf8(buffered), limits.line_chars)
    progress = (counted, size)
    first = lines.first_visible_character()
    if first == "{":
        return JsonlSheet(lines, progress, limits)
    if first == "[":
        raise UnreadableFileError(
            "This is one JSON array. Write one JSON object on each line (JSONL): jq -c '.[]' file.json"
        )
    return CsvSheet(lines, progress, limits, name)
