"""Celery tasks: thin. Each takes an id, is safe to run twice, and calls one domain function."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from celery import shared_task
from django.conf import settings

from labeling import jobs, search_index
from labeling.jobs import Progress
from labeling.models import Job, ModelVersion, ScoringRun

Work = Callable[[Job, Progress], None]


# The domain function that does each kind of job, by its module: a worker loads only what it runs.
WORK = {
    Job.Kind.IMPORT: "labeling.tasks:import_and_file",
    Job.Kind.SEARCH: "labeling.search_building:work",
    Job.Kind.NEAR_COPIES: "labeling.near_copies:work",
    Job.Kind.DELETE: "labeling.tasks:delete_and_file",
    Job.Kind.ERASE: "labeling.erasing:work",
    Job.Kind.TRAIN: "labeling.tasks:train_and_score",
    Job.Kind.SCORE: "labeling.scoring:work",
    Job.Kind.RULES: "labeling.rules:apply_rules",
    Job.Kind.WRONG_LABELS: "labeling.wrong_labels:work",
}


def work_for(kind: str) -> Work:
    try:
        module, name = WORK[Job.Kind(kind)].split(":")
    except KeyError:
        raise jobs.JobError(f"No worker knows how to run a job of kind {kind}.") from None
    work: Work = getattr(import_module(module), name)
    return work


def train_and_score(job: Job, progress: Progress) -> None:
    """Training; then, where it was asked for, the bell for scoring with the new version."""
    from labeling import training

    run = training.train(job, progress)
    if run is not None:
        enqueue_scoring(run)


def import_and_file(job: Job, progress: Progress) -> None:
    """An import; then the bell for filing its words in the search index, which is slow until then."""
    from labeling.imports import importing, reader_process

    filing = importing.work(job, progress)
    if filing is not None:
        enqueue(filing)
    reader_process.get_ready()


def delete_and_file(job: Job, progress: Progress) -> None:
    """A deletion; then the bell for dropping the search indexes that are empty now."""
    from labeling import deleting

    deleting.work(job, progress)
    if filing := search_index.request():
        enqueue(filing)


# Jobs that take minutes while Postgres works, in a worker of their own: imports and training do not wait for them.
BACKGROUND = {Job.Kind.SEARCH, Job.Kind.NEAR_COPIES, Job.Kind.DELETE, Job.Kind.ERASE}


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

    if search_building.is_overdue() and (asked := search_index.request()):
        enqueue(asked)
    score_new_tweets()


@shared_task
def look_for_near_copies() -> None:
    """Every minute: where imports have ended and brought something new, a job that looks for near copies."""
    from labeling import near_copies

    job = near_copies.request_when_needed()
    if job is not None:
        enqueue(job)


@shared_task
def keep_list_near() -> None:
    """Every two minutes: the list of flagged tweets is in PostgreSQL's memory when somebody asks for it.

    And has the index of its words, where a job ended between showing the list and building it.
    """
    from labeling import score_indexes
    from labeling.score_tables import ScoreTables

    version = ModelVersion.objects.active()
    if version is not None and version.scores_published_at is not None:
        tables = ScoreTables(version.pk)
        score_indexes.build_words(tables)
        score_indexes.keep_near(tables)


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
