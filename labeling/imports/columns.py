"""Whole columns of cells: what labeling.imports.mapping says of one cell, said of many at once.

Each function gives values and the rows it is sure of. The others, odd ones, are for mapping's functions: what it
is sure of is what they would say. Knows nothing of Django.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labeling.identity import AuthorHasher
from labeling.imports.mapping import ID_CHARS, TEXT_CHARS, date_of

Mask = NDArray[np.bool_]
SPACE, DELETE = 0x20, 0x7F  # ASCII between them is letters, digits and marks


def texts(column: Any) -> tuple[Any, Mask]:
    """Texts as they are stored."""
    values, sure = _strings(column)
    lengths, first, _ = _ends(values)
    sure &= (lengths > 0) & (lengths <= TEXT_CHARS) & (first > SPACE)
    if (first > DELETE).any():
        sure &= ~_mask(pc.utf8_is_space(values))
    return values, sure & ~_has(values, "\0")


def ids(column: Any) -> tuple[Any, Mask]:
    """Ids as they are stored, empty where there is none."""
    values, sure = _strings(column, or_integers=True)
    lengths, first, last = _ends(values)
    stripped = (first > SPACE) & (first < DELETE) & (last > SPACE) & (last < DELETE)
    sure &= (lengths == 0) | (stripped & (lengths <= ID_CHARS))
    return values, sure & ~_has(values, "\0") & ~_has(values, "E+")


def authors(column: Any, hasher: AuthorHasher) -> tuple[Any, Mask]:
    """Hashes of the authors, null where there is none."""
    values, sure = _strings(column, or_integers=True)
    encoded = values.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    hashes = pa.array(hasher.hash_all(names), pa.binary())
    if "" in names:
        hashes = pc.if_else(pc.not_equal(encoded.dictionary, ""), hashes, None)
    return hashes.take(encoded.indices), sure


def blanks(column: Any) -> Mask:
    """Which cells surely say nothing."""
    if isinstance(column, list):
        return np.array([cell is None or cell == "" for cell in column], bool)
    nulls = _mask(column.is_null())
    return nulls | (_lengths(column) == 0) if is_text(column) else nulls


def dates(column: Any) -> tuple[NDArray[np.int64], Mask, Mask]:
    """Microseconds since 1970; which rows have a date; which have something that is none."""
    micros, known = _times(column)
    odd = np.flatnonzero(~(known | blanks(column))).tolist()
    unreadable = np.zeros(len(micros), bool)
    for row in odd:
        try:
            found = date_of(_cell(column, row))
        except (ValueError, OverflowError, TypeError):  # keep the tweet: a date is seldom needed
            unreadable[row] = True
        else:
            known[row] = found is not None
            micros[row] = microseconds(found) if found else 0
    return micros, known, unreadable


# Text in Arrow -------------------------------------------------------------------------------------------


def is_text(column: Any) -> bool:
    return not isinstance(column, list) and bool(
        pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    )


def _strings(column: Any, *, or_integers: bool = False) -> tuple[Any, Mask]:
    """The text of the cells, valid UTF-8 and without nulls. Sure where the cell is text (or an integer) or null."""
    if isinstance(column, list):
        column = _from_list(column, or_integers=or_integers)
    if not (
        is_text(column) or pa.types.is_null(column.type) or (or_integers and pa.types.is_integer(column.type))
    ):
        return pa.array([""] * len(column), pa.string()), _mask(column.is_null())
    values = column.cast(pa.string()) if column.type != pa.string() else column
    sure = np.ones(len(values), bool)
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        sure = np.array([_is_utf8(cell) for cell in values.cast(pa.binary()).to_pylist()], bool)
        values = pc.if_else(pa.array(sure), values, "")
    return (values.fill_null("") if values.null_count else values), sure


def _from_list(cells: list[Any], *, or_integers: bool) -> Any:
    """An Arrow array where all cells are of one kind, else one that nothing is sure of."""
    kinds = set(map(type, cells)) - {type(None)}
    try:
        if kinds <= {str}:
            return pa.array(cells, pa.string())
        if or_integers and kinds == {int}:
            return pa.array(cells, pa.int64())
    except (UnicodeEncodeError, OverflowError, pa.ArrowInvalid):
        pass
    return pa.array([None if cell is None else b"" for cell in cells], pa.binary())


def _is_utf8(cell: bytes | None) -> bool:
    try:
        (cell or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def bytes_of(values: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets of the cells of a text or binary array, one more than cells, and the bytes that they point into."""
    _, places, data = values.buffers()
    is_large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    kind = np.dtype(np.int64 if is_large else np.int32)
    offsets = np.frombuffer(places, kind, len(values) + 1, kind.itemsize * values.offset).astype(np.int64)
    return offsets, np.frombuffer(data or b"", np.uint8)


def _lengths(values: Any) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.binary_length(values), 0), np.int64)


def _ends(values: Any) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
    """Length, first and last byte of each cell; the bytes of an empty one are 0."""
    if not len(values):
        return np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8)
    offsets, data = bytes_of(values)
    lengths = np.diff(offsets)
    if not len(data):
        return lengths, np.zeros(len(lengths), np.uint8), np.zeros(len(lengths), np.uint8)
    first = np.where(lengths > 0, data[np.minimum(offsets[:-1], len(data) - 1)], 0)
    last = np.where(lengths > 0, data[np.maximum(offsets[1:] - 1, 0)], 0)
    return lengths, first, last


def _has(values: Any, words: str) -> Mask:
    offsets, data = bytes_of(values)
    # Of all cells at once, nearly always without success: ten times as fast as to look into each.
    if words.encode() not in data[offsets[0] : offsets[-1]].tobytes():
        return np.zeros(len(values), bool)
    return _mask(pc.match_substring(values, words))


def _mask(values: Any) -> Mask:
    return np.array(values.to_numpy(zero_copy_only=False), bool)


def _cell(column: Any, row: int) -> Any:
    if isinstance(column, list):
        return column[row]
    try:
        return column[row].as_py()
    except UnicodeDecodeError:
        return column[row].as_buffer().to_pybytes().decode(errors="surrogateescape")


# Times ---------------------------------------------------------------------------------------------------

# How times are written: a letter for each digit (Y year, m month, d day, H M S, f fraction; h and i of the zone),
# s the zone's sign, t between day and time, w a letter of the day's name, b of the month's; others are themselves.
_SECONDS = [f"YYYY-mm-ddtHH:MM:SS{fraction}" for fraction in ("", ".fff", ".ffffff")]
LAYOUTS = [
    "YYYY-mm-dd",
    *(time + zone for time in _SECONDS for zone in ("", "Z", "shh:ii")),
    "www bbb dd HH:MM:SS shhii YYYY",  # Twitter's
]
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
MONTH_CODES = np.array([int.from_bytes(name.encode()) for name in MONTHS], np.int32)
FIRST_YEAR, LAST_YEAR = 1901, 2199  # in any zone mapping.date_of takes them
FIRST, LAST = (int(np.datetime64(f"{year}-01-01", "us").astype(np.int64)) for year in (FIRST_YEAR, LAST_YEAR))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Moments = tuple[NDArray[np.int64], Mask]  # microseconds since 1970, and the rows that have them for sure


def microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _times(column: Any) -> Moments:
    if isinstance(column, list):
        column = _from_list(column, or_integers=True)
    kind = column.type
    if is_text(column):
        return _written(_strings(column)[0])
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numbers(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        try:
            micros = column.cast(pa.timestamp("us")).cast(pa.int64())
        except pa.ArrowInvalid:  # beyond the years that microseconds reach
            return _nothing(len(column))
        values, known = _filled(micros)
        return values, known & (values >= FIRST) & (values < LAST)
    return _nothing(len(column))


def _nothing(rows: int) -> Moments:
    return np.zeros(rows, np.int64), np.zeros(rows, bool)


def _filled(column: Any) -> Moments:
    return np.array(column.fill_null(0).to_numpy(zero_copy_only=False), np.int64), _mask(column.is_valid())


def _numbers(column: Any) -> Moments:
    """Whole seconds or milliseconds since 1970."""
    if pa.types.is_floating(column.type):
        floats = column.cast(pa.float64()).to_numpy(zero_copy_only=False)  # NaN where null
        whole = (np.abs(floats) < 1e15) & (floats == np.floor(floats))
        values, known = np.where(whole, floats, 0).astype(np.int64), whole
    else:
        try:
            values, known = _filled(column.cast(pa.int64()))
        except pa.ArrowInvalid:
            return _nothing(len(column))
    seconds = (values >= 10**8) & (values < 5 * 10**9)
    millis = (values >= 10**11) & (values < 5 * 10**12)
    return values * np.where(seconds, 10**6, np.where(millis, 1000, 0)), known & (seconds | millis)


def _written(values: Any) -> Moments:
    """Times in one of LAYOUTS, or a number of digits."""
    micros, known = _nothing(len(values))
    if not len(values):
        return micros, known
    offsets, data = bytes_of(values)
    lengths = np.diff(offsets)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        for layout in LAYOUTS:
            if len(layout) == length:
                micros[rows], known[rows] = _by_layout(data, offsets[rows], layout)
        if length in (10, 13):
            found, fits = _digits(data, offsets[rows], length)
            micros[rows[fits]], known[rows[fits]] = found[fits], True
    return micros, known


def _digits(data: NDArray[np.uint8], starts: NDArray[np.int64], count: int) -> Moments:
    """Seconds or milliseconds. Thirteen digits that could be a day and a time are left to date_of."""
    fields, fits = _fields(data, starts, "n" * count)
    month = fields["n"] // 10 ** (count - 6) % 100
    found, known = _numbers(pa.array(fields["n"]))
    return found, fits & known & ((count == 10) | (month < 1) | (month > 12))


def _by_layout(data: NDArray[np.uint8], starts: NDArray[np.int64], layout: str) -> Moments:
    fields, fits = _fields(data, starts, layout)
    if "b" in fields:
        names = fields["b"][:, None] == MONTH_CODES[None, :]
        fields["m"] = np.where(names.any(axis=1), names.argmax(axis=1) + 1, 0)
    none = np.zeros(len(starts), np.int64)
    year, month, day = fields["Y"], fields["m"], fields["d"]
    hour, minute, second = fields.get("H", none), fields.get("M", none), fields.get("S", none)
    zone_hour, zone_minute = fields.get("h", none), fields.get("i", none)
    fits &= (year >= FIRST_YEAR) & (year <= LAST_YEAR) & (month >= 1) & (month <= 12) & (hour < 24)
    fits &= (minute < 60) & (second < 60) & (zone_hour < 24) & (zone_minute < 60)
    months = np.where(fits, (year - 1970) * 12 + month - 1, 0)
    first, following = (_first_day(months + later) for later in (0, 1))
    fits &= (day >= 1) & (day <= following - first)
    minutes = (
        ((first + day - 1) * 24 + hour) * 60 + minute - fields.get("s", none) * (zone_hour * 60 + zone_minute)
    )
    fraction = fields.get("f", none) * 10 ** (6 - layout.count("f"))
    return (minutes * 60 + second) * 10**6 + fraction, fits


def _first_day(months: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970 of the first day of the month."""
    return months.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _fields(
    data: NDArray[np.uint8], starts: NDArray[np.int64], layout: str
) -> tuple[dict[str, NDArray[np.int64]], Mask]:
    """The numbers in texts that are written like this, and which texts are."""
    fits = np.ones(len(starts), bool)
    fields: dict[str, NDArray[np.int64]] = {}
    for place, mark in enumerate(layout):
        letters = data[starts + place]
        if mark in "YmdHMSfhin":
            digits = letters - ord("0")  # wraps below "0"
            fits &= digits < 10
            fields[mark] = fields[mark] * 10 + digits if mark in fields else digits.astype(np.int64)
        elif mark == "b":
            fields[mark] = fields[mark] * 256 + letters if mark in fields else letters.astype(np.int64)
        elif mark == "s":
            fits &= (letters == ord("+")) | (letters == ord("-"))
            fields[mark] = np.where(letters == ord("-"), -1, 1)
        elif mark == "w":
            fits &= ((letters | 0x20) >= ord("a")) & ((letters | 0x20) <= ord("z"))
        else:
            fits &= (letters == ord(mark)) | ((mark == "t") & ((letters == ord("T")) | (letters == ord(" "))))
    return fields, fits
