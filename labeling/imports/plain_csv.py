"""The records of a CSV text that every reader takes apart alike, read by Arrow. The others are csv_sheet.CsvSheet's.

Knows nothing of Django, so that the child process that reads a file can run it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE_FEED, RETURN, QUOTE = 10, 13, 34
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records at the beginning of a text."""

    size: int  # bytes of the text that they take
    lines: int  # lines of the text that they take
    starts: Positions  # of each record, in bytes
    ends: Positions  # of each record, its line break included
    numbers: Positions  # line that each begins on, from 0
    cells: Positions  # of each; 0 in a blank line


def plain_records(text: bytes, *, delimiter: str, limit: int) -> Records:
    """The records before the first that readers may disagree about. `text` is whole lines, or nothing.

    Plain is a record with quotation marks around whole cells only (doubled inside them), without a lone carriage
    return outside of them, and of no more than `limit` bytes.
    """
    letters = np.frombuffer(text, np.uint8)
    breaks, quotes = np.flatnonzero(letters == LINE_FEED), np.flatnonzero(letters == QUOTE)
    ends = breaks[_outside(breaks, quotes)] + 1
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
    first_odd = min(
        _first_odd_quote(letters, quotes, ord(delimiter)), _first_odd_return(text, letters, quotes)
    )
    count = int(np.searchsorted(ends, first_odd, side="right"))
    too_long = np.flatnonzero(ends[:count] - starts[:count] > limit)
    count = int(too_long[0]) if len(too_long) else count
    starts, ends = starts[:count], ends[:count]
    size = int(ends[-1]) if count else 0
    delimiters = np.flatnonzero(letters[:size] == ord(delimiter))
    before_end = np.searchsorted(delimiters[_outside(delimiters, quotes)], ends)
    cells = np.diff(before_end, prepend=0) + 1
    length = ends - starts
    cells[(length == 1) | ((length == 2) & (letters[starts] == RETURN))] = 0
    numbers = np.searchsorted(breaks, starts)
    return Records(size, int(np.searchsorted(breaks, size)), starts, ends, numbers, cells)


def _outside(positions: Positions, quotes: Positions) -> NDArray[np.bool_]:
    """Which positions have an even number of quotation marks before them."""
    return np.asarray(np.searchsorted(quotes, positions) % 2 == 0, bool)


def _first_odd_quote(letters: NDArray[np.uint8], quotes: Positions, delimiter: int) -> int:
    """Position of the first mark that neither opens a cell nor closes one; of the last when it stays open."""
    opening, closing = quotes[0::2], quotes[1::2]
    # letters[-1], what is before the first letter, is a line feed.
    before, after = letters[opening - 1], letters[closing + 1]
    beside = np.array([delimiter, LINE_FEED, QUOTE], np.uint8)
    odd = np.concatenate(
        [
            opening[~np.isin(before, beside)],
            closing[~np.isin(after, beside) & (after != RETURN)],
            quotes[-1:] if len(quotes) % 2 else quotes[:0],
        ]
    )
    return int(odd.min()) if len(odd) else len(letters)


def _first_odd_return(text: bytes, letters: NDArray[np.uint8], quotes: Positions) -> int:
    if b"\r" not in text:
        return len(text)
    returns = np.flatnonzero(letters == RETURN)
    lone = returns[_outside(returns, quotes) & (letters[returns + 1] != LINE_FEED)]
    return int(lone[0]) if len(lone) else len(text)


def cells_of(
    text: bytes,
    records: Records,
    rows: NDArray[np.bool_],
    *,
    picks: Sequence[int],
    columns: int,
    delimiter: str,
) -> list[Any]:
    """The picked columns of the given records, each of which has `columns` cells, as Arrow arrays of text.

    Their UTF-8 is unchecked.
    """
    import pyarrow as pa
    import pyarrow.csv

    names = [str(column) for column in range(columns)]
    wanted = [names[pick] for pick in picks]
    data = _joined(text, records, rows)
    if not data:
        return [pa.array([], pa.string()) for _ in picks]
    table = pyarrow.csv.read_csv(
        pa.py_buffer(data),
        read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=list(dict.fromkeys(wanted)),
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )
    return [table[name].combine_chunks() for name in wanted]


def _joined(text: bytes, records: Records, rows: NDArray[np.bool_]) -> bytes:
    """The text of the given records, copied run by run."""
    if rows.all():
        return text[: records.size]
    edges = np.flatnonzero(np.diff(rows, prepend=False, append=False))
    runs = zip(records.starts[edges[0::2]].tolist(), records.ends[edges[1::2] - 1].tolist(), strict=True)
    return b"".join([text[start:end] for start, end in runs])
