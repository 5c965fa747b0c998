"""manage.py train: a new model version from the labels of this moment."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import jobs, tasks, training
from labeling.jobs import AlreadyRunning, Cancelled, Progress
from labeling.models import Job, ModelVersion, ScoringRun
from ml.config import MOST_HIDDEN


class Command(BaseCommand):
    help = (
        "Train a new model version from the labels of this moment, evaluate it on held-out tweets and store it. "
        "Shows progress; Ctrl-C cancels; ends with one line of figures."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--architecture",
            choices=ModelVersion.Architecture.values,
            default=ModelVersion.Architecture.FAST,
            help="fast: a weight per word. accurate: a deeper network, slower to train and score. "
            "cascade: both; accurate reads only what fast puts near the top, so scoring is about as quick as with fast.",
        )
        parser.add_argument(
            "--negatives", type=int, default=150_000, help="general tweets to draw as negatives (150000)"
        )
        parser.add_argument(
            "--seed", type=int, default=1, help="same data, settings and seed: same figures (1)"
        )
        parser.add_argument("--note", default="", help="a line to recognise the version by")
        parser.add_argument(
            "--goal", choices=["f1", "overall", "precision"], default="f1", help="what the tags' thresholds are chosen "
            "for: the best F1 of each tag (f1), of all tags together (overall), or a --precision"
        )  # fmt: skip
        parser.add_argument(
            "--precision", type=float, default=0.8, help="wanted of every tag, with --goal precision (0.8)"
        )
        parser.add_argument(
            "--corpus-prior",
            type=float,
            help="share of DA in the corpus where it is known, such as 0.003; default: as audits have it, or estimated",
        )
        parser.add_argument(
            "--hidden-positives",
            type=float,
            help="share of DA taken to be among the drawn negatives, 0 to 0.02; 0 takes all of them for NDA (0.003)",
        )
        parser.add_argument(
            "--activate",
            action="store_true",
            help="score all tweets with it, then make it the active version",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 < options["precision"] < 1:
            raise CommandError("--precision is a share above 0 and below 1, such as 0.8.")
        if options["corpus_prior"] is not None and not 0 < options["corpus_prior"] < 1:
            raise CommandError("--corpus-prior is a share above 0 and below 1, such as 0.003.")
        if options["hidden_positives"] is not None and not 0 <= options["hidden_positives"] <= MOST_HIDDEN:
            raise CommandError(f"--hidden-positives is a share from 0 to {MOST_HIDDEN}, such as 0.003.")
        try:
            version = training.start_training(
                user=None,
                architecture=options["architecture"],
                negatives=max(0, options["negatives"]),
                seed=max(0, options["seed"]),
                note=options["note"][:200],
                activate=options["activate"],
                goal=options["goal"],
                precision=options["precision"],
                corpus_prior=options["corpus_prior"],
                hidden_positives=options["hidden_positives"],
            )
        except AlreadyRunning as error:
            raise CommandError(str(error)) from error
        assert version.job_id is not None
        runs: list[ScoringRun] = []
        job = self._run(version.job_id, runs)
        if job.state != Job.State.DONE:
            raise CommandError(job.error or f"Training {job.get_state_display().lower()}.")
        for run in runs:
            assert run.job_id is not None
            scored = jobs.run_job(run.job_id, tasks.work_for(Job.Kind.SCORE))
            if scored is not None and scored.state != Job.State.DONE:
                raise CommandError(scored.error or f"Scoring {scored.get_state_display().lower()}.")
        version.refresh_from_db()
        self.stdout.write(training.headline(version))

    def _run(self, job_id: int, runs: list[ScoringRun]) -> Job:
        def work(job: Job, progress: Progress) -> None:
            try:
                run = training.train(job, Echo(progress, self.stderr.write))
            except KeyboardInterrupt as interrupt:
                raise Cancelled from interrupt
            if run is not None:
                runs.append(run)

        job = jobs.run_job(job_id, work)
        assert (
            job is not None
        )  # nobody else knows of the job yet, except a worker whose bell was rung by beat
        return job


class Echo(Progress):
    """Progress that is also printed, a line per stage and epoch."""

    def __init__(self, progress: Progress, write: Any) -> None:
        super().__init__(progress.job)
        self._print = write
        self._line = ""

    def report(self, **changes: Any) -> None:
        super().report(**changes)
        detail = self.job.detail
        line = self.job.stage
        if detail.get("epoch") and self.job.total:
            line += f": epoch {detail['epoch']} of {detail['epochs']}"
        if line != self._line:
            self._line = line
            self._print(line)
