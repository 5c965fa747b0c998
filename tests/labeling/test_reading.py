"""Rows out of files: formats, packings, damage, limits."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import random
import zipfile
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling.imports import csv_sheet, plain_csv, reader_process
from labeling.imports.reading import open_sheet
from labeling.imports.sheets import BadRow, Block, Limits, Sheet, UnreadableFileError

ROWS = [["1", "first, with a comma"], ["2", 'says "hi"'], ["3", "two\nlines 👍"]]


def csv_bytes(rows=ROWS, *, delimiter: str = ",", encoding: str = "utf-8") -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([["id", "text"], *rows])
    return text.getvalue().encode(encoding)


def jsonl_bytes() -> bytes:
    return "".join(json.dumps({"id": a, "text": b}) + "\n" for a, b in ROWS).encode()


def parquet_bytes(columns=None) -> bytes:
    out = io.BytesIO()
    names = columns or {"id": [a for a, _ in ROWS], "text": [b for _, b in ROWS]}
    pq.write_table(pa.table(names), out)
    return out.getvalue()


def xlsx_bytes(rows=ROWS) -> bytes:
    book, out = openpyxl.Workbook(), io.BytesIO()
    for row in [["id", "text"], *rows]:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def read(data: bytes, *, name: str = "", limits: Limits | None = None, wanted=("id", "text")):
    sheet = open_sheet(io.BytesIO(data), name=name, size=len(data), limits=limits or Limits())
    return list(sheet.rows(list(wanted)))


def good(data: bytes, **options) -> list[list[str]]:
    return [row[1] for row in read(data, **options) if not isinstance(row, BadRow)]


FORMATS = {
    "csv": csv_bytes(),
    "semicolons": csv_bytes(delimiter=";"),
    "tsv": csv_bytes(delimiter="\t"),
    "bom": csv_bytes(encoding="utf-8-sig"),
    "utf-16": csv_bytes(encoding="utf-16"),
    "jsonl": jsonl_bytes(),
    "parquet": parquet_bytes(),
    "xlsx": xlsx_bytes(),
}
PACKINGS: dict[str, Any] = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_plain_and_packed(kind, packing):
    assert good(PACKINGS[packing](FORMATS[kind])) == ROWS


def test_lines_are_numbered_where_the_row_begins():
    data = b'id,text\n1,one\n\n2,"two\nlines"\n3,x,y\n4,four\n'
    assert [row[0] if isinstance(row, tuple) else (row.number, "bad") for row in read(data)] == [
        2,
        4,
        (6, "bad"),
        7,
    ]


def test_a_ragged_row_is_rejected_and_the_others_are_read():
    rows = read(b"id,text\n1,one\n2\n3,has, a comma\n4,four,,\n")
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [row.number for row in bad] == [3, 4]
    assert "3 cells" in bad[1].reason
    assert [row[1][0] for row in rows if isinstance(row, tuple)] == ["1", "4"]


@pytest.mark.parametrize("lines_after", [3, 9000])
def test_a_quotation_mark_that_is_never_closed_costs_one_row(lines_after):
    data = b'id,text\n1,one\n2,"never closed\n' + b"".join(b"%d,row\n" % n for n in range(lines_after))
    rows = read(data, limits=Limits(line_chars=20_000))
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert [(row.number, row.reason) for row in bad] == [(3, "A quotation mark is opened and never closed.")]
    assert len(rows) == lines_after + 2


@pytest.mark.parametrize(
    "line", [b'{"id": "2", "text": "' + b"x" * 10_000_000 + b'"}', b"{" + b"[" * 5000], ids=["long", "deep"]
)
def test_a_monstrous_line_is_rejected_and_the_others_are_read(line):
    rows = read(b'{"id": "1", "text": "a"}\n' + line + b'\n{"id": "3", "text": "c"}\n')
    assert {row.number if isinstance(row, BadRow) else row[1][0] for row in rows} == {"1", 2, "3"}


def test_a_line_of_10_mb_in_csv_is_rejected_and_the_others_are_read():
    rows = read(b"id,text\n1,a\n2," + b"x" * 10_000_000 + b"\n3,c\n")
    assert sorted(row.number if isinstance(row, BadRow) else row[0] for row in rows) == [2, 3, 4]
    assert sum(isinstance(row, BadRow) for row in rows) == 1


def test_broken_utf8_is_left_for_the_row_to_be_rejected():
    assert good(b"id,text\n1,caf\xe9\n2,fine\n") == [["1", "caf\udce9"], ["2", "fine"]]
    table = pa.table({"id": ["1"], "text": pa.array([b"caf\xe9"], pa.binary()).view(pa.string())})
    out = io.BytesIO()
    pq.write_table(table, out)
    assert good(out.getvalue()) == [["1", "caf\udce9"]]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(csv_bytes(ROWS * 50))[:60], "damaged or cut off"),
        (zstandard.compress(csv_bytes([["1", str(random.random())] for _ in range(999)]))[:-99], "cut off"),
        (gzip.compress(gzip.compress(csv_bytes())), "compressed twice"),
        (b"PAR1" + b"\0" * 50 + b"PAR1", "Parquet file is damaged"),
        (b"PK\x03\x04 not a workbook", "damaged ZIP"),
        (b"\xd0\xcf\x11\xe0 old", "Save it as .xlsx"),
        (b'[{"text": "a"}]', "jq"),
        (b"{}\n", "No line"),
        (b"i\0d\0,\0", "UTF-16"),
        (b"caf\xe9,text\n1,a\n", "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_says_why(data, words):
    with pytest.raises(UnreadableFileError, match=words):
        list(read(data))


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(UnreadableFileError, match=r"no column named tweet\. It has: id, text"):
        read(csv_bytes(), wanted=["tweet"])


def test_an_archive_that_is_no_workbook_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("tweets.csv", "id,text\n")
    with pytest.raises(UnreadableFileError, match="ZIP archive"):
        read(out.getvalue())


def test_lines_after_a_monstrous_one_keep_their_numbers():
    rows = read(b'{"id": "1", "text": "a"}\n' + b"x" * 3_000_000 + b'\n{"id": "3", "text": "c"}\n')
    assert sorted(row.number if isinstance(row, BadRow) else row[0] for row in rows) == [1, 2, 3]


def test_several_zstd_frames_are_one_file():
    data = csv_bytes()
    assert good(zstandard.compress(data[:20]) + zstandard.compress(data[20:])) == ROWS


def test_json_keys_inside_keys_and_known_exports_are_columns():
    line = {
        "data": {"text": "hello", "id": 7},
        "annotations": [{"result": [{"value": {"choices": ["A", "B"]}}]}],
        "accept": ["X"],
    }
    data = json.dumps(line).encode()
    sheet = open_sheet(io.BytesIO(data), limits=Limits())
    assert sheet.columns == ["data.text", "data.id", "annotations.choices", "accept"]
    assert good(data, wanted=sheet.columns) == [["hello", 7, ["A", "B"], ["X"]]]


def test_parquet_keeps_lists_integers_and_times():
    when = datetime.datetime(2019, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    table = pa.table(
        {"id": [2**62 + 1], "tags": [["a", "b"]], "at": pa.array([when], pa.timestamp("ns", "UTC"))}
    )
    out = io.BytesIO()
    pq.write_table(table, out)
    assert good(out.getvalue(), wanted=["id", "tags", "at"]) == [[2**62 + 1, ["a", "b"], when]]


def test_columns_without_or_with_the_same_name_stay_apart():
    sheet = open_sheet(io.BytesIO(b"text,,text\n1,2,3\n"), limits=Limits())
    assert sheet.columns == ["text", "column 2", "text (2)"]


# Bombs ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_stopped_early(pack):
    bomb = pack(b"id,text\n" + b"1," + b"0" * 100 * 1024 * 1024)
    with pytest.raises(UnreadableFileError, match="200 times its size"):
        list(read(bomb))


def test_too_many_columns_are_refused():
    with pytest.raises(UnreadableFileError, match="more than 2,000"):
        read(",".join(f"c{n}" for n in range(100_000)).encode() + b"\n1\n")
    with pytest.raises(UnreadableFileError, match="more than 2,000"):
        read(json.dumps({f"c{n}": 1 for n in range(3_000)}).encode())
    with pytest.raises(UnreadableFileError, match="more than 2,000"):
        read(parquet_bytes({f"c{n}": [1] for n in range(3_000)}))


@pytest.mark.slow
def test_parquet_that_declares_a_billion_rows_is_refused():
    out = io.BytesIO()
    schema = pa.schema([("text", pa.string())])
    with pq.ParquetWriter(out, schema) as writer:
        column = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000_000, pa.int8()), ["x"]).cast(pa.string())
        writer.write_table(pa.table([column], schema=schema))
    assert len(out.getvalue()) < 100_000
    with pytest.raises(UnreadableFileError, match="declares 5,000,000 rows"):
        read(out.getvalue(), wanted=["text"])


@pytest.mark.slow
def test_a_workbook_that_unpacks_to_too_much_is_refused():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"0" * 200 * 1024 * 1024)
    with pytest.raises(UnreadableFileError, match="unpacks to"):
        read(out.getvalue())


def test_a_parquet_column_that_fills_the_memory_fails_in_the_child_alone(tmp_path):
    """A dictionary of one long text, repeated: small on disk, gigabytes when unpacked."""
    path = tmp_path / "bomb.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 40_000, pa.int32()), ["x" * 500_000])
    pq.write_table(pa.table({"text": column}), path)
    with pytest.raises(UnreadableFileError, match=r"memory|damaged|unpacked"):
        reader_process.first_rows(str(path), name="bomb.parquet")


@pytest.mark.slow
def test_fifty_damaged_parquet_files_each_give_a_clear_error_or_rows(tmp_path):
    whole = bytearray(parquet_bytes({"id": [str(n) for n in range(500)], "text": ["some words"] * 500}))
    randomly = random.Random(7)
    for number in range(50):
        data = whole.copy()
        for _ in range(3):
            data[randomly.randrange(4, len(data))] ^= 1 << randomly.randrange(8)
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(data)
    requests = [str(path) for path in tmp_path.iterdir()]
    outcomes: list[object] = []
    for path in requests[:8]:  # through the child process
        try:
            outcomes.append(len(reader_process.first_rows(path, name="x")["rows"]))
        except UnreadableFileError as error:
            outcomes.append(str(error))
    for path in requests[8:]:  # the same reader; a child for each would take long
        try:
            with open(path, "rb") as stream:
                sheet = open_sheet(stream, limits=Limits())
                outcomes.append(sum(1 for _ in sheet.rows(sheet.columns)))
        except (UnreadableFileError, MemoryError) as error:
            outcomes.append(str(error))
    assert len(outcomes) == 50


def test_the_child_has_none_of_the_secrets(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "s")
    monkeypatch.setenv("DATABASE_URL", "d")
    assert not {"SECRET_KEY", "DATABASE_URL"} & set(reader_process._environment())


def test_rows_are_taken_apart_as_they_are_asked_for():
    """A preview looks at 200 of 16,000."""

    class Column(list[str]):
        def __getitem__(self, place):
            asked.append(place)
            return super().__getitem__(place)

    class OneBlock(Sheet):
        def blocks(self, wanted):
            yield Block(np.arange(3), [Column(["a", "b", "c"])], [BadRow(1, "why")])

    asked: list[int] = []
    assert next(OneBlock().rows(["text"])) == (0, ["a"])
    assert asked == [0]


# Round trips ---------------------------------------------------------------------------------------------

CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=20))
def test_whatever_csv_writes_is_read_back(rows):
    assert good(csv_bytes([list(row) for row in rows])) == [list(row) for row in rows]


def in_order(rows):
    return sorted(
        (row.number, "", row.reason, row.content) if isinstance(row, BadRow) else (row[0], *row[1])
        for row in rows
    )


def by_the_csv_module(monkeypatch, data: bytes, **options):
    """All of it by the tolerant reader, none by Arrow."""
    with monkeypatch.context() as patch:
        patch.setattr(
            csv_sheet, "plain_records", lambda text, **_: plain_csv.plain_records(b"", delimiter=",", limit=1)
        )
        return in_order(read(data, **options))


LETTERS = st.sampled_from(
    [
        b"a",
        b"b c",
        b",",
        b",",
        b'"',
        b'""',
        b'",',
        b',"',
        b'"\n',
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        "é".encode(),
        b"\xe9",
    ]
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(letters=st.lists(LETTERS, max_size=40), limit=st.sampled_from([5, 1000]))
def test_arrow_and_the_csv_module_read_the_same_records(monkeypatch, letters, limit):
    data = b"id,text\n" + b"".join(letters)
    limits = Limits(line_chars=limit + 7)
    assert in_order(read(data, limits=limits)) == by_the_csv_module(monkeypatch, data, limits=limits)


@pytest.mark.parametrize("size", [40, 1000])
def test_blocks_of_any_size_give_the_same_rows(monkeypatch, size):
    rows = [
        [str(n), ["plain", 'says "so"', "a, b", "two\nlines", "", "\U0001f44d"][n % 6]] for n in range(300)
    ]
    data = (
        csv_bytes(rows).replace(b"77,", b"77,a,b,").replace(b"99,", b"\r\n99,") + b'301,stray "quote\n302,end'
    )
    expected = by_the_csv_module(monkeypatch, data)
    monkeypatch.setattr(csv_sheet, "BLOCK_BYTES", size)
    assert in_order(read(data)) == expected
    assert in_order(read(gzip.compress(data))) == expected


def test_plain_records_are_read_by_arrow_alone(monkeypatch):
    def only_the_end(sheet, picks, until):
        assert not list(sheet.lines)
        sheet.ended = True
        return iter(())

    monkeypatch.setattr(csv_sheet.CsvSheet, "_tolerant_rows", only_the_end)
    rows = [["1", "a, b"], ["2", 'says "hi"'], ["3", "two\nlines"], ["4", ""]]
    assert good(csv_bytes(rows)) == rows
