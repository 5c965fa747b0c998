"""Jobs: the row is the truth."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from labeling import jobs
from labeling.jobs import Progress
from labeling.models import Job

pytestmark = pytest.mark.django_db


def run(job: Job, work) -> Job | None:
    return jobs.run_job(job.pk, work, heartbeat=False)


def test_a_job_goes_from_queued_to_done_and_keeps_its_figures():
    def work(job: Job, progress: Progress) -> None:
        progress.report(stage="reading", done=3, total=10, detail={"a": 1})

    job = run(jobs.create_job(Job.Kind.IMPORT), work)
    assert job is not None
    assert (job.state, job.stage, job.done, job.total, job.detail) == ("done", "reading", 3, 10, {"a": 1})
    assert job.finished_at is not None


def test_running_it_twice_does_the_work_once():
    calls = []
    job = jobs.create_job(Job.Kind.IMPORT)
    run(job, lambda job, progress: calls.append(1))
    assert run(job, lambda job, progress: calls.append(2)) is None
    assert calls == [1]


def test_a_second_job_with_the_same_key_is_refused_and_named():
    first = jobs.create_job(Job.Kind.TRAIN, exclusive_key="train")
    with pytest.raises(jobs.AlreadyRunning) as refusal:
        jobs.create_job(Job.Kind.TRAIN, exclusive_key="train")
    assert refusal.value.job == first
    run(first, lambda job, progress: None)
    jobs.create_job(Job.Kind.TRAIN, exclusive_key="train")


def test_a_failure_for_the_user_keeps_its_words():
    def work(job: Job, progress: Progress) -> None:
        raise jobs.JobError("The file is empty. Choose another.")

    job = run(jobs.create_job(Job.Kind.IMPORT), work)
    assert job is not None
    assert (job.state, job.error) == ("failed", "The file is empty. Choose another.")


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_at_its_next_report():
    queued = jobs.create_job(Job.Kind.IMPORT)
    jobs.request_cancel(queued)
    queued.refresh_from_db()
    assert queued.state == Job.State.CANCELLED

    def work(job: Job, progress: Progress) -> None:
        jobs.request_cancel(job)
        progress.report(stage="next")
        raise AssertionError("went on after the cancel")

    job = run(jobs.create_job(Job.Kind.IMPORT), work)
    assert job is not None
    assert job.state == Job.State.CANCELLED


def test_an_abandoned_job_is_taken_over_and_the_first_worker_may_write_no_more():
    job = jobs.create_job(Job.Kind.IMPORT)
    first = jobs.claim_job(job.pk)
    assert first is not None
    assert jobs.claim_job(job.pk) is None
    Job.objects.filter(pk=job.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert jobs.jobs_to_ring_for() == [job.pk]
    second = jobs.claim_job(job.pk)
    assert second is not None
    with pytest.raises(jobs.Superseded):
        Progress(first).report(stage="late")
    Progress(second).report(stage="mine")


def test_a_job_whose_session_has_ended_is_taken_over_after_a_missed_beat():
    job = jobs.create_job(Job.Kind.IMPORT)
    jobs.claim_job(job.pk)
    a_beat_ago = timezone.now() - timedelta(seconds=10)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=a_beat_ago)
    assert jobs.claim_job(job.pk) is None  # slow, perhaps, but there
    Job.objects.filter(pk=job.pk).update(backend_pid=2**31 - 1)  # no process has this number
    assert jobs.claim_job(job.pk) is not None
