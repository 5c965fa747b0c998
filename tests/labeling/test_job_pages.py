"""The page and the polled fragment of a job."""

from __future__ import annotations

import pytest
from django.urls import reverse

from labeling import jobs
from labeling.models import Job
from tests.factories import make_import, make_version

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def job() -> Job:
    return jobs.create_job(Job.Kind.IMPORT)


def test_it_shows_a_queued_job_and_polls(client_of, analyst, job):
    page = client_of(analyst).get(reverse("labeling:job-detail", args=[job.pk]))
    assert page.status_code == 200
    assert b"Waiting for a worker" in page.content
    assert b'hx-trigger="every 2s"' in page.content


def test_the_fragment_polls_until_the_job_has_ended_then_refreshes_the_page(client_of, analyst, job):
    client, url = client_of(analyst), reverse("labeling:job-detail", args=[job.pk])
    fragment = client.get(url, headers=HTMX)
    assert fragment.status_code == 200
    assert b"<html" not in fragment.content
    jobs.run_job(job.pk, lambda job, progress: None, heartbeat=False)
    ended = client.get(url, headers=HTMX)
    assert ended.status_code == 286
    assert ended["HX-Refresh"] == "true"


def test_it_shows_progress_and_the_reason_of_a_failure_as_text(client_of, analyst, job):
    def work(job, progress):
        progress.report(stage="reading", done=1200, total=5000)
        raise jobs.JobError("Column <b>text</b> is missing.")

    jobs.run_job(job.pk, work, heartbeat=False)
    page = client_of(analyst).get(reverse("labeling:job-detail", args=[job.pk])).content.decode()
    assert "1,200 of 5,000" in page
    assert "Column &lt;b&gt;text&lt;/b&gt; is missing." in page


def test_a_reviewer_cancels_and_comes_back(client_of, reviewer, job):
    client = client_of(reviewer)
    answer = client.post(reverse("labeling:job-cancel", args=[job.pk]), {"next": "/"})
    assert answer.status_code == 302
    assert answer["Location"] == "/"
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_cancelling_never_leads_to_another_site(client_of, reviewer, job):
    answer = client_of(reviewer).post(
        reverse("labeling:job-cancel", args=[job.pk]), {"next": "https://example.com/"}
    )
    assert answer["Location"] == reverse("labeling:job-detail", args=[job.pk])


def test_an_analyst_may_look_but_not_cancel_and_an_outsider_may_not_look(client_of, analyst, outsider, job):
    assert client_of(analyst).post(reverse("labeling:job-cancel", args=[job.pk])).status_code == 403
    assert client_of(outsider).get(reverse("labeling:job-detail", args=[job.pk])).status_code == 403


def test_cancel_is_post_only(client_of, reviewer, job):
    assert client_of(reviewer).get(reverse("labeling:job-cancel", args=[job.pk])).status_code == 405


@pytest.mark.parametrize("kind", [Job.Kind.DELETE, Job.Kind.ERASE])
def test_what_an_admin_began_no_reviewer_cancels(client_of, reviewer, admin, kind):
    job = jobs.create_job(kind)
    cancel = reverse("labeling:job-cancel", args=[job.pk])
    shown = reverse("labeling:job-detail", args=[job.pk])
    assert cancel not in client_of(reviewer).get(shown).content.decode()
    assert client_of(reviewer).post(cancel).status_code == 403
    assert cancel in client_of(admin).get(shown).content.decode()
    assert client_of(admin).post(cancel).status_code == 302
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED


def test_an_analyst_is_offered_no_cancel(client_of, analyst, job):
    shown = client_of(analyst).get(reverse("labeling:job-detail", args=[job.pk])).content.decode()
    assert reverse("labeling:job-cancel", args=[job.pk]) not in shown


def test_a_job_leads_to_what_it_was_for(client_of, analyst, job):
    row = make_import(job=job)
    training = jobs.create_job(Job.Kind.TRAIN)
    version = make_version(job=training)
    for job_id, address in (
        (job.pk, reverse("labeling:import-detail", args=[row.pk])),
        (training.pk, reverse("labeling:version-detail", args=[version.number])),
    ):
        page = client_of(analyst).get(reverse("labeling:job-detail", args=[job_id])).content.decode()
        assert f'<a href="{address}">' in page
