"""What an open file of rows is, whatever its format: sheets, blocks, rows that cannot be read, and limits."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIB = 1 << 20
BLOCK_ROWS = 16_384
BLOCK_BYTES = 2 * MIB


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

    def rows(self) -> Iterator[Row | BadRow]:
        """Those that can be read, taken apart one by one as they are asked for."""
        for row, number in enumerate(self.numbers.tolist()):
            yield number, self.cells(row)

    def part(self, start: int, stop: int) -> Block:
        return Block(self.numbers[start:stop], [column[start:stop] for column in self.columns])

    def cells(self, row: int) -> list[Any]:
        return [
            column[row] if isinstance(column, list) else cells_of_column(column[row : row + 1])[0]
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
            yield from heapq.merge(block.rows(), block.bad, key=_number)

    def fraction_read(self) -> float:
        """Share of the file that has been read, 0 when unknown."""
        return 0.0


def checked_columns(names: Iterable[Any], limits: Limits) -> list[str]:
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


def in_blocks(rows: Iterator[Row | BadRow]) -> Iterator[Block]:
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


def positions(columns: Sequence[str], wanted: Sequence[str]) -> list[int]:
    missing = [name for name in wanted if name not in columns]
    if missing:
        some = ", ".join(columns[:30])
        raise UnreadableFileError(f"The file has no column named {', '.join(missing)}. It has: {some}.")
    return [columns.index(name) for name in wanted]


def cells_of_column(column: Any) -> list[Any]:
    import pyarrow as pa

    try:
        cells: list[Any] = column.to_pylist()
    except UnicodeDecodeError:  # Arrow does not check the UTF-8 of a file
        kind = pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary()
        raw = column.cast(kind).to_pylist()
        cells = [cell if cell is None else cell.decode(errors="surrogateescape") for cell in raw]
    return cells
