"""Imports: what gets in, what does not and why, twice, interrupted, in several batches."""

from __future__ import annotations

import csv
import datetime
import hmac
import io
import json
import threading
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from labeling import jobs, search_index
from labeling.identity import AuthorHasher, dedupe_keys
from labeling.imports import importing, known_keys, preparing, reader_process, writing
from labeling.imports.batches import read_message
from labeling.imports.mapping import BadCellError, Mapping, date_of, guess_mapping, id_of, tags_of
from labeling.imports.sheets import Block, UnreadableFileError
from labeling.models import Annotation, Import, Job, Label, Origin, SearchIndex, Source, Tag, Tweet, Verdict
from tests.factories import make_tag

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _private_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.IMPORT_LANES = 1  # in the test's own transaction


@pytest.fixture(autouse=True)
def _reader_in_this_process(request, monkeypatch):
    """The reader's own code without its process, which takes half a second to start; see `own_process`."""
    if "own_process" in request.keywords:
        return

    def first_rows(path, *, name, memory_mb):
        return reader_process._preview({"path": path, "name": name, "limits": {}})

    def prepared_batches(path, *, name, job, memory_mb, waiting):
        pipe = io.BytesIO()
        error = None
        try:
            request = {"path": path, "name": name, "limits": {}, "job": json.loads(json.dumps(asdict(job)))}
            reader_process._prepare(request, pipe)
        except UnreadableFileError as raised:
            error = raised
        pipe.seek(0)
        while (message := read_message(pipe)) is not None:
            yield message
        if error:
            raise error

    monkeypatch.setattr(importing, "first_rows", first_rows)
    monkeypatch.setattr(importing, "prepared_batches", prepared_batches)


own_process = pytest.mark.own_process


@pytest.fixture
def file(tmp_path):
    """file(lines or bytes, name) writes a file and returns its path."""

    def write(content: bytes | str, name: str = "tweets.csv") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def run(path: str, *, source: Source = Source.GENERAL, work=importing.work, **mapping) -> Import:
    """Import through the job, by the guessed columns and `mapping`."""
    sample = importing.sample_of(path, name=path)
    guessed = importing.guess(sample)
    for part, name in mapping.items():
        setattr(guessed, part, name)
    row = Import.objects.create(source=source, file_name=Path(path).name)
    job = importing.start(row, guessed, user=None, path=path)
    jobs.run_job(job.pk, work, heartbeat=False)
    row.refresh_from_db()
    return row


def counts(row: Import) -> tuple[int, int, int]:
    assert row.imported + row.duplicates + row.rejected == row.rows_read
    return row.imported, row.duplicates, row.rejected


def error_of(row: Import) -> str:
    job = Job.objects.get(import_row=row)
    assert job.state == Job.State.FAILED
    return job.error


def hash_of(author: str) -> UUID:
    return UUID(bytes=AuthorHasher(importing.author_key()).hash(author))


def rejected(row: Import) -> list[tuple[int, str]]:
    return [(int(line), reason) for line, reason, _ in importing.first_rejected(row, 100)]


@own_process
def test_a_file_that_ends_with_a_full_batch_ends_well(file, settings):
    settings.IMPORT_BATCH_ROWS = 100
    row = run(file("id,text\n" + "".join(f"{n},tweet number {n}\n" for n in range(300))))
    assert counts(row) == (300, 0, 0)
    assert Job.objects.get(import_row=row).state == Job.State.DONE


@pytest.mark.slow
@own_process
def test_everything_of_a_row_is_kept(file):
    make_tag("alpha")
    row = run(
        file('id,author,text,created_at,tags,verdict\n007,@ann,"Tab\there, \\N and\nnew line 👍",'
             "Wed Oct 10 20:19:24 +0000 2018,Alpha,DA\n"),
        source=Source.SPECIFIC,
    )  # fmt: skip
    assert counts(row) == (1, 0, 0)
    tweet = Tweet.objects.get()
    assert (tweet.external_id, tweet.text) == ("007", "Tab\there, \\N and\nnew line 👍")
    assert tweet.posted_at == datetime.datetime(2018, 10, 10, 20, 19, 24, tzinfo=datetime.UTC)
    assert tweet.author_hash == hash_of("@ann")
    assert "ann" not in str(tweet.author_hash)
    label = Label.objects.get()
    assert (label.verdict, label.verdict_origin) == (Verdict.DA, Origin.IMPORT)
    assert label.tag_ids == [Tag.objects.get().pk]
    annotation = Annotation.objects.get()
    assert (annotation.origin, annotation.annotator, annotation.tweet) == (Origin.IMPORT, None, tweet)


def test_the_same_file_twice_adds_nothing(file):
    path = file("id,text\n1,one\n2,two\n2,two again\n")
    assert counts(run(path)) == (2, 1, 0)
    assert counts(run(path)) == (0, 3, 0)
    assert Tweet.objects.count() == 2


@pytest.mark.parametrize("most", [known_keys.MOST, 1 << 9])
def test_of_a_larger_file_the_rows_that_are_in_are_found(file, monkeypatch, settings, most):
    """Which are in is read at its beginning; with few marks for so many keys, most are asked about besides."""
    settings.IMPORT_BATCH_ROWS = 40
    monkeypatch.setattr(known_keys, "FEWEST", 1 << 9)
    monkeypatch.setattr(known_keys, "MOST", most)
    monkeypatch.setattr(known_keys, "PIECE", 7)
    run(file("id,text\n" + "".join(f"{n},text {n}\n" for n in range(0, 60, 3))))
    asked: list[int] = []
    present = writing._present

    def counting(cursor, keys):
        asked.append(len(keys))
        return present(cursor, keys)

    monkeypatch.setattr(writing, "_present", counting)
    lines = [f"{n},text {n}\n" for n in range(200)]
    assert counts(run(file("id,text\n" + "".join([*lines, *lines[:10]])))) == (180, 30, 0)
    assert sum(asked) < 200
    assert Tweet.objects.count() == 200


def test_of_a_smaller_file_the_index_is_asked_about_every_row(file, monkeypatch):
    run(file("id,text\n" + "".join(f"{n},text {n}\n" for n in range(60))))
    monkeypatch.setattr(known_keys, "Marks", None)
    assert counts(run(file("id,text\n1,text\n60,text\n61,text\n"))) == (2, 1, 0)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30), max_size=8))
def test_marks_never_miss_a_key(batches):
    marks, known = known_keys.Marks(1), set()
    for batch in batches:
        keys = np.unique(np.array(batch, np.int64))
        found = marks.may_be_in(keys).tolist()
        assert all(found[n] for n, key in enumerate(keys.tolist()) if key in known)
        known |= set(keys.tolist())


@given(st.lists(st.integers(-5, 5)))
def test_the_first_of_rows_alike_is_written(keys):
    found = writing._first_of_each(np.array(keys, np.int64))
    expected = np.unique(np.array(keys, np.int64), return_index=True)
    assert [values.tolist() for values in found] == [values.tolist() for values in expected]


def test_the_later_rows_of_an_import_wait_for_a_search_index_of_their_own(file, settings, monkeypatch):
    monkeypatch.setattr(search_index, "SEGMENT_AFTER", 25)
    settings.IMPORT_BATCH_ROWS = 10
    path = file("id,text\n" + "".join(f"{n},text {n}\n" for n in range(60)))
    assert counts(run(path)) == (60, 0, 0)
    found = dict(Tweet.objects.values_list("external_id", "search_segment"))
    assert found == {str(n): int(n >= 20) for n in range(60)}  # from the batch on that goes beyond 25
    assert counts(run(path)) == (0, 60, 0)
    assert SearchIndex.objects.count() == 1


def test_the_first_batches_are_small_and_grow_slowly_so_that_the_last_one_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(preparing, "FIRST_ROWS", 10)
    job = preparing.Job(source=1, import_id=1, mapping=Mapping(text="text").as_json(), batch_rows=30)
    preparer = preparing.Preparer(job)
    rows = Block(np.arange(100), [pa.array([f"text {n}" for n in range(100)])])
    assert [batch.end for batch in preparer.add(rows, 0.5)] == [10, 20, 30, 40, 50, 62, 77, 96]


def test_a_large_batch_is_written_in_the_order_of_its_keys_and_a_small_one_in_that_of_the_file(
    file, monkeypatch
):
    run(file("id,text\n" + "".join(f"a{n},text {n}\n" for n in range(50))))
    assert [tweet.external_id for tweet in Tweet.objects.order_by("id")] == [f"a{n}" for n in range(50)]
    monkeypatch.setattr(writing, "LARGE", 20)
    monkeypatch.setattr(writing, "PIECE_ROWS", 7)
    run(file("id,text\n" + "".join(f"b{n},text {n}\n" for n in range(50))))
    tweets = list(Tweet.objects.filter(external_id__startswith="b").order_by("id"))
    assert [tweet.dedupe_key for tweet in tweets] == sorted(tweet.dedupe_key for tweet in tweets)
    assert {(tweet.external_id, tweet.text) for tweet in tweets} == {
        (f"b{n}", f"text {n}") for n in range(50)
    }


def test_odd_rows_keep_their_place_among_those_that_are_read_by_columns(file):
    make_tag("alpha")
    lines = [
        {"id": "1", "text": "one", "author": "ann", "date": "2020-01-02T03:04:05Z"},
        {
            "id": 2.0,
            "text": " two",
            "author": " ann ",
            "date": "Thu, 02 Jan 2020 03:04:05 GMT",
            "tags": ["alpha"],
        },
        {"id": "3", "text": "  "},
        {"id": None, "text": "four", "author": None, "date": "soon"},
        {"id": " 5", "text": 5, "tags": []},
    ]
    row = run(file("".join(json.dumps(line) + "\n" for line in lines), "tweets.jsonl"))
    assert counts(row) == (4, 0, 1)
    assert rejected(row) == [(3, "The row has no text.")]
    assert row.undated == 1
    first, second, third, last = Tweet.objects.order_by("id")
    assert (first.external_id, first.text, first.posted_at) == ("1", "one", second.posted_at)
    assert first.author_hash == second.author_hash == hash_of("ann")
    assert (second.external_id, second.text) == ("2", " two")
    assert (third.external_id, third.text, third.author_hash, third.posted_at) == ("", "four", None, None)
    assert (last.external_id, last.text) == ("5", "5")
    assert set(Label.objects.values_list("tweet_id", flat=True)) == {second.pk, last.pk}
    keys = dedupe_keys(Source.GENERAL, [("1", "one"), ("2", " two"), ("", "four"), ("5", "5")])
    assert [tweet.dedupe_key for tweet in (first, second, third, last)] == keys.tolist()


def test_the_same_id_is_another_tweet_in_the_other_source(file):
    path = file("id,text\n1,one\n")
    run(path, source=Source.GENERAL)
    assert counts(run(path, source=Source.SPECIFIC)) == (1, 0, 0)
    assert Tweet.objects.with_external_id("1").count() == 2


def test_without_ids_equal_texts_are_one_tweet(file):
    assert counts(run(file("text\none\ntwo\none\n"))) == (2, 1, 0)


def test_bad_rows_are_listed_with_line_and_reason_and_all_others_are_in(file):
    data = b"id,text\n1,fine\n2,caf\xe9\n3\n4,\n5,\x00\n6,nul\x00byte\n7,last\n1.2E+18,rounded\n"
    row = run(file(data))
    assert counts(row) == (3, 0, 5)
    assert [(line, reason.split()[0]) for line, reason in rejected(row)] == [
        (3, "The"), (4, "The"), (5, "The"), (6, "The"), (9, "The"),
    ]  # fmt: skip
    reasons = dict(rejected(row))
    assert "not valid UTF-8" in reasons[3]
    assert "1 cells" in reasons[4]
    assert reasons[5] == reasons[6] == "The row has no text."
    assert "spreadsheet has rounded" in reasons[9]
    assert Tweet.objects.get(external_id="6").text == "nulbyte"


def test_rejected_cells_cannot_become_formulas(file):
    row = run(file("text,id\n=cmd(),ok,no\n"))
    assert importing.first_rejected(row, 5)[0][2].startswith("'=cmd()")


def test_a_date_that_cannot_be_read_costs_the_date_and_not_the_tweet(file):
    row = run(file("text,date\none,soon\ntwo,2019-05-06\nthree,\n"))
    assert counts(row) == (3, 0, 0)
    assert row.undated == 1
    assert Tweet.objects.filter(posted_at__isnull=True).count() == 2


@pytest.mark.parametrize(
    ("policy", "imported", "names"),
    [("reject", 1, {"alpha"}), ("ignore", 3, {"alpha"}), ("create", 3, {"alpha", "beta", "Two words"})],
)
def test_unknown_tags(file, policy, imported, names):
    make_tag("alpha")
    row = run(file("text,tags\na,alpha\nb,alpha|beta\nc,Two  words|BETA\n"), unknown_tags=policy)
    assert row.imported == imported
    assert set(Tag.objects.values_list("name", flat=True)) == names
    if policy == "reject":
        assert rejected(row)[0] == (3, "Unknown tag: beta.")
    if policy == "ignore":
        assert Label.objects.filter(tag_ids=[]).count() == 1


@pytest.mark.slow
def test_a_wrong_column_of_tags_does_not_flood_the_project(file):
    lines = "".join(f"text {n},tag{n}\n" for n in range(250))
    row = run(file("text,tags\n" + lines), unknown_tags="create")
    assert (row.imported, row.rejected) == (200, 50)
    assert Tag.objects.count() == 200


def test_tags_as_json_lists_and_as_columns_of_0_and_1(file):
    make_tag("a")
    make_tag("b")
    lines = [{"text": "x", "tags": ["a", "b"]}, {"text": "y", "tags": []}, {"text": "z", "tags": None}]
    run(file("\n".join(map(json.dumps, lines)), "tweets.jsonl"))
    assert {
        label.tweet.text: len(label.tag_ids or []) for label in Label.objects.select_related("tweet")
    } == {
        "x": 2,
        "y": 0,
    }
    row = run(file("text,a,b\np,1,0\nq,0,0\nr,,\ns,1,maybe\n"), tag_columns=["a", "b"])
    assert rejected(row) == [(5, "The column b says “maybe” where 0 or 1 belongs.")]
    assert Label.objects.get(tweet__text="p").tag_ids == [Tag.objects.get(name="a").pk]
    assert Label.objects.get(tweet__text="q").tag_ids == []
    assert not Label.objects.filter(tweet__text="r").exists()


def test_verdicts_by_any_of_their_names(file, settings):
    settings.VERDICT_DA, settings.VERDICT_NDA = "User", "Other"
    words = ["DA", "nda", "unsure", "1", "0", "user", "OTHER", "", "perhaps"]
    row = run(
        file("text,verdict\n" + "".join(f"t{n},{word}\n" for n, word in enumerate(words))), verdict="verdict"
    )
    assert rejected(row) == [(10, "The verdict “perhaps” is not known. Use DA, NDA, unsure or nothing.")]
    found = dict(Label.objects.order_by("tweet_id").values_list("tweet__text", "verdict"))
    assert found == {"t0": 1, "t1": 0, "t2": 2, "t3": 1, "t4": 0, "t5": 1, "t6": 0}


def test_numeric_ids_of_a_workbook_are_refused_when_they_are_rounded(tmp_path):
    book = openpyxl.Workbook()
    for line in (
        ["id", "text"],
        [1234567890123456789, "long"],
        [42, "short"],
        ["1234567890123456789", "text"],
    ):
        book.active.append(line)
    book.save(tmp_path / "t.xlsx")
    row = run(str(tmp_path / "t.xlsx"))
    assert counts(row) == (2, 0, 1)
    assert "Format the id column as text" in rejected(row)[0][1]
    assert set(Tweet.objects.values_list("external_id", flat=True)) == {"42", "1234567890123456789"}


def test_a_file_of_a_header_alone_says_so(file):
    assert error_of(run(file("id,text\n"))) == "The file names its columns but has no rows."


@pytest.mark.slow
@own_process
def test_a_file_that_breaks_off_keeps_the_rows_before(file, settings):
    import gzip
    import random

    settings.IMPORT_BATCH_ROWS = 1000
    lines = "".join(f"{n},{random.Random(n).random()}\n" for n in range(40_000))
    whole = gzip.compress(b"id,text\n" + lines.encode())
    row = run(file(whole[: len(whole) // 2], "tweets.csv.gz"))
    assert "damaged or cut off" in error_of(row)
    assert row.imported > 5_000
    assert counts(row) == (Tweet.objects.count(), 0, row.rejected)


@pytest.mark.slow
@own_process
def test_a_reader_that_is_ready_takes_the_next_file_and_ends_when_nobody_needs_it(file):
    def waiting():
        reader_process.get_ready()
        return reader_process._ready[0]

    path, first = file("text\na\n"), waiting()
    assert waiting() is first
    assert reader_process.first_rows(path, name="tweets.csv")["columns"] == ["text"]
    assert first.poll() is not None
    second = waiting()
    second.kill()
    second.wait()
    assert reader_process.first_rows(path, name="tweets.csv")["columns"] == ["text"]
    third = waiting()
    third.stdin.close()  # as when its parent ends
    assert third.wait(timeout=20) == 0
    reader_process._ready.clear()


@own_process
def test_a_file_that_is_gone_fails_with_words(file):
    path = file("text\na\n")
    row = Import.objects.create(source=Source.GENERAL, file_name="x")
    job = importing.start(row, Mapping(text="text"), user=None, path=path)
    Path(path).unlink()
    jobs.run_job(job.pk, importing.work, heartbeat=False)
    assert "cannot be opened" in error_of(Import.objects.get())


# Batches, kills, two at once -----------------------------------------------------------------------------


def numbered(count: int) -> str:
    lines = [f"{n},text {n},{'alpha' if n % 3 else 'unheard-of'}\n" for n in range(count)]
    return "id,text,tags\n" + "".join(lines)


def test_an_import_that_is_killed_goes_on_where_it_stopped_and_its_counts_stay_right(
    file, settings, monkeypatch
):
    make_tag("alpha")
    settings.IMPORT_BATCH_ROWS = 10
    path = file(numbered(95) + "5,again,alpha\n")
    row = Import.objects.create(source=Source.GENERAL, file_name="x")
    job = importing.start(row, Mapping(text="text", id="id", tags="tags"), user=None, path=path)

    whole, killed_at = writing.Writing._count, 4

    def dies(writing, imported):
        nonlocal killed_at
        killed_at -= 1
        if not killed_at:
            raise KeyboardInterrupt
        whole(writing, imported)

    monkeypatch.setattr(writing.Writing, "_count", dies)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_job(job.pk, importing.work, heartbeat=False)
    row.refresh_from_db()
    assert row.rows_read == 30
    assert Tweet.objects.count() == row.imported == 20
    monkeypatch.undo()

    settings.IMPORT_BATCH_ROWS = 10
    settings.IMPORT_LANES = 1
    Job.objects.update(heartbeat_at=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    jobs.run_job(job.pk, importing.work, heartbeat=False)
    row.refresh_from_db()
    assert Job.objects.get(pk=job.pk).state == Job.State.DONE
    assert counts(row) == (63, 1, 32)
    assert Tweet.objects.count() == Label.objects.count() == 63
    assert len(importing.first_rejected(row, 100)) == 32


def test_an_import_goes_on_after_a_tag_that_it_brought_was_renamed(file, settings):
    settings.IMPORT_BATCH_ROWS = 10
    path = file("id,text,tags\n" + "".join(f"{n},words {n},opiods\n" for n in range(30)))

    def work(job, progress):
        def stop_after_the_first(**news):
            if news.get("stage") == "Importing":
                raise jobs.Cancelled

        progress.report = stop_after_the_first
        importing.work(job, progress)

    row = run(path, work=work, unknown_tags="create")
    assert 0 < row.rows_read < 30
    Tag.objects.update(name="opioids")
    job = importing.resume(row, user=None)
    jobs.run_job(job.pk, importing.work, heartbeat=False)
    row.refresh_from_db()
    assert (Job.objects.latest("id").error, row.imported) == ("", 30)


def test_a_worker_that_lost_its_job_writes_no_more(file, settings):
    settings.IMPORT_BATCH_ROWS = 10
    path = file(numbered(30))
    make_tag("alpha")

    def work(job, progress):
        Import.objects.filter(job=job).update(rows_read=3)  # as the other worker would
        importing.work(job, progress)

    row = run(path, work=work)
    assert Tweet.objects.count() == 0
    assert error_of(row) == "The file has changed since the import began. Import it again."


@pytest.mark.django_db(transaction=True)
def test_two_lanes_give_what_one_gives(file, settings):
    settings.IMPORT_LANES, settings.IMPORT_BATCH_ROWS = 2, 20
    make_tag("alpha")
    path = file(numbered(300) + numbered(50).split("\n", 1)[1])
    row = run(path)
    assert counts(row) == (200 - 1 + 1, 33, 117)
    assert Tweet.objects.count() == Label.objects.count() == 200
    assert counts(run(path)) == (0, 233, 117)


@pytest.mark.django_db(transaction=True)
def test_a_lane_that_fails_stops_the_import_with_whole_batches_only(file, settings, monkeypatch):
    settings.IMPORT_LANES, settings.IMPORT_BATCH_ROWS = 2, 20
    whole = writing.Writing._count

    def fails(writing, imported):
        if writing.batch.start == 100:
            raise RuntimeError("disk full")
        whole(writing, imported)

    monkeypatch.setattr(writing.Writing, "_count", fails)
    row = run(file("id,text\n" + "".join(f"{n},t {n}\n" for n in range(300))))
    assert "disk full" in error_of(row)
    assert Tweet.objects.count() == row.imported == row.rows_read == 100


@pytest.mark.slow
@own_process
@pytest.mark.django_db(transaction=True)
def test_two_imports_of_one_file_at_once_add_it_once(file):
    path = file(numbered(50).replace("unheard-of", "alpha"))
    make_tag("alpha")

    def in_thread():
        try:
            run(path)
        finally:
            connection.close()

    threads = [threading.Thread(target=in_thread) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Tweet.objects.count() == 50
    assert sorted(counts(row) for row in Import.objects.all()) == [(0, 50, 0), (50, 0, 0)]


# Command -------------------------------------------------------------------------------------------------


@own_process
def test_the_command_ends_with_one_line_of_figures(file, capsys):
    call_command("import_tweets", file(numbered(30)), "--source", "general")
    *_, last = capsys.readouterr().out.strip().splitlines()
    assert last.startswith(
        "imported 30, duplicates 0, rejected 0, erased before 0, without a readable date 0, rows read 30 in"
    )
    assert Tag.objects.count() == 2  # the first import creates its tags


def test_the_command_takes_columns_and_rejects_unknown_tags_when_there_are_tags(file, capsys):
    make_tag("alpha")
    path = file("a;b;c\n1;words;alpha/beta\n2;other;alpha\n")
    call_command(
        "import_tweets", path, "--source", "specific", "--id-column", "a", "--text-column", "b",
        "--tags-column", "c", "--tag-separator", "/",
    )  # fmt: skip
    assert capsys.readouterr().out.startswith("imported 1, duplicates 0, rejected 1")
    assert Tweet.objects.get().external_id == "2"


def test_the_command_reads_standard_input(monkeypatch, capsys):
    stdin = io.TextIOWrapper(io.BytesIO(b'{"tweet": "words", "id_str": "5"}\n'))
    monkeypatch.setattr("sys.stdin", stdin)
    call_command("import_tweets", "-", "--source", "general")
    assert Tweet.objects.get().external_id == "5"


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"id,text\n1,a\n", "no column named nope")])
def test_the_command_fails_with_words(file, content, words):
    with pytest.raises(CommandError, match=words):
        call_command("import_tweets", file(content), "--source", "general", "--text-column", "nope")


# Parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2018-10-10T20:19:24Z", "2018-10-10T20:19:24+00:00"),
        ("2018-10-10 22:19:24+02:00", "2018-10-10T22:19:24+02:00"),
        ("2018-10-10", "2018-10-10T00:00:00+00:00"),
        ("Wed Oct 10 20:19:24 +0000 2018", "2018-10-10T20:19:24+00:00"),
        ("Wed, 10 Oct 2018 20:19:24 GMT", "2018-10-10T20:19:24+00:00"),
        ("1539202764", "2018-10-10T20:19:24+00:00"),
        (1539202764, "2018-10-10T20:19:24+00:00"),
        (1539202764000.0, "2018-10-10T20:19:24+00:00"),
        (datetime.date(2018, 10, 10), "2018-10-10T00:00:00+00:00"),
        (None, None),
        ("", None),
    ],
)
def test_dates(cell, expected):
    found = date_of(cell)
    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize("cell", ["soon", "10/10/2018", "2018", 7, True, "9999-01-01", "1e99", "nan", [1]])
def test_what_is_no_date(cell):
    with pytest.raises((ValueError, OverflowError, TypeError)):
        date_of(cell)


def test_ids():
    assert id_of(" 00123 ") == "00123"
    assert id_of(2**63) == str(2**63)
    assert id_of(12.0) == "12"
    assert id_of(None) == id_of(float("nan")) == ""
    for bad in (1.2e18, "1.23457E+18", "x" * 201, [1], True):
        with pytest.raises(BadCellError):
            id_of(bad)


def test_tags_in_a_cell():
    assert tags_of("a; b;a;;", ";") == ["a", "b"]
    assert tags_of('["a", "b c"]', ";") == ["a", "b c"]
    assert tags_of("__label__a __label__b", " ") == ["a", "b"]
    assert tags_of([], ";") == []
    assert tags_of("", ";") is tags_of(None, ";") is None
    for bad in ("[1,", {"a": 1}, "x" * 61, [["a"]]):
        with pytest.raises(BadCellError):
            tags_of(bad, ";")


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        (["id", "created_at", "text", "tags"], [["1", "2019", "a", "x;y"]],
         {"id": "id", "date": "created_at", "text": "text", "tags": "tags", "separator": ";"}),
        (["text", "label"], [["a", ["x"]]], {"text": "text", "tags": "label"}),
        (["text", "label"], [["a", "DA"], ["b", "nda"]], {"text": "text", "verdict": "label", "tags": ""}),
        (["Tweet", "anger", "joy"], [["a", "1", "0"]], {"text": "Tweet", "tag_columns": ["anger", "joy"]}),
        (["data.id", "data.text", "annotations.choices"], [[1, "a", ["x"]]],
         {"id": "data.id", "text": "data.text", "tags": "annotations.choices"}),
        (["text", "verdict"], [["a", "DA"], ["b", "perhaps"], ["c", ""]], {"verdict": "verdict"}),
        (["text", "verdict"], [["a", "DA"], ["b", "perhaps"], ["c", "who knows"]], {"verdict": ""}),
        (["text", "accept", "answer"], [["a", ["x"], "accept"]], {"tags": "accept", "verdict": "answer"}),
        (["nr", "Nachricht"], [["1", "some long words"]], {"text": "Nachricht"}),
    ],
)  # fmt: skip
def test_guesses(columns, rows, expected):
    guessed = guess_mapping(columns, rows)
    assert {part: getattr(guessed, part) for part in expected} == expected


def test_an_author_is_hashed_as_hmac_does():
    for key in ("", "k", "k" * 64, "k" * 65):
        expected = hmac.digest(key.encode(), b"ann", "sha256")[:16]
        assert AuthorHasher(key).hash(" ann ") == expected


def test_the_hash_of_an_id_never_changes():
    """It is stored with every tweet: another value would import everything a second time."""
    keys = dedupe_keys(2, [("17z6er", "ignored"), ("", "some text"), ("id\0x", "")])
    assert keys.dtype == np.int64
    assert keys.tolist() == dedupe_keys(2, [("17z6er", ""), ("", "some text"), ("id\0x", "")]).tolist()
    assert int(keys[0]) == KEY_OF_17Z6ER


KEY_OF_17Z6ER = 6313945629614972171


def test_parquet_of_whole_numbers_and_lists(tmp_path):
    make_tag("a")
    table = pa.table(
        {"id": [2**62], "text": ["words"], "tags": [["a"]], "created_at": [datetime.datetime(2020, 1, 1)]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert counts(run(str(tmp_path / "t.parquet"))) == (1, 0, 0)
    assert Tweet.objects.get().external_id == str(2**62)


def test_rejected_rows_are_a_csv_of_their_own(file):
    row = run(file('text,id\n"a, b",1,2\n'))
    with Path(row.rejected_file.path).open(newline="") as stream:
        assert next(csv.reader(stream)) == ["line", "reason", "row"]
