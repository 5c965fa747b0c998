"""Celery tasks: thin. Each takes an id, is safe to run twice, and calls one domain function."""

from __future__ import annotations

from collections.abc import Callable

from celery import shared_task

from labeling import jobs
from labeling.jobs import Progress
from labeling.models import Job

Work = Callable[[Job, Progress], None]


def work_for(kind: str) -> Work:
    """The domain function that does a kind of job. Imported here, so that a worker loads only what it runs."""
    if kind == Job.Kind.TRAIN:
        return train_and_score
    raise jobs.JobError(f"No worker knows how to run a job of kind {kind}.")


def train_and_score(job: Job, progress: Progress) -> None:
    """Training; then, where it was asked for, the bell for scoring with the new version."""
    from labeling import training

    run = training.train(job, progress)
    if run is not None:
        run_job.delay_on_commit(run.job_id)  # type: ignore[attr-defined]  # of Celery's DjangoTask


@shared_task
def run_job(job_id: int) -> None:
    """Run one job of any kind."""
    kind = Job.objects.values_list("kind", flat=True).get(pk=job_id)
    jobs.run_job(job_id, work_for(kind))


@shared_task
def ring_for_jobs() -> None:
    """Every 15 s: ring again for jobs whose bell was lost with the broker or with a worker."""
    for job_id in jobs.jobs_to_ring_for():
        run_job.delay(job_id)
