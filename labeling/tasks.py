"""Celery tasks: thin. Each takes an id, is safe to run twice, and calls one domain function."""

from __future__ import annotations

from collections.abc import Callable

from celery import shared_task
from django.conf import settings

from labeling import jobs, search_index
from labeling.jobs import Progress
from labeling.models import Job, ScoringRun

Work = Callable[[Job, Progress], None]


def work_for(kind: str) -> Work:
    """The domain function that does a kind of job. Imported here, so that a worker loads only what it runs."""
    if kind == Job.Kind.IMPORT:
        return import_and_file
    if kind == Job.Kind.SEARCH:
        from labeling import search_building

        return search_building.work
    if kind == Job.Kind.NEAR_COPIES:
        from labeling import near_copies

        return near_copies.work
    if kind == Job.Kind.TRAIN:
        return train_and_score
    if kind == Job.Kind.SCORE:
        from labeling import scoring

        return scoring.work
    if kind == Job.Kind.RULES:
        from labeling import rules

        return rules.apply_rules
    raise jobs.JobError(f"No worker knows how to run a job of kind {kind}.")


def train_and_score(job: Job, progress: Progress) -> None:
    """Training; then, where it was asked for, the bell for scoring with the new version."""
    from labeling import training

    run = training.train(job, progress)
    if run is not None:
        enqueue_scoring(run)


def import_and_file(job: Job, progress: Progress) -> None:
    """An import; then the bell for filing its words in the search index, which is slow until then."""
    from labeling import importing

    filing = importing.work(job, progress)
    if filing is not None:
        enqueue(filing)


# Jobs that take minutes while Postgres works, in a worker of their own: imports and training do not wait for them.
BACKGROUND = {Job.Kind.SEARCH, Job.Kind.NEAR_COPIES, Job.Kind.DELETE}


def queue_of(kind: str) -> str:
    """Scoring needs the database alone: its workers may be on any machine. Other jobs need the files of this one."""
    if kind == Job.Kind.SCORE:
        return "score"
    return "background" if kind in BACKGROUND else "jobs"


def enqueue(job: Job) -> None:
    """Ring for a job, in the worker that does its kind."""
    run_job.apply_async_on_commit((job.pk,), queue=queue_of(job.kind))  # type: ignore[attr-defined]  # DjangoTask


@shared_task
def run_job(job_id: int) -> None:
    """Run one job of any kind."""
    kind = Job.objects.values_list("kind", flat=True).get(pk=job_id)
    jobs.run_job(job_id, work_for(kind))
    if kind in (Job.Kind.IMPORT, Job.Kind.SCORE):  # tweets have come, perhaps in the course of the scoring
        score_new_tweets()


@shared_task
def ring_for_jobs() -> None:
    """Every 15 s: ring again for jobs whose bell was lost, and have new tweets scored that nobody rang for."""
    for job in Job.objects.filter(pk__in=jobs.jobs_to_ring_for()).order_by("pk"):
        enqueue(job)
    from labeling import search_building

    if search_building.imports_without_request() and (asked := search_index.request()):
        enqueue(asked)
    score_new_tweets()


@shared_task
def look_for_near_copies() -> None:
    """Every minute: where imports have ended and brought something new, a job that looks for near copies."""
    from labeling import near_copies

    job = near_copies.request_when_needed()
    if job is not None:
        enqueue(job)


HELP_SECONDS = 20  # a helper's task; short, so that a lost one is soon replaced


def enqueue_scoring(run: ScoringRun) -> None:
    """Ring for a scoring run: one worker leads it, others help with its chunks."""
    assert run.job is not None
    enqueue(run.job)
    for _ in range(settings.SCORE_HELPERS):
        score_chunks.delay_on_commit(run.pk)  # type: ignore[attr-defined]


def score_new_tweets() -> None:
    """Ring for a scoring run of the active version over tweets that came after its last one, if there are any."""
    from labeling import scoring

    run = scoring.start_overdue()
    if run is not None:
        enqueue_scoring(run)


@shared_task
def score_chunks(run_id: int) -> None:
    """Help with a scoring run for some seconds, then go to the back of the queue until it is done."""
    from labeling import scoring

    left = scoring.help_run(run_id, seconds=HELP_SECONDS)
    if left is not scoring.Help.DONE:
        score_chunks.apply_async((run_id,), countdown=1 if left is scoring.Help.WAIT else 0)
