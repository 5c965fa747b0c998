"""A Celery application whose background jobs take a minute of Python, to be stopped in a test: `celery -A tests.long_background`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery.signals import worker_init

from tagger_site.celery import app

if TYPE_CHECKING:
    from labeling.jobs import Progress
    from labeling.models import Job

__all__ = ["app"]

STEPS = 600


def work(job: Job, progress: Progress) -> None:
    for step in range(STEPS):
        progress.report(done=step, total=STEPS, stage="Taking long")
        time.sleep(0.1)


@worker_init.connect
def take_long(**_: object) -> None:
    from labeling import tasks
    from labeling.models import Job

    tasks.WORK[Job.Kind.SEARCH] = f"{__name__}:work"
