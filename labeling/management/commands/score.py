"""manage.py score: score every tweet that a version has not scored, in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import jobs, predictors, scoring
from labeling.jobs import Cancelled, Progress
from labeling.management.progress import printer
from labeling.models import Job, ModelVersion, ScoringRun

HELP_SECONDS = 2  # then look whether the leader lives
NICENESS = 10  # as the launcher's scoring workers: people at the pages come first


class Command(BaseCommand):
    help = (
        "Score every tweet that a model version has not scored, and publish the scores all at once. "
        "Goes on with a run that was cancelled or killed, and joins one that runs elsewhere."
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

    def run_from_argv(self, argv: list[str]) -> None:
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
        super().run_from_argv(argv)

    def handle(self, **options: Any) -> None:
        predictors.use_one_thread()
        if options["help_run"] is not None:
            return self.help_run(options["help_run"])
        if options["workers"] < 1:
            raise CommandError("--workers must be 1 or more.")
        version = self.find_version(options["version"])
        run = self.start_or_join(version, activates=options["activate"])
        stages = Stages(printer(self.stdout))
        started = time.monotonic()
        with helpers(run, options["workers"] - 1):
            job = self.see_through(run, stages)
        self.report(run, job, seconds=time.monotonic() - started, stages=stages)

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

    def start_or_join(self, version: ModelVersion, *, activates: bool) -> ScoringRun:
        """A new run, or the one that is queued or running already, perhaps on other machines."""
        try:
            return scoring.start_run(version, user=None, activates=activates)
        except jobs.AlreadyRunning as error:
            self.stdout.write(f"Joining job {error.job.pk if error.job else ''}, which scores this version.")
            return ScoringRun.objects.get(job=error.job)

    def see_through(self, run: ScoringRun, stages: Stages) -> Job:
        """Lead the run; help where another process leads it, and take over from one that has died."""
        assert run.job_id is not None
        while True:
            job = jobs.run_job(run.job_id, work, watch=stages)
            job = job or Job.objects.get(pk=run.job_id)
            if not job.is_active:
                return job
            if scoring.help_run(run.pk, seconds=HELP_SECONDS) is not scoring.Help.MORE:
                time.sleep(scoring.IDLE_SECONDS)

    def help_run(self, run_id: int) -> None:
        left = scoring.Help.MORE
        while left is not scoring.Help.DONE:
            left = scoring.help_run(run_id, seconds=60)
            if left is scoring.Help.WAIT:
                time.sleep(scoring.IDLE_SECONDS)

    def report(self, run: ScoringRun, job: Job, *, seconds: float, stages: Stages) -> None:
        if job.state != Job.State.DONE:
            raise CommandError(
                f"Not finished: {job.error or job.get_state_display()}. Start it again to go on."
            )
        tweets = job.done
        summary = ModelVersion.objects.values_list("score_summary", flat=True).get(pk=run.version_id)
        if self.stdout.isatty():
            self.stdout.write("")
        self.stdout.write(
            f"Scored {tweets:,} tweets with version {run.version.number} in {seconds:,.1f} s"
            f" ({tweets / seconds:,.0f} tweets/s; {stages}); {summary['flagged']:,} of {summary['n']:,} are at or"
            f" above {summary['threshold']:.3g}."
        )


class Stages:
    """A watcher that passes the job on, and remembers when each stage began."""

    def __init__(self, watch: Callable[[Job], None]) -> None:
        self.watch = watch
        self.began: dict[str, float] = {}

    def __call__(self, job: Job) -> None:
        self.began.setdefault(job.stage.partition(" (")[0].lower(), time.monotonic())
        self.watch(job)

    def __str__(self) -> str:
        spent = pairwise([*self.began.items(), ("end", time.monotonic())])
        return (
            ", ".join(f"{stage} {end - start:.1f} s" for (stage, start), (_, end) in spent) or "led elsewhere"
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
