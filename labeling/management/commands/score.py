"""manage.py score: score every tweet that a version has not scored, in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import jobs, predictors, scoring
from labeling.jobs import Cancelled, Progress
from labeling.management.progress import printer
from labeling.models import Job, ModelVersion, ScoringRun
from labeling.models.jobs import STALE_AFTER

WAIT_FOR_DEAD = STALE_AFTER.total_seconds() + 5


class Command(BaseCommand):
    help = (
        "Score every tweet that a model version has not scored, and publish the scores all at once. "
        "Goes on with a run that was cancelled or killed."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # --version means the model's here, not Django's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--version", type=int, help="number of the version; default: the newest")
        parser.add_argument(
            "--workers", type=int, default=os.cpu_count() or 1, help="processes; default: one per core"
        )
        parser.add_argument("--activate", action="store_true", help="make the version active afterwards")
        parser.add_argument("--help-run", type=int, help="used by the command itself for its other processes")

    def handle(self, **options: Any) -> None:
        predictors.use_one_thread()
        if options["help_run"] is not None:
            return self.help_run(options["help_run"])
        if options["workers"] < 1:
            raise CommandError("--workers must be 1 or more.")
        version = self.find_version(options["version"])
        run = self.start(version, activates=options["activate"])
        started = time.monotonic()
        with helpers(run, options["workers"] - 1):
            job = jobs.run_job(run.job_id or 0, work, watch=printer(self.stdout))
        self.report(run, job, time.monotonic() - started)

    def find_version(self, number: int | None) -> ModelVersion:
        ready = ModelVersion.objects.ready()
        version = ready.filter(number=number).first() if number else ready.first()
        if version is None:
            raise CommandError(
                f"There is no trained version {number}."
                if number
                else "Train a version first: manage.py train."
            )
        return version

    def start(self, version: ModelVersion, *, activates: bool) -> ScoringRun:
        """A new run, or the one whose process has died: that needs waiting until its heartbeat is stale."""
        deadline = time.monotonic() + WAIT_FOR_DEAD
        while True:
            try:
                return scoring.start_run(version, user=None, activates=activates)
            except jobs.AlreadyRunning as error:
                job = error.job
            if job and Job.objects.abandoned().filter(pk=job.pk).exists():
                return ScoringRun.objects.get(job=job)
            if job and (time.monotonic() > deadline or self.is_alive(job)):
                raise CommandError(f"Job {job.pk} is scoring version {version.number} already.")
            self.stdout.write(
                f"Waiting to see whether the process that scores version {version.number} lives."
            )

    def is_alive(self, job: Job) -> bool:
        """Whether its heart beats within the next two beats."""
        before = job.heartbeat_at
        time.sleep(2 * jobs.HEARTBEAT_SECONDS)
        return Job.objects.values_list("heartbeat_at", flat=True).get(pk=job.pk) != before

    def help_run(self, run_id: int) -> None:
        left = scoring.Help.MORE
        while left is not scoring.Help.DONE:
            left = scoring.help_run(run_id, seconds=60)
            if left is scoring.Help.WAIT:
                time.sleep(scoring.IDLE_SECONDS)

    def report(self, run: ScoringRun, job: Job | None, seconds: float) -> None:
        if job is None or job.state != Job.State.DONE:
            reason = (job.error or job.get_state_display()) if job else "another process has taken the job"
            raise CommandError(f"Not finished: {reason}. Start it again to go on.")
        tweets = job.done
        summary = ModelVersion.objects.values_list("score_summary", flat=True).get(pk=run.version_id)
        if self.stdout.isatty():
            self.stdout.write("")
        self.stdout.write(
            f"Scored {tweets:,} tweets with version {run.version.number} in {seconds:,.1f} s"
            f" ({tweets / seconds:,.0f} tweets/s); {summary['flagged']:,} of {summary['n']:,} are at or above"
            f" {summary['threshold']:.3g}."
        )


def work(job: Job, progress: Progress) -> None:
    """Ctrl-C cancels the run: the next start goes on with it."""
    try:
        scoring.work(job, progress)
    except KeyboardInterrupt as interrupt:
        raise Cancelled from interrupt


@contextmanager
def helpers(run: ScoringRun, count: int) -> Iterator[None]:
    """Other processes of this command, each with a model of its own."""
    command = [sys.executable, "-m", "django", "score", "--help-run", str(run.pk)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(settings.BASE_DIR), *sys.path])}
    processes = [subprocess.Popen(command, env=environment) for _ in range(count)]  # noqa: S603 - our own command
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
