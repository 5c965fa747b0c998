"""Training: from the labels of this moment to a model version with its report. TensorFlow only in workers."""

from __future__ import annotations

import io
import json
import logging
import math
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from django.contrib.auth.models import AbstractBaseUser
from django.core.files import File
from django.db import connection, transaction
from django.db.models import Max
from django.utils import timezone

from labeling import corpus_share, jobs, near_copies, snapshots, word_vectors
from labeling.jobs import Cancelled, JobError, Progress, Superseded
from labeling.model_files import sha256_of
from labeling.models import Example, Job, ModelVersion, Split, Tweet
from labeling.snapshots import Snapshot, split_numbers

if TYPE_CHECKING:
    from labeling.models import ScoringRun

logger = logging.getLogger(__name__)

EXCLUSIVE_KEY = "train"
CURVE_POINTS = 300  # of the live loss curve, kept in the job's row


def start_training(
    *,
    user: AbstractBaseUser | None,
    architecture: str = ModelVersion.Architecture.FAST,
    negatives: int = 150_000,
    seed: int = 1,
    note: str = "",
    activate: bool = False,
    goal: str = "f1",
    precision: float = 0.8,
    corpus_prior: float | None = None,
    hidden_positives: float | None = None,
) -> ModelVersion:
    """A new version and its queued job (`version.job`). Raises AlreadyRunning while another training is.

    The caller enqueues the job. `activate`: score when trained, and activate when the scores are published. `goal`,
    `precision`: what the tags' thresholds are chosen for, as ml.calibration.Goal has them. `corpus_prior`: the share of
    DA in the corpus, where it is known; None: as audits or the flagged list have it, or else estimated. `hidden_positives`: as ml.config.Config has it;
    None: its default.
    """
    with transaction.atomic():
        job = jobs.create_job(Job.Kind.TRAIN, exclusive_key=EXCLUSIVE_KEY, user=user)
        settle_versions()
        last = ModelVersion.objects.aggregate(last=Max("number"))["last"] or 0
        job.detail = {
            "activate": activate,
            "number": last + 1,
            "goal": goal,
            "precision": precision,
            "corpus_prior": corpus_prior,
            "hidden_positives": hidden_positives,
        }
        job.save(update_fields=["detail"])
        return ModelVersion.objects.create(
            number=last + 1,
            job=job,
            architecture=architecture,
            negatives=negatives,
            seed=seed,
            note=note,
            created_by=user,  # type: ignore[misc]
        )


def settle_versions() -> None:
    """A job that was cancelled while it waited never ran: its version says so from now on."""
    ended = {Job.State.CANCELLED: ModelVersion.State.CANCELLED, Job.State.FAILED: ModelVersion.State.FAILED}
    for job_state, state in ended.items():
        ModelVersion.objects.filter(state=ModelVersion.State.TRAINING, job__state=job_state).update(
            state=state
        )


def train(job: Job, progress: Progress) -> ScoringRun | None:
    """The work of a training job. Safe to run again after a lost worker: it starts over.

    Returns the scoring run that was asked for with the training; the caller enqueues its job.
    """
    version = ModelVersion.objects.get(job=job)
    try:
        _train(version, progress)
    except Superseded:
        raise  # another worker is at it
    except (Cancelled, KeyboardInterrupt):
        _end(version, ModelVersion.State.CANCELLED)
        raise
    except Exception:
        _end(version, ModelVersion.State.FAILED)
        raise
    if not job.detail.get("activate"):
        return None
    from labeling import scoring  # after training: scoring loads more than a training needs

    return scoring.start_run(version, user=version.created_by, activates=True)


def _end(version: ModelVersion, state: str) -> None:
    ModelVersion.objects.filter(pk=version.pk, state=ModelVersion.State.TRAINING).update(state=state)


def _train(version: ModelVersion, progress: Progress) -> None:
    """1. snapshot  2. train and evaluate  3. store model, report and examples, all in one transaction."""

    def tick(*, stage: str) -> None:
        progress.report(stage=stage)

    snapshot = snapshots.build(negatives=version.negatives, seed=version.seed, tick=tick)
    from ml import train as ml_train  # TensorFlow; not before there is something to train on
    from ml.config import Config

    progress.report(detail={"examples": len(snapshot.examples), "tags": len(snapshot.tags)})
    asked = progress.job.detail
    wanted = {
        name: asked[name] for name in ("goal", "precision", "hidden_positives") if asked.get(name) is not None
    }
    stated = progress.job.detail.get("corpus_prior")
    # What judged tweets say of the corpus comes before what the model concludes of it.
    known = corpus_share.known_share() if stated is None else None
    config = Config(
        architecture=version.architecture,
        seed=version.seed,
        term_pattern=snapshot.term_pattern,
        corpus_prior=known.share.value if known else stated,
        **wanted,
    )
    pretrains = "accurate" in config.networks()
    kept = word_vectors.reusable(ml_train.pretraining_settings(config)) if pretrains else None
    unlabelled: list[str] = []
    if pretrains and kept is None:
        unlabelled = snapshots.general_texts(Split.TRAIN, snapshots.PRETRAINING, seed=version.seed, tick=tick)
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        out = Path(folder)
        try:
            report = ml_train.train(
                snapshots.for_training(snapshot),
                tags=[snapshots.column_of(tag) for tag in snapshot.tags],
                config=config,
                out=out,
                progress=Listener(progress),
                unlabelled=unlabelled,
                word_vectors=kept[0] if kept else None,
                prior_sample=snapshot.prior_sample,
            )
        except ValueError as error:  # the library says in words what the examples lack
            logger.exception("Training of %s failed", version)
            raise JobError(str(error)) from error
        if known:
            bounds = {"low": known.share.low, "high": known.share.high}
            report["prior"] |= {"source": known.source, **bounds, **known.detail}
        progress.report(stage="Storing the model")
        if kept:
            snapshot.counts["word_vectors"] = kept[1]
        elif pretrains:
            snapshot.counts["word_vectors"] = word_vectors.keep(
                out / "word_vectors.npz", report["pretraining"], version=version, texts=len(unlabelled)
            )
        store(version, progress, snapshot=snapshot, report=report, config=config_of(config), out=out)


def config_of(config: Any) -> dict[str, Any]:
    """A Config as JSON."""
    from dataclasses import asdict

    as_json: dict[str, Any] = json.loads(json.dumps(asdict(config), default=str))
    return as_json


class Listener:
    """Turns what ml.train tells into the job's progress: stage, epoch, loss curves, amount of work."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.curve: list[list[float | None]] = []  # [epoch with its fraction, loss, validation loss]
        self.stride = 1  # every how many events a point is kept: doubles when the curve is full
        self.seen = 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        stage, epoch, epochs = event.get("stage", "training"), event.get("epoch"), event.get("epochs")
        detail: dict[str, Any] = {"epoch": epoch, "epochs": epochs}
        step, steps = event.get("step") or 0, event.get("steps") or 0
        done = total = 0  # a stage without steps has no measure
        if epoch and epochs:
            if steps:
                done, total = (epoch - 1) * steps + step, epochs * steps
            self._draw(epoch - 1 + (step / steps if steps else 1.0), event)
            detail |= {"curve": self.curve}
        self.progress.report(stage=stage, done=done, total=total, detail=detail)

    def _draw(self, at: float, event: Mapping[str, Any]) -> None:
        loss, validation = (_finite(event.get(key)) for key in ("loss", "validation_loss"))
        if loss is None and validation is None:
            return
        if validation is not None or self.seen % self.stride == 0:
            self.curve.append([round(at, 4), loss, validation])
        self.seen += 1
        if len(self.curve) > CURVE_POINTS:
            self.stride *= 2
            self.curve = [p for i, p in enumerate(self.curve) if i % 2 == 0 or p[2] is not None]


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


# Storing -------------------------------------------------------------------------------------------------


def store(
    version: ModelVersion,
    progress: Progress,
    *,
    snapshot: Snapshot,
    report: dict[str, Any],
    config: dict[str, Any],
    out: Path,
) -> None:
    """Model file first, then everything that names it, in one transaction fenced by the job's attempt."""
    sha256 = sha256_of(out / "model.zip")
    with (out / "model.zip").open("rb") as file:
        name = version.artefact.storage.save(f"models/{uuid.uuid4().hex}.zip", File(file))
    thresholds = report["thresholds"]
    with transaction.atomic():
        _fence(progress)
        Example.objects.filter(version=version).delete()  # of an attempt that was lost after storing
        near_copies.hold_groups()
        _move_groups(snapshot.new_groups | _moved_meanwhile(snapshot.examples))
        _copy_examples(version, snapshot, _holdout(out / "holdout.parquet"))
        version.state = ModelVersion.State.READY
        version.config = config
        version.tag_ids = [tag.pk for tag in snapshot.tags]
        version.snapshot = snapshot.counts
        version.report = report
        version.figures = key_figures(report)
        version.threshold = thresholds["DA"]
        version.tag_thresholds = thresholds["tags"]
        version.artefact.name = name
        version.sha256 = sha256
        version.trained_at = timezone.now()
        version.save()


def _fence(progress: Progress) -> None:
    """Holds the job's row until the transaction ends; refuses when another worker has taken the job over."""
    job = progress.job
    mine = Job.objects.select_for_update().filter(pk=job.pk, state=Job.State.RUNNING, attempt=job.attempt)
    if not mine.exists():
        raise Superseded(f"Job {job.pk} was taken over or ended")


def _moved_meanwhile(examples: pd.DataFrame) -> dict[int, int]:
    """The group used here of each tweet that a look for near copies has put into another split since it was read."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, group_hash FROM {Tweet._meta.db_table}"  # noqa: S608 - a table's name
            " WHERE id = ANY(%s) AND group_hash IS NOT NULL",
            [examples["id"].tolist()],
        )
        now = pd.DataFrame(cursor.fetchall(), columns=["id", "now"], dtype="int64")
    both = examples[["id", "group_hash", "split"]].merge(now, on="id")
    moved = both[both["split"].to_numpy() != np.array(split_numbers(both["now"].to_numpy()))]
    return dict(zip(moved["id"].tolist(), moved["group_hash"].tolist(), strict=True))


def _move_groups(new_groups: dict[int, int]) -> None:
    """Near copies join one group; only tweets that were in no snapshot are ever moved."""
    if not new_groups:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {Tweet._meta.db_table} t SET group_hash = n.group_hash "  # noqa: S608 - a table's name
            "FROM unnest(%s::bigint[], %s::bigint[]) AS n (id, group_hash) WHERE t.id = n.id",
            [list(new_groups), list(new_groups.values())],
        )


def _holdout(path: Path) -> dict[int, tuple[list[float], list[float]]]:
    """{tweet id: (probabilities, the same with rule terms masked)}"""
    table = pq.read_table(path, columns=["id", "p", "p_masked"])
    ids, p, masked = (table.column(name).to_pylist() for name in ("id", "p", "p_masked"))
    return {int(i): (a, b) for i, a, b in zip(ids, p, masked, strict=True)}


_COPY = """
COPY labeling_example (version_id, tweet_id, split, verdict, verdict_origin, tag_ids, tags_origin,
    is_sampled_negative, matches_rule, probabilities, masked_probabilities) FROM STDIN
"""


def _copy_examples(
    version: ModelVersion, snapshot: Snapshot, holdout: dict[int, tuple[list[float], list[float]]]
) -> None:
    columns = [
        "id",
        "split",
        "verdict",
        "verdict_origin",
        "tag_ids",
        "tags_origin",
        "sampled",
        "matches_rule",
    ]
    buffer = io.StringIO()
    for tweet_id, *rest in snapshot.examples[columns].itertuples(index=False, name=None):
        p, masked = holdout.get(int(tweet_id), (None, None))
        row = (version.pk, int(tweet_id), *rest, p, masked)
        buffer.write("\t".join(map(_copy_value, row)) + "\n")
    buffer.seek(0)
    with connection.cursor() as cursor:
        cursor.copy_expert(_COPY, buffer)


def _copy_value(value: Any) -> str:
    """A number, boolean or list of numbers in COPY's text format. repr() keeps every bit of a float."""
    if value is None:
        return "\\N"
    if isinstance(value, Iterable):
        return "{" + ",".join(repr(v.item() if hasattr(v, "item") else v) for v in value) + "}"
    if isinstance(value, float) and math.isnan(value):
        return "\\N"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "t" if value else "f"
    return str(int(value))


# Telling -------------------------------------------------------------------------------------------------


def key_figures(report: dict[str, Any]) -> dict[str, Any]:
    """{sample: {"n", "description", "network": {"verdict", "micro", "macro"}, "baseline": …}}, without curves."""

    def brief(model: dict[str, Any]) -> dict[str, Any]:
        verdict = model["verdict"]
        keep = ("n", "positives", "precision", "recall", "f1", "average_precision")
        return {
            "verdict": verdict and {key: verdict[key] for key in keep},
            "micro": model["micro"],
            "macro": model["macro"],
        }

    return {
        name: {
            "n": sample["n"],
            "description": sample["description"],
            **{model: brief(sample[model]) for model in ("network", "baseline")},
        }
        for name, sample in report["samples"].items()
    }


def headline(version: ModelVersion) -> str:
    """One line of figures, each with its sample."""
    test = version.figures.get("test")
    if not test:
        return f"{version}: {version.get_state_display().lower()}"
    parts = [f"{version} ({version.architecture})", f"test n={test['n']:,}"]
    for name in ("network", "baseline"):
        verdict, macro = test[name]["verdict"] or {}, test[name]["macro"] or {}
        parts.append(
            f"{name}: DA average precision {_figure(verdict.get('average_precision'))}, "
            f"F1 {_figure(verdict.get('f1'))}, tags macro F1 {_figure(macro.get('f1'))}"
        )
    parts.append(f"{version.report.get('seconds', 0):.0f} s")
    return " | ".join(parts)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def evaluation(version: ModelVersion) -> dict[str, Any]:
    """Everything that was measured of a version, as JSON."""
    return {
        "version": version.number,
        "architecture": version.architecture,
        "seed": version.seed,
        "negatives": version.negatives,
        "trained_at": version.trained_at.isoformat() if version.trained_at else None,
        "sha256": version.sha256,
        "config": version.config,
        "snapshot": version.snapshot,
        "report": version.report,
    }
