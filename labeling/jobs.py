"""Running jobs: create, claim, report progress, cancel, and take over from a worker that died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, close_old_connections, connection, transaction
from django.db.models import F, Func, IntegerField, Q
from django.utils import timezone

from labeling.models import Job

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5
REPORT_SECONDS = 0.5  # progress is written at most this often
BACKEND_PID = Func(function="pg_backend_pid", output_field=IntegerField())


class AlreadyRunning(Exception):
    """Another active job holds the same exclusive key; `.job` is that job."""

    def __init__(self, job: Job | None) -> None:
        super().__init__("This job is already queued or running. Wait for it, or cancel it first.")
        self.job = job


class Cancelled(Exception):
    """Somebody asked for the job to stop."""


class Superseded(Exception):
    """Another worker has taken the job over; this one must not write any more."""


class Postponed(Exception):
    """The work gives way to other jobs. It is queued again, and goes on when its bell rings next."""


class JobError(Exception):
    """A failure whose message is meant for the user: says what is wrong and what to do."""


def create_job(
    kind: Job.Kind, *, exclusive_key: str = "", user: AbstractBaseUser | None = None, total: int = 0
) -> Job:
    """A queued job. Raises AlreadyRunning when an active job holds `exclusive_key`."""
    try:
        with transaction.atomic():
            return Job.objects.create(kind=kind, exclusive_key=exclusive_key, created_by=user, total=total)  # type: ignore[misc]
    except IntegrityError as error:
        raise AlreadyRunning(Job.objects.active().filter(exclusive_key=exclusive_key).first()) from error


def request_cancel(job: Job) -> None:
    """A queued job ends now; a running one at its next report."""
    now = timezone.now()
    queued = Job.objects.filter(pk=job.pk, state=Job.State.QUEUED)
    if not queued.update(state=Job.State.CANCELLED, finished_at=now):
        Job.objects.filter(pk=job.pk, state=Job.State.RUNNING).update(cancel_requested=True)


class Progress:
    """Handed to a job's work. Call report() often: it is throttled, and it is where a cancel takes effect."""

    def __init__(self, job: Job, watch: Callable[[Job], None] | None = None) -> None:
        self.job = job
        self.watch = watch
        self._last_write = 0.0

    def report(
        self,
        *,
        stage: str | None = None,
        done: int | None = None,
        total: int | None = None,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Write progress, outside any transaction of the work. Raises Cancelled or Superseded."""
        job = self.job
        changed_stage = stage is not None and stage != job.stage
        job.stage = job.stage if stage is None else stage
        job.done = job.done if done is None else done
        job.total = job.total if total is None else total
        if detail is not None:
            job.detail = {**job.detail, **detail}
        if not changed_stage and time.monotonic() - self._last_write < REPORT_SECONDS:
            return
        self.write()

    def write(self) -> None:
        """Write now, throttled or not."""
        job = self.job
        self._last_write = time.monotonic()
        mine = Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, attempt=job.attempt)
        if not mine.update(
            stage=job.stage, done=job.done, total=job.total, detail=job.detail, heartbeat_at=timezone.now()
        ):
            raise Superseded(f"Job {job.pk} was taken over or ended")
        if self.watch:
            self.watch(job)
        if Job.objects.filter(pk=job.pk, cancel_requested=True).exists():
            raise Cancelled


def claim_job(job_id: int) -> Job | None:
    """Move queued → running, or take over an abandoned run. None when it is somebody else's or has ended."""
    now = timezone.now()
    free = Job.objects.filter(pk=job_id, state=Job.State.QUEUED) | Job.objects.abandoned().filter(pk=job_id)
    claimed = free.update(
        state=Job.State.RUNNING,
        attempt=F("attempt") + 1,
        started_at=now,
        heartbeat_at=now,
        backend_pid=BACKEND_PID,
        error="",
    )
    return Job.objects.get(pk=job_id) if claimed else None


def run_job(
    job_id: int,
    work: Callable[[Job, Progress], object],
    *,
    heartbeat: bool = True,
    watch: Callable[[Job], None] | None = None,
) -> Job | None:
    """Claim the job, do its work, record how it ended. Safe to call twice. None when there was nothing to do.

    `watch` sees the job each time that progress is written: commands print from it.
    JobError's message is shown to the user as it is; any other exception is shown by its type and logged.
    """
    job = claim_job(job_id)
    if job is None:
        return None
    progress = Progress(job, watch)
    stop = threading.Event()
    if heartbeat:
        threading.Thread(target=_beat, args=(job.pk, job.attempt, stop), daemon=True).start()
    try:
        work(job, progress)
        _finish(job, Job.State.DONE)
    except Cancelled:
        _finish(job, Job.State.CANCELLED)
    except Superseded:
        logger.warning("Job %s goes on in another worker", job.pk)
    except Postponed:
        Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, attempt=job.attempt).update(
            state=Job.State.QUEUED, detail=job.detail
        )
    except JobError as error:
        _finish(job, Job.State.FAILED, error=str(error))
    except Exception as error:
        logger.exception("Job %s failed", job.pk)
        _finish(job, Job.State.FAILED, error=f"{type(error).__name__}: {error}")
    finally:
        stop.set()
    job.refresh_from_db()
    return job


def _finish(job: Job, state: Job.State, *, error: str = "") -> None:
    Job.objects.filter(pk=job.pk, state=Job.State.RUNNING, attempt=job.attempt).update(
        state=state,
        error=error,
        stage=job.stage,
        done=job.done,
        total=job.total,
        detail=job.detail,
        finished_at=timezone.now(),
    )


def _beat(job_id: int, attempt: int, stop: threading.Event) -> None:
    """Keep the heartbeat fresh from a thread with a connection of its own, until `stop` is set."""
    try:
        while not stop.wait(HEARTBEAT_SECONDS):
            try:
                Job.objects.filter(pk=job_id, attempt=attempt, state=Job.State.RUNNING).update(
                    heartbeat_at=timezone.now(), backend_pid=BACKEND_PID
                )
            except Exception:  # a lost connection: try again at the next beat
                logger.warning("Heartbeat of job %s failed", job_id, exc_info=True)
                close_old_connections()
    finally:
        connection.close()


def jobs_to_ring_for() -> list[int]:
    """Ids of jobs whose bell may be lost: queued for 10 s, or running without a heartbeat."""
    waiting = Q(state=Job.State.QUEUED, created_at__lt=timezone.now() - timedelta(seconds=10))
    return list(
        (Job.objects.filter(waiting) | Job.objects.abandoned()).order_by("id").values_list("id", flat=True)
    )
