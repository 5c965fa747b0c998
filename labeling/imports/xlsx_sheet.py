"""The first sheet of an XLSX workbook."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

from labeling.imports.sheets import (
    Block,
    Limits,
    Row,
    Sheet,
    UnreadableFileError,
    checked_columns,
    in_blocks,
    positions,
)


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
        self.columns = checked_columns(header, limits)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        return in_blocks(self._read(positions(self.columns, wanted)))

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
