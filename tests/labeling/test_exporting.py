"""Files out: formats, formulas, constant memory, and labels that come back in."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import tracemalloc

import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from labeling import jobs
from labeling.exporting import UnknownFormatError, export_labels, safe_cell, write_rows
from labeling.imports import importing
from labeling.labels import derive_labels
from labeling.models import AuditEvent, Import, Label, Origin, Source, Tag, Tweet, Verdict
from tests.factories import make_annotation, make_tag, make_tweet

COLUMNS = ["id", "text", "labels", "score", "at", "meta"]
WHEN = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
ROWS = [
    ("1", "=SUM(A1)", ["a", "b|c"], 0.5, WHEN, {"x": 1}),
    ("2", "plain, with comma\nand line", [], -1, None, {}),
    ("3", "@handle", None, None, None, None),
]


def test_csv_is_made_safe_unless_raw(tmp_path):
    write_rows(tmp_path / "a.csv", COLUMNS, ROWS)
    write_rows(tmp_path / "b.csv", COLUMNS, ROWS, raw=True)
    safe, raw = [list(csv.reader((tmp_path / name).open(newline=""))) for name in ("a.csv", "b.csv")]
    assert [row[1] for row in safe[1:]] == ["'=SUM(A1)", "plain, with comma\nand line", "'@handle"]
    assert [row[1] for row in raw[1:]] == [row[1] for row in ROWS]
    assert [row[2] for row in raw[1:]] == ['["a", "b|c"]', "[]", ""]
    assert [row[3] for row in safe[1:]] == ["0.5", "-1", ""]  # numbers are no formulas


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_every_dangerous_start_is_defused(start):
    assert safe_cell(start + "1") == "'" + start + "1"


def test_jsonl_keeps_everything(tmp_path):
    assert write_rows(tmp_path / "a.jsonl.gz", COLUMNS, ROWS) == 3
    lines = [
        json.loads(line) for line in gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()).splitlines()
    ]
    assert lines[0] == {**dict(zip(COLUMNS, ROWS[0], strict=True)), "at": WHEN.isoformat()}
    assert lines[2]["labels"] is None


def test_parquet_keeps_everything(tmp_path):
    write_rows(tmp_path / "a.parquet", COLUMNS, ROWS)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows[0] == {**dict(zip(COLUMNS, ROWS[0], strict=True)), "meta": '{"x": 1}'}
    assert (rows[1]["labels"], rows[2]["labels"]) == ([], None)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.zst"])
def test_no_rows_give_a_whole_file(tmp_path, name):
    assert write_rows(tmp_path / name, COLUMNS, []) == 0
    assert (tmp_path / name).stat().st_size > 0 or name == "a.jsonl"


@pytest.mark.parametrize("name", ["a.txt", "a", "a.parquet.gz", "a.xlsx"])
def test_a_name_without_a_format_is_refused(tmp_path, name):
    with pytest.raises(UnknownFormatError, match=r"\.csv"):
        write_rows(tmp_path / name, COLUMNS, ROWS)


def test_a_failed_export_leaves_no_file(tmp_path):
    def rows():
        yield ROWS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_rows(tmp_path / "a.csv", COLUMNS, rows())
    assert not list(tmp_path.iterdir())


def test_a_stream_is_written_in_place_of_a_file():
    out = io.BytesIO()
    write_rows("flagged.csv", ["a"], [["x"]], stream=out)
    assert out.getvalue() == b"a\r\nx\r\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name):
    rows = (("x" * 200, "y" * 200) for _ in range(60_000))
    tracemalloc.start()
    write_rows(tmp_path / name, ["a", "b"], rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 1024 * 1024  # the rows are 24 MB


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")), max_size=8))
def test_raw_csv_is_read_back_as_it_was(texts):
    out = io.BytesIO()
    write_rows("x.csv", ["n", "text"], [(n, text) for n, text in enumerate(texts)], raw=True, stream=out)
    read = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    assert [row[1] for row in read[1:]] == texts


# Labels --------------------------------------------------------------------------------------------------


@pytest.fixture
def labelled(db, settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.IMPORT_LANES = 1
    alpha, beta = make_tag("alpha"), make_tag("beta, too")
    given = [
        (Verdict.DA, [alpha.pk, beta.pk], Origin.IMPORT),
        (Verdict.UNSURE, None, Origin.IMPORT),
        (None, [], Origin.IMPORT),
        (None, [alpha.pk], Origin.RULE),
    ]
    tweets = [make_tweet(f"@text {n}", posted_at=WHEN, external_id=str(n)) for n in range(5)]
    for tweet, (verdict, tag_ids, origin) in zip(tweets, given, strict=False):
        make_annotation(tweet, verdict=verdict, tag_ids=tag_ids, origin=origin)
    derive_labels([tweet.pk for tweet in tweets])
    return tweets


def test_labels_are_exported_with_split_origin_and_audit(labelled, tmp_path, admin):
    path = tmp_path / "labels.jsonl"
    assert export_labels(path, user=admin) == 4
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["id"], row["labels"], row["verdict"], row["annotator"]) for row in rows] == [
        ("0", ["alpha", "beta, too"], "DA", "import"),
        ("1", None, "unsure", "import"),
        ("2", [], None, "import"),
        ("3", ["alpha"], None, "rule"),
    ]
    assert {row["split"] for row in rows} <= {"train", "validation", "test"}
    event = AuditEvent.objects.get()
    assert (event.action, event.user, event.tweets, event.detail["what"]) == ("export", admin, 4, "labels")


def test_weaker_origins_and_the_other_source_can_be_left_out(labelled, tmp_path):
    assert export_labels(tmp_path / "a.csv", at_least=Origin.IMPORT) == 3
    assert export_labels(tmp_path / "a.csv", source=Source.SPECIFIC) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["labels.jsonl.zst", "labels.parquet", "labels.csv"])
def test_exported_labels_come_back_as_they_were(labelled, tmp_path, name):
    fields = ("tweet__external_id", "tweet__text", "tweet__posted_at", "verdict", "tag_ids")
    before = list(
        Label.objects.filter(verdict_origin=Origin.IMPORT).order_by("tweet_id").values_list(*fields)
    )
    call_command("export_labels", str(tmp_path / name), "--at-least", "import", "--raw")
    Label.objects.all().delete()
    Tweet.objects.all()._raw_delete(Tweet.objects.db)
    sample = importing.sample_of(str(tmp_path / name), name=name)
    row = Import.objects.create(source=Source.GENERAL, file_name=name)
    job = importing.start(row, importing.guess(sample), user=None, path=str(tmp_path / name))
    jobs.run_job(job.pk, importing.work, heartbeat=False)
    row.refresh_from_db()
    assert (row.imported, row.rejected, row.undated) == (3, 0, 0)
    after = Label.objects.filter(verdict_origin=Origin.IMPORT).order_by("tweet_id").values_list(*fields)
    assert list(after) == before
    assert Tag.objects.count() == 2


def test_the_command_says_how_many_and_refuses_unknown_formats(labelled, tmp_path, capsys):
    call_command("export_labels", str(tmp_path / "a.parquet"))
    assert capsys.readouterr().out.startswith("exported 4 labels to")
    with pytest.raises(CommandError, match="does not say the format"):
        call_command("export_labels", str(tmp_path / "a.pdf"))
