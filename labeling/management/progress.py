"""How commands print the progress of the job that they run."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.core.management.base import OutputWrapper

from labeling.models import Job

LINE_SECONDS = 5.0  # where the output is no terminal: a line now and then, and at each new stage


def printer(out: OutputWrapper) -> Callable[[Job], None]:
    """A watcher for jobs.run_job(): rewrites one line on a terminal, adds lines to a file."""
    last_time, last_stage = 0.0, ""

    def watch(job: Job) -> None:
        nonlocal last_time, last_stage
        stage = job.stage.split(" (")[0]  # what stands in brackets changes all the time
        if not out.isatty() and stage == last_stage and time.monotonic() - last_time < LINE_SECONDS:
            return
        last_time, last_stage = time.monotonic(), stage
        amount = f": {job.done:,} of {job.total:,}" if job.total else ""
        left = job.seconds_left
        text = f"{job.stage}{amount}" + (f", {left:,.0f} s left" if left else "")
        out.write(f"\r{text:<78}", ending="") if out.isatty() else out.write(text)

    return watch
