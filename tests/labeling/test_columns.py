"""Whole columns: what they are sure of is what mapping.py says cell by cell."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.identity import AuthorHasher
from labeling.imports import columns
from labeling.imports.mapping import BadCellError, date_of, id_of, text_of

HASHER = AuthorHasher("key")
CHARACTERS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from(list(" \t\n\x1c\x85\u00a0\u3000\0E+0123456789\x7f")),
)
TEXT = st.text(CHARACTERS, max_size=12)
BROKEN = st.binary(max_size=6)


def as_columns(cells: list[Any]) -> list[Any]:
    """The same cells as a list, and as Arrow has them."""
    found: list[Any] = [cells]
    for kind in (pa.string(), pa.large_string()):
        raw = [cell if cell is None else cell.encode(errors="surrogateescape") for cell in cells]
        wide = pa.large_binary() if kind == pa.large_string() else pa.binary()
        column = pa.array([b"left out", *raw], wide).view(kind)
        found.append(column[1:])  # arrays that begin within others
    return found


def outcome(read, cell):
    try:
        value = read(cell)
        if isinstance(value, str):
            value.encode()
    except (BadCellError, UnicodeEncodeError):
        return None
    return value


def check(cells, by_column, by_cell):
    for column in as_columns(cells):
        values, sure = by_column(column)
        assert len(values) == len(sure) == len(cells)
        for cell, value, certain in zip(cells, values.to_pylist(), sure, strict=True):
            if certain:
                assert value == outcome(by_cell, cell), cell


CELLS = st.lists(
    st.one_of(st.none(), TEXT, BROKEN.map(lambda raw: raw.decode(errors="surrogateescape"))), max_size=8
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(CELLS)
def test_texts_and_ids_are_those_of_single_cells(cells):
    check(cells, columns.texts, text_of)
    check(cells, columns.ids, id_of)
    check(
        cells,
        lambda column: columns.authors(column, HASHER),
        lambda cell: None if cell in (None, "") else HASHER.hash(cell),
    )
    for column in as_columns(cells):
        assert columns.blanks(column).tolist() == [cell in (None, "") for cell in cells]


def test_most_cells_are_sure():
    texts = ["plain words", "naïve", "👍 yes", "こんにちは", " leading", "", "\u3000"]
    for column in as_columns(texts):
        assert columns.texts(column)[1].tolist() == [True] * 4 + [False] * 3
    for column in as_columns(["123", "", "a b", " 1", "1E+5"]):
        assert columns.ids(column)[1].tolist() == [True, True, True, False, False]


def test_every_space_of_unicode_is_met():
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    _, sure = columns.texts(pa.array(letters))
    wrong = [
        letter
        for letter, certain in zip(letters, sure, strict=True)
        if certain and (letter.isspace() or letter == "\0")
    ]
    assert not wrong


@pytest.mark.parametrize("length", [25_000, 25_001])
def test_a_long_text_is_left_to_its_cell(length):
    _, sure = columns.texts(pa.array(["x" * length]))
    assert sure.tolist() == [length == 25_000]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([2**62, None, 0]), [str(2**62), "", "0"]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        ([2**40, None], [str(2**40), ""]),
        (pa.nulls(2), ["", ""]),
    ],
)
def test_whole_numbers_are_ids(column, names):
    values, sure = columns.ids(column)
    assert values.to_pylist() == names
    assert sure.all()


@pytest.mark.parametrize(
    "column", [pa.array([1.0]), pa.array([True]), pa.array([b"1"]), pa.array([[1]]), [1.5], [True], [2**70]]
)
def test_nothing_is_sure_of_other_kinds(column):
    assert not columns.texts(column)[1].any()
    assert not columns.ids(column)[1].any()


# Dates ---------------------------------------------------------------------------------------------------


def expected(cell: Any) -> tuple[int, bool, bool]:
    """Microseconds, dated, unreadable, by mapping.py."""
    try:
        found = date_of(cell)
    except (ValueError, OverflowError, TypeError):
        return 0, False, True
    return (columns.microseconds(found) if found else 0), found is not None, False


def check_dates(column, cells=None):
    micros, dated, unreadable = columns.dates(column)
    cells = cells if cells is not None else column if isinstance(column, list) else column.to_pylist()
    found = zip(np.where(dated, micros, 0).tolist(), dated.tolist(), unreadable.tolist(), strict=True)
    assert list(found) == [expected(cell) for cell in cells]


MOMENTS = st.datetimes(datetime.datetime(1890, 1, 1), datetime.datetime(2210, 1, 1))
ZONES = st.sampled_from(["", "Z", "+00:00", "-03:30", "+14:00", "+24:00", "-23:59", "+0100"])
WRITTEN = st.builds(
    lambda moment, mark, part, zone: moment.isoformat(mark, part) + zone,
    MOMENTS,
    st.sampled_from("T x"),
    st.sampled_from(["hours", "minutes", "seconds", "milliseconds", "microseconds"]),
    ZONES,
)
TWITTER = st.builds(
    lambda moment, zone: moment.strftime("%a %b %d %H:%M:%S ") + zone + f" {moment.year:04}",
    MOMENTS,
    st.sampled_from(["+0000", "-0330", "+2400", "+0160"]),
)
NUMBERS = st.one_of(
    st.integers(-(10**13), 10**13), st.integers(10**8, 5 * 10**9), st.integers(10**11, 5 * 10**12)
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.none(), WRITTEN, TWITTER, NUMBERS.map(str), MOMENTS.map(lambda m: m.date().isoformat()), TEXT
        ),
        max_size=8,
    )
)
def test_written_dates_are_those_of_single_cells(cells):
    for column in as_columns(cells):
        check_dates(column, cells)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_date_with_one_letter_changed_is_that_of_its_cell(data):
    cells = []
    for cell in data.draw(st.lists(st.one_of(WRITTEN, TWITTER), min_size=1, max_size=5)):
        place = data.draw(st.integers(0, len(cell) - 1))
        cells.append(cell[:place] + data.draw(st.sampled_from("0123456789 -:TZ+.x")) + cell[place + 1 :])
    check_dates(pa.array(cells))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.none(), NUMBERS), max_size=8))
def test_dates_as_numbers_are_those_of_single_cells(cells):
    check_dates(cells)
    check_dates(pa.array(cells, pa.int64()))
    check_dates(pa.array(cells, pa.float64()))
    check_dates([cell if cell is None else cell + 0.25 for cell in cells])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), MOMENTS), max_size=5),
    st.sampled_from(["s", "ms", "us"]),
    st.sampled_from([None, "UTC", "Asia/Tokyo"]),
)
def test_times_of_parquet_are_those_of_single_cells(moments, unit, zone):
    check_dates(pa.array(moments, pa.timestamp("us", zone)).cast(pa.timestamp(unit, zone), safe=False))
    check_dates(pa.array([moment and moment.date() for moment in moments], pa.date32()))


def test_dates_just_beside_the_calendar_and_the_clock():
    cells = [
        "2019-02-29", "2020-02-29", "1900-01-01", "2200-12-31", "2201-01-01", "2019-00-10", "2019-13-10", "2019-04-31",
        *(f"2019-04-05T{time}" for time in ("24:00:00", "23:60:00", "23:59:60", "23:59:59", "00:00:00Z", "00:00:00z")),
        *(f"2019-04-05T06:07:08{zone}" for zone in ("+24:00", "-23:59", "+00:60", "+05:45", "_05:45", ".1234567")),
        *(f"Wed {day} 20:19:24 +0000 2018" for day in ("Oct 00", "Oct 32", "Okt 10", "Feb 29", "oct 10")),
        "W3d Oct 10 20:19:24 +0000 2018", "1512010201040", "0099999999", "4999999999", "5000000000",
    ]  # fmt: skip
    for column in as_columns(cells):
        check_dates(column, cells)


def test_the_usual_dates_need_no_single_cell(monkeypatch):
    monkeypatch.setattr(columns, "date_of", None)
    cells = [
        "2018-10-10T20:19:24Z", "2018-10-10 20:19:24", "2018-10-10T20:19:24.123Z", "2018-10-10 22:19:24.123456+02:00",
        "2018-10-10", "Wed Oct 10 20:19:24 +0000 2018", "1539202764", "1539202764123",
    ]  # fmt: skip
    assert columns.dates(pa.array(cells))[1].all()
