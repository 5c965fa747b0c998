"""Rows out of files: CSV, TSV, JSONL, Parquet, XLSX, plain or in gzip or zstd, within limits.

Knows nothing of Django or of tweets, so that a small child process can run it (see labeling.imports.reader_process).
"""

from __future__ import annotations

import codecs
import csv
import gzip
import heapq
import io
import json
import tempfile
import zipfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Protocol, cast

import numpy as np
import zstandard
from numpy.typing import NDArray

from labeling.imports.plain_csv import Records, cells_of, plain_records

MIB = 1 << 20
GZIP, ZSTD, PARQUET, ZIP, XLS = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
SAMPLED_LINES = 200  # of a JSONL file, to learn its columns
DELIMITERS = ",\t;|"
BLOCK_ROWS = 16_384
BLOCK_BYTES = 2 * MIB
ONE_BY_ONE = 5_000  # lines until whole blocks are tried again


class UnreadableFileError(Exception):
    """The whole file, or the rest of it, cannot be read. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may ask of us. A real file of tweets stays far below each."""

    line_chars: int = MIB  # a longer line or row is rejected, the rows after it are read
    columns: int = 2000
    grace_bytes: int = 64 * MIB  # unpacked size from which the ratio counts
    ratio: int = 200  # unpacked bytes for each packed byte; texts reach 3 to 20
    rows_per_byte: int = 4  # Parquet: declared rows for each byte of the file
    workbook_bytes: int = 512 * MIB  # unpacked size of an XLSX file


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read: its line (text) or row number (Parquet, XLSX), why, and how it begins."""

    number: int
    reason: str
    content: str = ""


Row = tuple[int, list[Any]]  # line or row number; values of the wanted columns


def _number(row: Row | BadRow) -> int:
    return row.number if isinstance(row, BadRow) else row[0]


@dataclass(slots=True)
class Block:
    """Some rows of a file, one after another, by columns."""

    numbers: NDArray[np.int64]  # line or row number of each row
    columns: list[Any]  # the wanted ones: Arrow arrays, or lists where the file gives single cells
    bad: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> Block:
        return Block(self.numbers[start:stop], [column[start:stop] for column in self.columns])

    def cells(self, row: int) -> list[Any]:
        return [
            column[row] if isinstance(column, list) else _cells(column[row : row + 1])[0]
            for column in self.columns
        ]


class Sheet:
    """One open file. `columns` are its column names; blocks() or rows() can be read once."""

    format = ""
    columns: list[str]

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        raise NotImplementedError

    def rows(self, wanted: Sequence[str]) -> Iterator[Row | BadRow]:
        """The same row by row, for looking at a few."""
        for block in self.blocks(wanted):
            rows: list[Row | BadRow] = [
                (int(number), block.cells(row)) for row, number in enumerate(block.numbers)
            ]
            yield from heapq.merge(rows, block.bad, key=_number)

    def fraction_read(self) -> float:
        """Share of the file that has been read, 0 when unknown."""
        return 0.0


def open_sheet(stream: IO[bytes], *, name: str = "", size: int | None = None, limits: Limits) -> Sheet:
    """The content decides the format; the name only tells TSV from CSV. Raises UnreadableFileError."""
    counted = _Counted(stream)
    buffered: io.BufferedReader = io.BufferedReader(counted, MIB)
    packed = _head(buffered, 4)
    if packed.startswith((GZIP, ZSTD)):
        unpacked = gzip.GzipFile(fileobj=buffered) if packed.startswith(GZIP) else _Unzstd(buffered)
        buffered = io.BufferedReader(_Guarded(unpacked, counted, limits), MIB)
        if _head(buffered, 4).startswith((GZIP, ZSTD)):
            raise UnreadableFileError("The file is compressed twice. Unpack it once and try again.")
    head = _head(buffered, 4)
    if not head:
        raise UnreadableFileError("The file is empty.")
    if head.startswith(PARQUET):
        return ParquetSheet(_seekable(buffered, stream, packed, limits), limits)
    if head.startswith(ZIP):
        return XlsxSheet(_seekable(buffered, stream, packed, limits), limits)
    if head.startswith(XLS):
        raise UnreadableFileError("This is an old .xls workbook. Save it as .xlsx or .csv and try again.")
    lines = _Lines(_as_utf8(buffered), limits.line_chars)
    progress = (counted, size)
    first = lines.first_visible_character()
    if first == "{":
        return JsonlSheet(lines, progress, limits)
    if first == "[":
        raise UnreadableFileError(
            "This is one JSON array. Write one JSON object on each line (JSONL): jq -c '.[]' file.json"
        )
    return CsvSheet(lines, progress, limits, name)


# Bytes ---------------------------------------------------------------------------------------------------


class _Bytes(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _Counted(io.RawIOBase):
    """Counts the bytes that come out of the file itself."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Guarded(io.RawIOBase):
    """Unpacked bytes. Stops a file that unpacks to absurdly more than it holds."""

    def __init__(self, unpacked: Any, packed: _Counted, limits: Limits) -> None:
        self.unpacked, self.packed, self.limits = unpacked, packed, limits
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.unpacked.read1(len(buffer)) or b""  # what there is, before the damage is met
        except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            raise UnreadableFileError("The compressed file is damaged or cut off. Pack it again.") from error
        buffer[: len(data)] = data
        self.count += len(data)
        if self.count > self.limits.grace_bytes and self.count > self.limits.ratio * self.packed.count:
            raise UnreadableFileError(
                f"The compressed file unpacks to more than {self.limits.ratio} times its size, which texts "
                "never do. Unpack it yourself if you trust it."
            )
        return len(data)


class _Unzstd:
    """Frames of zstd, one after another. zstandard's own reader takes a file that is cut off for a whole one."""

    PIECE = 512  # packed bytes at once, which unpack to 16 MiB at the very most

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.frame: Any = None
        self.rest = b""

    def read1(self, size: int) -> bytes:
        while not self.rest:
            piece = self.frame.unused_data if self.frame and self.frame.eof else b""
            piece = piece or self.stream.read(self.PIECE)
            if not piece:
                if self.frame and not self.frame.eof:
                    raise EOFError("in the middle of a frame")
                break
            if self.frame is None or self.frame.eof:
                # The window bounds the memory that a frame may ask for; 128 MiB is what `zstd --long` writes.
                self.frame = zstandard.ZstdDecompressor(max_window_size=128 * MIB).decompressobj()
            self.rest += self.frame.decompress(piece)
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


def _head(stream: io.BufferedReader, length: int) -> bytes:
    return stream.peek(length)[:length]


def _seekable(buffered: IO[bytes], stream: IO[bytes], packed: bytes, limits: Limits) -> IO[bytes]:
    """The file itself when it can seek, else a copy in an unnamed temporary file."""
    if not packed.startswith((GZIP, ZSTD)) and stream.seekable():
        stream.seek(0)
        return stream
    # The caller closes it by ending: the copy lives as long as the sheet that reads it.
    copy = tempfile.TemporaryFile()  # noqa: SIM115
    while chunk := buffered.read(MIB):
        copy.write(chunk)
    copy.seek(0)
    return cast("IO[bytes]", copy)


def _as_utf8(stream: io.BufferedReader) -> _Bytes:
    """UTF-8 with or without a mark, UTF-16 with one."""
    head = _head(stream, 4)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _Utf16(stream)
    if b"\0" in head:
        raise UnreadableFileError(
            "This is not a text file, or it is UTF-16 without a byte order mark. Save it as UTF-8."
        )
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


class _Utf16:
    """UTF-16 made UTF-8; what is broken becomes the replacement character."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder("utf-16")("replace")

    def read1(self, size: int) -> bytes:
        while piece := self.stream.read1(size):
            if text := self.decoder.decode(piece):
                return text.encode()
        return self.decoder.decode(b"", final=True).encode()


Line = tuple[int, str]  # its number and its words


class _Lines:
    """Lines of bounded length, each with its line break. Overlong lines are skipped and noted in `bad`.

    Broken UTF-8 becomes lone surrogates, found later. Damage is raised after the last whole line before it.
    """

    def __init__(self, stream: _Bytes, limit: int) -> None:
        self.stream, self.limit = stream, limit
        self.number = 0  # of the line given last
        self.bad: list[BadRow] = []
        self._read_to = 0  # of the line read last
        self._given_back: deque[Line] = deque()
        self._overlong = b""  # the beginning of a line whose rest is being skipped
        self._damage: UnreadableFileError | None = None
        self._buffer, self._at = b"", 0
        self._fill(64 * 1024)
        self._break = b"\r" if b"\r" in self._buffer and b"\n" not in self._buffer else b"\n"

    def first_visible_character(self) -> str:
        return self._buffer.decode(errors="ignore").lstrip()[:1]

    def give_back(self, lines: Sequence[Line]) -> None:
        """Read these lines again, next."""
        self._given_back.extendleft(reversed(lines))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._given_back:
            self.number, line = self._given_back.popleft()
            return line
        while True:
            line = self._whole_line().decode(errors="surrogateescape")
            self._read_to += 1
            if not self._overlong and len(line) <= self.limit + 1:
                self.number = self._read_to
                return line
            begin = self._overlong.decode(errors="surrogateescape") or line
            reason = f"The line is longer than {self.limit:,} characters."
            self.bad.append(BadRow(self._read_to, reason, begin[:100]))
            self._overlong = b""

    def _whole_line(self) -> bytes:
        while (end := self._buffer.find(self._break, self._at)) < 0:
            if len(self._buffer) - self._at > 4 * self.limit:  # a character has at most four bytes
                self._overlong = self._overlong or self._buffer[self._at : self._at + 400]
                self._at = len(self._buffer)
            if not self._fill(1):
                end = len(self._buffer)
                if self._damage or (self._at == end and not self._overlong):
                    raise self._damage or StopIteration
                break
        line, self._at = self._buffer[self._at : end + 1], end + 1
        return line

    def _fill(self, size: int) -> bool:
        """Read at least `size` bytes more. False when there are none."""
        parts, count = [self._buffer[self._at :]], 0
        try:
            while count < size and (piece := self.stream.read1(256 * 1024)):
                parts.append(piece)
                count += len(piece)
        except UnreadableFileError as error:
            self._damage = error
        self._buffer, self._at = b"".join(parts), 0
        return count > 0

    def peek(self, size: int) -> bytes:
        """Whole lines, unread, about `size` bytes of them; nothing where only one line at a time can be read."""
        if self._given_back or self._overlong or self._break != b"\n":
            return b""
        missing = size - (len(self._buffer) - self._at)
        at_end = missing > 0 and not self._fill(missing) and not self._damage
        rest = self._buffer[self._at :]
        if at_end and rest and not rest.endswith(b"\n"):
            return rest + b"\n"
        return rest[: rest.rfind(b"\n") + 1]

    @property
    def next_number(self) -> int:
        return self._read_to + 1

    def skip(self, size: int, lines: int) -> None:
        """Leave out what peek() has shown."""
        self._at = min(self._at + size, len(self._buffer))
        self._read_to += lines
        self.number = self._read_to

    def has_read(self, number: int) -> bool:
        return self._read_to >= number and not self._given_back

    def take_bad(self) -> list[BadRow]:
        bad, self.bad = self.bad, []
        return bad


Position = tuple[_Counted, int | None]  # the file, and its size where it is known


def _fraction(position: Position) -> float:
    counted, size = position
    return min(1.0, counted.count / size) if size else 0.0


def _checked_columns(names: Iterable[Any], limits: Limits) -> list[str]:
    """Names made usable: no two alike, none empty."""
    columns: list[str] = []
    for position, name in enumerate(names, 1):
        base = column = str(name if name is not None else "").strip()[:200] or f"column {position}"
        number = 2
        while column in columns:
            column = f"{base} ({number})"
            number += 1
        columns.append(column)
        if position > limits.columns:
            raise UnreadableFileError(
                f"The file has more than {limits.columns:,} columns. Keep those that you need."
            )
    return columns


def _in_blocks(rows: Iterator[Row | BadRow]) -> Iterator[Block]:
    """For formats that are read row by row. What was read before damage is given before it is raised."""
    size, numbers, cells, bad = 0, list[int](), list[list[Any]](), list[BadRow]()

    def take() -> Block:
        nonlocal size, numbers, cells, bad
        columns = [list(column) for column in zip(*cells, strict=True)]
        block = Block(np.array(numbers, np.int64), columns, bad)
        size, numbers, cells, bad = 0, [], [], []
        return block

    try:
        for row in rows:
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                numbers.append(row[0])
                cells.append(row[1])
                size += sum(map(_size, row[1]))
            if len(numbers) + len(bad) >= BLOCK_ROWS or size > BLOCK_BYTES:
                yield take()
    except UnreadableFileError:
        yield take()
        raise
    yield take()


def _size(cell: Any) -> int:
    if isinstance(cell, list | tuple):
        return sum(map(_size, cell))
    return len(cell) if isinstance(cell, str) else 8


def _positions(columns: Sequence[str], wanted: Sequence[str]) -> list[int]:
    missing = [name for name in wanted if name not in columns]
    if missing:
        some = ", ".join(columns[:30])
        raise UnreadableFileError(f"The file has no column named {', '.join(missing)}. It has: {some}.")
    return [columns.index(name) for name in wanted]


# CSV and TSV ---------------------------------------------------------------------------------------------


class CsvSheet(Sheet):
    """The first line names the columns. A row with another number of cells is rejected."""

    format = "CSV"

    def __init__(self, lines: _Lines, position: Position, limits: Limits, name: str) -> None:
        self.lines, self.position, self.limits = lines, position, limits
        csv.field_size_limit(limits.line_chars)
        self.record: list[Line] = []  # the lines of the record being read
        self.ended = False
        header_line = next((line for line in lines if line.strip("\r\n\t ,;|")), "")
        if not header_line:
            reason = lines.bad[0].reason if lines.bad else "It has no line that names the columns."
            raise UnreadableFileError(f"The file is empty or cannot be read. {reason}")
        self.delimiter = _delimiter(header_line, name)
        self.format = "TSV" if self.delimiter == "\t" else "CSV"
        self.columns = self._header(header_line)

    def _header(self, first: str) -> list[str]:
        def all_lines() -> Iterator[str]:
            yield first
            yield from self.lines

        try:
            names = next(csv.reader(all_lines(), delimiter=self.delimiter))
        except csv.Error as error:
            raise UnreadableFileError(f"The first line does not name the columns: {error}.") from error
        if any("\ud800" <= letter <= "\udfff" for name in names for letter in name):
            raise UnreadableFileError("The column names are not UTF-8. Save the file as UTF-8 and try again.")
        return _checked_columns(names, self.limits)

    def _recorded(self) -> Iterator[str]:
        for line in self.lines:
            self.record.append((self.lines.number, line))
            yield line
        self.ended = True

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Records that all readers take apart alike by Arrow, lines from the first other one by the csv module."""
        picks = _positions(self.columns, wanted)
        while not self.ended:
            first, text = self.lines.next_number, self.lines.peek(BLOCK_BYTES)
            records = plain_records(text, delimiter=self.delimiter, limit=self.limits.line_chars)
            if records.size:
                yield from self._plain_blocks(text, records, picks)
                self.lines.skip(records.size, records.lines)
            if records.size < len(text) or not text:
                until = first + (text.count(b"\n") or ONE_BY_ONE) - 1
                yield from _in_blocks(self._tolerant_rows(picks, until=until))

    def _plain_blocks(self, text: bytes, records: Records, picks: Sequence[int]) -> Iterator[Block]:
        width, first = len(self.columns), self.lines.next_number
        good = records.cells == width
        columns = cells_of(text, records, good, picks=picks, columns=width, delimiter=self.delimiter)
        block = Block(records.numbers[good] + first, columns)
        ragged = [
            self._judge(first + int(records.numbers[row]), self._cells_of(text, records, row), picks)
            for row in np.flatnonzero(~good & (records.cells > 0)).tolist()
        ]
        block.bad = [row for row in ragged if isinstance(row, BadRow)]
        yield block
        if len(block.bad) < len(ragged):  # some have nothing in the cells that are too many
            yield from _in_blocks(iter([row for row in ragged if not isinstance(row, BadRow)]))

    def _cells_of(self, text: bytes, records: Records, row: int) -> list[str]:
        record = text[records.starts[row] : records.ends[row]].decode(errors="surrogateescape")
        return next(csv.reader([record], delimiter=self.delimiter))

    def _judge(self, number: int, cells: list[str], picks: Sequence[int]) -> Row | BadRow:
        width = len(self.columns)
        if len(cells) == width or (len(cells) > width and not any(cells[width:])):
            return number, [cells[pick] for pick in picks]
        return BadRow(number, _ragged(len(cells), width), self.delimiter.join(cells)[:1000])

    def _tolerant_rows(self, picks: Sequence[int], *, until: int) -> Iterator[Row | BadRow]:
        """Up to the record that holds line `until`, whatever its quotation marks are like."""
        lines, record = self.lines, self.record
        reader = csv.reader(self._recorded(), delimiter=self.delimiter)
        while True:
            record.clear()
            try:
                cells = next(reader)
                unclosed = self.ended and len(record) > 1 and self._ends_inside_quotes()
            except StopIteration:
                break
            except csv.Error:
                unclosed = True
            if lines.bad:
                yield from lines.take_bad()
            start = record[0][0] if record else lines.number
            if unclosed:
                yield self._reject_first_line(start)
                reader = csv.reader(self._recorded(), delimiter=self.delimiter)
            elif cells:  # else a blank line
                yield self._judge(start, cells, picks)
            if lines.has_read(until):
                break
        yield from lines.take_bad()

    def _ends_inside_quotes(self) -> bool:
        try:
            list(csv.reader([line for _, line in self.record], delimiter=self.delimiter, strict=True))
        except csv.Error as error:
            return "unexpected end" in str(error)
        return False

    def _reject_first_line(self, start: int) -> BadRow:
        """One stray quotation mark must not swallow the lines after it: they are read again."""
        (_, first), *others = self.record
        self.lines.give_back(others)
        self.ended = False
        return BadRow(start, "A quotation mark is opened and never closed.", first.rstrip("\r\n")[:1000])

    def fraction_read(self) -> float:
        return _fraction(self.position)


def _delimiter(header: str, name: str) -> str:
    if ".tsv" in name.lower() or ".tab" in name.lower():
        return "\t"
    return max(DELIMITERS, key=header.count)  # the comma where there is none of them


def _ragged(cells: int, width: int) -> str:
    return (
        f"The row has {cells} cells, the first line names {width} columns. "
        "Put texts that contain the separator in quotation marks."
    )


# JSONL ---------------------------------------------------------------------------------------------------


class JsonlSheet(Sheet):
    """One object on each line. The columns are the keys of the first lines; a.b is key b inside key a."""

    format = "JSONL"

    def __init__(self, lines: _Lines, position: Position, limits: Limits) -> None:
        self.lines, self.position, self.limits = lines, position, limits
        first: list[Line] = []
        names: dict[str, None] = {}
        for line in lines:
            first.append((lines.number, line))
            value = _object(line)
            for name in _keys(value) if isinstance(value, dict) else ():
                names[name] = None
            if len(first) >= SAMPLED_LINES or len(names) > limits.columns:
                break
        lines.give_back(first)
        if not names:
            raise UnreadableFileError("No line of the file is a JSON object with keys.")
        if len(names) > limits.columns:
            raise UnreadableFileError(
                f"The objects have more than {limits.columns:,} keys. Keep those you need."
            )
        self.columns = list(names)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        _positions(self.columns, wanted)
        return _in_blocks(self._read(wanted))

    def _read(self, wanted: Sequence[str]) -> Iterator[Row | BadRow]:
        lines, paths = self.lines, [(name, *name.partition(".")[::2]) for name in wanted]
        for line in lines:
            if lines.bad:
                yield from lines.take_bad()
            value = _object(line)
            if isinstance(value, dict):
                yield lines.number, [_value(value, *path) for path in paths]
            elif line.strip():
                reason = value if isinstance(value, str) else "The line is not a JSON object."
                yield BadRow(lines.number, reason, line.strip()[:1000])
        yield from lines.take_bad()

    def fraction_read(self) -> float:
        return _fraction(self.position)


def _object(line: str) -> Any:
    """The object of a line, or the reason why there is none."""
    try:
        value = json.loads(line)
    except RecursionError:
        return "The JSON is nested too deeply."
    except ValueError as error:
        return f"The line is not JSON: {str(error)[:100]}."
    return value if isinstance(value, dict) else None


def _keys(value: dict[str, Any]) -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from (f"{key}.{name}" for name in inner)
        elif key == "annotations" and _choices(inner):
            yield "annotations.choices"
        else:
            yield key


def _value(row: dict[str, Any], name: str, outer: str, inner: str) -> Any:
    if name in row or not inner:
        return row.get(name)
    value = row.get(outer)
    if isinstance(value, list):
        return _choices(value)
    return value.get(inner) if isinstance(value, dict) else None


def _choices(annotations: Any) -> list[str]:
    """The choices in an exported Label Studio task: annotations[].result[].value.choices."""
    found: list[str] = []
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        for result in results if isinstance(results, list) else ():
            value = result.get("value") if isinstance(result, dict) else None
            choices = value.get("choices") if isinstance(value, dict) else None
            found += [str(choice) for choice in choices] if isinstance(choices, list) else []
    return found


# Parquet -------------------------------------------------------------------------------------------------


class ParquetSheet(Sheet):
    """Read column by column, in small batches; what the footer declares is checked before any data is."""

    format = "Parquet"

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        import pyarrow.parquet as pq

        self.limits, self.done = limits, 0
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        with _arrow_errors():
            self.file = pq.ParquetFile(
                stream,
                thrift_string_size_limit=16 * MIB,
                thrift_container_size_limit=1_000_000,
                buffer_size=MIB,  # else a column of a row group is read as a whole
                pre_buffer=False,  # else the bytes of all that was read stay in memory to the end
            )
            metadata = self.file.metadata
            if metadata.num_columns > limits.columns:
                raise UnreadableFileError(
                    f"The file has {metadata.num_columns:,} columns, more than {limits.columns:,}. "
                    "Keep those that you need."
                )
            self.total: int = metadata.num_rows
            unpacked = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
            if self.total > max(1_000_000, limits.rows_per_byte * size) or self.total < 0:
                raise UnreadableFileError(
                    f"The file declares {self.total:,} rows in {size:,} bytes, which tweets never fit."
                )
            if unpacked > max(limits.grace_bytes, limits.ratio * size):
                raise UnreadableFileError(
                    f"The file declares {unpacked:,} unpacked bytes in {size:,}, which texts never do."
                )
            self.columns = _checked_columns(self.file.schema_arrow.names, limits)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        picks = _positions(self.columns, wanted)
        names = self.file.schema_arrow.names
        with _arrow_errors():
            batches = self.file.iter_batches(
                BLOCK_ROWS, columns=list(dict.fromkeys(names[pick] for pick in picks)), use_threads=False
            )
            for batch in batches:
                numbers = np.arange(self.done + 1, self.done + 1 + batch.num_rows)
                self.done += batch.num_rows
                yield Block(numbers, [_plain(batch.column(names[pick])) for pick in picks])

    def fraction_read(self) -> float:
        return self.done / self.total if self.total else 1.0


def _plain(column: Any) -> Any:
    """The column without dictionary and nanoseconds, which Python's times cannot hold."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def _cells(column: Any) -> list[Any]:
    import pyarrow as pa

    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check the UTF-8 of a file
        kind = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        raw = column.cast(kind).to_pylist()
        cells = [cell if cell is None else cell.decode(errors="surrogateescape") for cell in raw]
    return cells


@contextmanager
def _arrow_errors() -> Iterator[None]:
    """Whatever Arrow makes of a damaged file becomes words."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        first_line = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise UnreadableFileError(f"The Parquet file is damaged: {first_line[0][:200]}") from error


# XLSX ----------------------------------------------------------------------------------------------------


class XlsxSheet(Sheet):
    """The first sheet of a workbook; its first row names the columns."""

    format = "XLSX"

    def __init__(self, stream: IO[bytes], limits: Limits) -> None:
        _check_zip(stream, limits)
        from python_calamine import CalamineError, CalamineWorkbook

        try:
            sheet = CalamineWorkbook.from_filelike(stream).get_sheet_by_index(0)
            self._rows = iter(sheet.iter_rows())
            header: list[Any] = next(self._rows, [])
        except (CalamineError, OSError, ValueError, IndexError) as error:
            raise UnreadableFileError(f"The workbook cannot be read: {str(error)[:200]}") from error
        if not any(str(cell).strip() for cell in header):
            raise UnreadableFileError("The first sheet is empty, or its first row does not name the columns.")
        self.first = sheet.start[0] + 1 if sheet.start else 1
        self.total, self.done = sheet.height, 0
        self.columns = _checked_columns(header, limits)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        return _in_blocks(self._read(_positions(self.columns, wanted)))

    def _read(self, picks: Sequence[int]) -> Iterator[Row]:
        for number, cells in enumerate(self._rows, self.first + 1):
            self.done += 1
            if any(cell != "" for cell in cells):
                yield number, [cells[pick] for pick in picks]

    def fraction_read(self) -> float:
        return self.done / self.total if self.total else 1.0


def _check_zip(stream: IO[bytes], limits: Limits) -> None:
    try:
        parts = zipfile.ZipFile(stream).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise UnreadableFileError("The file is a damaged ZIP or workbook. Save it again.") from error
    if not any(part.filename.startswith("xl/") for part in parts):
        raise UnreadableFileError("This is a ZIP archive. Unpack it and give the file inside.")
    unpacked, packed = sum(part.file_size for part in parts), sum(part.compress_size for part in parts)
    if unpacked > limits.workbook_bytes or unpacked > max(limits.grace_bytes, limits.ratio * packed):
        raise UnreadableFileError(
            f"The workbook unpacks to {unpacked:,} bytes, more than is read. Save it as CSV and try again."
        )
    stream.seek(0)
