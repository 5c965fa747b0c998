"""CSV and TSV, read as far as a stranger's file lets us."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

import numpy as np

from labeling.imports.byte_streams import Line, Lines, Position, fraction
from labeling.imports.plain_csv import Records, cells_of, plain_records
from labeling.imports.sheets import (
    BLOCK_BYTES,
    BadRow,
    Block,
    Limits,
    Row,
    Sheet,
    UnreadableFileError,
    checked_columns,
    in_blocks,
    positions,
)

DELIMITERS = ",\t;|"
ONE_BY_ONE = 5_000  # lines until whole blocks are tried again


class CsvSheet(Sheet):
    """The first line names the columns. A row with another number of cells is rejected."""

    format = "CSV"

    def __init__(self, lines: Lines, position: Position, limits: Limits, name: str) -> None:
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
        return checked_columns(names, self.limits)

    def _recorded(self) -> Iterator[str]:
        for line in self.lines:
            self.record.append((self.lines.number, line))
            yield line
        self.ended = True

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Records that all readers take apart alike by Arrow, lines from the first other one by the csv module."""
        picks = positions(self.columns, wanted)
        while not self.ended:
            first, text = self.lines.next_number, self.lines.peek(BLOCK_BYTES)
            records = plain_records(text, delimiter=self.delimiter, limit=self.limits.line_chars)
            if records.size:
                yield from self._plain_blocks(text, records, picks)
                self.lines.skip(records.size, records.lines)
            if records.size < len(text) or not text:
                until = first + (text.count(b"\n") or ONE_BY_ONE) - 1
                yield from in_blocks(self._tolerant_rows(picks, until=until))

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
            yield from in_blocks(iter([row for row in ragged if not isinstance(row, BadRow)]))

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
        return fraction(self.position)


def _delimiter(header: str, name: str) -> str:
    if ".tsv" in name.lower() or ".tab" in name.lower():
        return "\t"
    return max(DELIMITERS, key=header.count)  # the comma where there is none of them


def _ragged(cells: int, width: int) -> str:
    return (
        f"The row has {cells} cells, the first line names {width} columns. "
        "Put texts that contain the separator in quotation marks."
    )
