"""The import pages: upload, columns, start, result, rejected rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from labeling import jobs
from labeling.imports import importing
from labeling.imports.mapping import Mapping
from labeling.models import AuditEvent, Import, Job, Source, Tweet
from tests.factories import make_import, make_tag, make_tweet

pytestmark = pytest.mark.django_db

CSV = b"id,text,created_at,tags\n1,first words,2019-01-02,alpha|beta\n2,other words,never,alpha\n3,,2019-01-02,\n"


@pytest.fixture(autouse=True)
def _private_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "files"


@pytest.fixture
def page(client_of, reviewer):
    return client_of(reviewer)


def upload(page, data: bytes = CSV, name: str = "tweets.csv", source: int = Source.SPECIFIC):
    return page.post(
        reverse("labeling:import-new"), {"source": source, "file": SimpleUploadedFile(name, data)}
    )


def choices(**changes: str) -> dict[str, str]:
    chosen = {"column-0": "id", "column-1": "text", "column-2": "date", "column-3": "tags"}
    return {**chosen, "separator": "|", "unknown_tags": "create", **changes}


def run(row: Import) -> Import:
    row.refresh_from_db()
    assert row.job_id is not None
    jobs.run_job(row.job_id, importing.work, heartbeat=False)
    row.refresh_from_db()
    return row


def test_from_upload_to_result(page, django_capture_on_commit_callbacks, monkeypatch):
    rung: list[int] = []
    monkeypatch.setattr("labeling.tasks.run_job.delay_on_commit", rung.append)
    answer = upload(page)
    row = Import.objects.get()
    assert answer.url == reverse("labeling:import-mapping", args=[row.pk])

    shown = page.get(answer.url).content.decode()
    assert "first words" in shown
    assert "1 would be rejected" in shown or "3 would be rejected" in shown

    answer = page.post(answer.url, choices())
    assert answer.url == reverse("labeling:import-detail", args=[row.pk])
    row.refresh_from_db()
    assert rung == [row.job_id]
    assert "sample" not in row.mapping

    run(row)
    assert (row.imported, row.duplicates, row.rejected, row.undated, row.rows_read) == (2, 0, 1, 1, 3)
    shown = page.get(answer.url).content.decode()
    assert "The row has no text." in shown
    assert not row.file

    answer = page.get(reverse("labeling:import-rejected", args=[row.pk]))
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0] == "line,reason,row"
    assert lines[1].startswith("4,The row has no text.")
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert AuditEvent.objects.get().detail["import"] == row.pk


def test_a_change_of_the_columns_is_shown_at_once_and_starts_nothing(page):
    upload(page)
    row = Import.objects.get()
    url = reverse("labeling:import-mapping", args=[row.pk])
    answer = page.post(url, choices(unknown_tags="reject"), headers={"hx-request": "true"})
    shown = answer.content.decode()
    assert "<html" not in shown
    assert "Tags that the project does not have" in shown
    assert "3 would be rejected" in shown
    shown = page.post(url, choices(**{"column-1": ""}), headers={"hx-request": "true"}).content.decode()
    assert "Choose the column that holds the text." in shown
    shown = page.post(url, choices(**{"column-0": "text"}), headers={"hx-request": "true"}).content.decode()
    assert "More than one column is the text" in shown
    row.refresh_from_db()
    assert row.job_id is None


def test_the_rows_that_are_shown_cost_no_questions(page, django_assert_num_queries: DjangoAssertNumQueries):
    """Of the database: each row is read twice, with the tags as they are and with those of the file."""

    def mapping_page(rows: int):
        lines = "".join(f"{n},words {n},2024-03-01,a|b\n" for n in range(rows))
        return upload(page, b"id,text,date,tags\n" + lines.encode()).url

    make_tag("a")
    one, many = mapping_page(1), mapping_page(50)
    page.get(one)
    with django_assert_num_queries(6) as few:
        page.get(one)
    with django_assert_num_queries(len(few.captured_queries)):
        page.get(many)


def test_an_import_is_started_once(page, monkeypatch):
    """Two clicks at once: both have seen that it is not started."""
    monkeypatch.setattr("labeling.tasks.run_job.delay_on_commit", lambda pk: None)
    upload(page)
    row = Import.objects.get()
    mapping = Mapping.from_json(row.mapping)
    job = importing.start(Import.objects.get(), mapping, user=None)
    with pytest.raises(jobs.AlreadyRunning):
        importing.start(row, mapping, user=None)
    row.refresh_from_db()
    assert (row.job, Job.objects.count()) == (job, 1)


def test_a_mapping_without_a_text_does_not_start(page):
    upload(page)
    row = Import.objects.get()
    answer = page.post(reverse("labeling:import-mapping", args=[row.pk]), choices(**{"column-1": ""}))
    assert answer.status_code == 400
    assert not Job.objects.exists()


def test_what_else_is_posted_changes_nothing(page, analyst):
    upload(page)
    row = Import.objects.get()
    page.post(
        reverse("labeling:import-mapping", args=[row.pk]),
        choices(source="2", imported="99", created_by=str(analyst.pk), path="/etc/passwd"),
    )
    row.refresh_from_db()
    assert (row.source, row.imported, str(row.created_by)) == (Source.SPECIFIC, 0, "rita")
    assert "path" not in row.mapping


@pytest.mark.parametrize("name", ["../../x.html", "x.html", "a" * 300 + ".csv"])
def test_an_upload_is_kept_under_a_random_name_outside_every_served_folder(page, settings, name):
    upload(page, name=name)
    row = Import.objects.first()
    if row is None:  # Django refuses a name that is too long
        return
    assert re.fullmatch("imports/[0-9a-f]{32}", str(row.file.name))
    assert page.get(f"/{row.file.name}").status_code == 404
    assert page.get(f"/static/{row.file.name}").status_code == 404


def test_a_reader_is_started_when_a_file_begins_to_come(page, settings, monkeypatch):
    """The form may have been shown by another web process."""

    def get_ready() -> None:
        started.append(len(list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir())))

    settings.FILE_UPLOAD_TEMP_DIR = settings.MEDIA_ROOT / "coming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True)
    started: list[int] = []
    monkeypatch.setattr("labeling.imports.reader_process.get_ready", get_ready)
    upload(page)
    assert started[0] == 0  # no byte of it was stored


def test_the_name_of_a_file_is_shown_as_text(page):
    upload(page, name="<img onerror=alert(1)>.csv")
    shown = page.get(reverse("labeling:import-list")).content.decode()
    assert "<img" not in shown
    assert "&lt;img" in shown


@pytest.mark.parametrize("data", [b"PAR1" + b"\0" * 40, b"{}\n", b"\n"])
def test_an_unreadable_upload_is_refused_with_a_reason_and_not_kept(page, settings, data):
    answer = upload(page, data)
    assert answer.status_code == 400
    assert "errorlist" in answer.content.decode()
    assert not Import.objects.exists()
    assert not [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]


def test_an_upload_that_is_too_large_is_refused(page, settings):
    settings.IMPORT_MAX_UPLOAD_MB = 0
    assert upload(page, CSV * 2000).status_code == 400
    assert not Import.objects.exists()


def test_an_upload_can_be_discarded(page, settings):
    upload(page)
    page.post(reverse("labeling:import-discard", args=[Import.objects.get().pk]))
    assert not Import.objects.exists()
    assert not [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_a_cancelled_import_can_go_on(page, monkeypatch):
    monkeypatch.setattr("labeling.tasks.run_job.delay_on_commit", lambda pk: None)
    upload(page)
    row = Import.objects.get()
    page.post(reverse("labeling:import-mapping", args=[row.pk]), choices())
    row.refresh_from_db()
    assert row.job is not None
    jobs.request_cancel(row.job)
    detail = reverse("labeling:import-detail", args=[row.pk])
    assert "Go on with the import" in page.get(detail).content.decode()
    page.post(reverse("labeling:import-resume", args=[row.pk]))
    assert run(row).imported == 2
    assert "Go on with the import" not in page.get(detail).content.decode()


@pytest.mark.slow
def test_known_tags_are_read_in_any_case(page):
    make_tag("Alpha")
    make_tag("beta")
    upload(page)
    row = Import.objects.get()
    page.post(reverse("labeling:import-mapping", args=[row.pk]), choices(unknown_tags="reject"))
    assert run(row).imported == 2
    assert Tweet.objects.count() == 2


def test_the_list_costs_the_same_whatever_its_length(page, django_assert_num_queries: DjangoAssertNumQueries):
    url = reverse("labeling:import-list")
    page.get(url)
    make_import()
    with django_assert_num_queries(8) as few:
        page.get(url)
    for _ in range(60):
        make_import()
    with django_assert_num_queries(len(few.captured_queries)):
        shown = page.get(url).content.decode()
    assert "Older imports" in shown


def test_the_empty_list_says_what_to_do(page):
    assert "Start with the specific tweets" in page.get(reverse("labeling:import-list")).content.decode()


def pages(row: Import) -> list[tuple[str, str]]:
    return [
        ("get", reverse("labeling:import-list")),
        ("get", reverse("labeling:import-new")),
        ("post", reverse("labeling:import-new")),
        *[
            ("get", reverse(f"labeling:import-{name}", args=[row.pk]))
            for name in ("detail", "mapping", "rejected")
        ],
        *[("post", reverse(f"labeling:import-{name}", args=[row.pk])) for name in ("resume", "discard")],
    ]


def test_only_reviewers_and_admins_import(client, client_of, analyst, outsider, admin):
    row = make_import()
    for method, url in pages(row):
        assert getattr(client, method)(url).url.startswith(reverse("log-in"))
        assert getattr(client_of(analyst), method)(url).status_code == 403
        assert getattr(client_of(outsider), method)(url).status_code == 403
        assert getattr(client_of(admin), method)(url).status_code in (200, 302, 400, 404)


def test_wrong_methods_are_refused(page):
    row = make_import()
    for name in ("resume", "discard"):
        assert page.get(reverse(f"labeling:import-{name}", args=[row.pk])).status_code == 405
    assert page.post(reverse("labeling:import-list")).status_code == 405
    assert page.post(reverse("labeling:import-rejected", args=[row.pk])).status_code == 405


def test_the_list_says_how_far_near_copies_were_looked_for(page):
    row = make_import()
    make_tweet("an early one", id=5)
    url = reverse("labeling:import-list")
    assert "have not been compared with each other yet" in page.get(url).text
    detail = {"everything": True, "first_id": 1, "last_id": 5, "last_import": row.pk}
    Job.objects.create(kind=Job.Kind.NEAR_COPIES, state=Job.State.DONE, detail=detail)
    assert "all tweets were compared with each other." in page.get(url).text
    make_tweet("a later one", id=6)
    assert (
        f"import {row.pk}</a> were compared with each other, later ones among themselves"
        in page.get(url).text
    )
