"""Celery's solo pool, for a worker that runs its task itself: `--pool custom` with CELERY_CUSTOM_WORKER_POOL."""

from __future__ import annotations

from typing import Any

from celery.concurrency.solo import TaskPool as Solo
from celery.exceptions import WorkerTerminate
from celery.platforms import EX_FAILURE

POOL = f"{__name__}:TaskPool"


class TaskPool(Solo):
    """A worker that is told to stop at once leaves its task where it is. The job's row stays; the next worker goes on with it.

    Celery's own raises NotImplementedError out of the middle of the task, as if the task had failed.
    """

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        raise WorkerTerminate(EX_FAILURE)
