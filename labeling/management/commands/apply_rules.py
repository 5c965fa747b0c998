"""manage.py apply_rules: provisional tags for every tweet, from the rules."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling import jobs, rules
from labeling.jobs import Cancelled, Progress
from labeling.management.progress import printer
from labeling.models import Job


class Command(BaseCommand):
    help = (
        "Match every tweet against the rules and write provisional tags where they changed. "
        "May be stopped and started again; a second run adds nothing."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            job_id = rules.start_apply().pk
        except jobs.AlreadyRunning as error:
            raise CommandError(str(error)) from error
        job = jobs.run_job(job_id, work, watch=printer(self.stdout))
        if job is None or job.state != Job.State.DONE:
            reason = (job.error or job.get_state_display()) if job else "another process has taken the job"
            raise CommandError(f"Not finished: {reason}. Start it again to go on.")
        if self.stdout.isatty():
            self.stdout.write("")
        seconds = time.monotonic() - started
        n = job.detail
        self.stdout.write(
            f"Applied the rules to {n['tweets']:,} tweets in {seconds:,.1f} s"
            f" ({n['tweets'] / seconds:,.0f} tweets/s): {n['matched']:,} match,"
            f" {n['written']:,} provisional labels changed."
        )


def work(job: Job, progress: Progress) -> None:
    """Ctrl-C cancels; the next start goes on."""
    try:
        rules.apply_rules(job, progress)
    except KeyboardInterrupt as interrupt:
        raise Cancelled from interrupt
