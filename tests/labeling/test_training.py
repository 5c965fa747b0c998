"""Training: the job, its version, and what is stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labeling import jobs, snapshots, tasks, training
from labeling.jobs import AlreadyRunning, Progress
from labeling.labels import derive_labels
from labeling.models import Example, Job, ModelVersion, Origin, Source, Split, Tweet, Verdict
from ml.groups import split_of
from tests.factories import job_of, make_annotation, make_tag, make_tweet

pytestmark = pytest.mark.django_db


def run(version: ModelVersion, work=training.train) -> Job:
    assert version.job_id is not None
    job = jobs.run_job(version.job_id, work, heartbeat=False)
    assert job is not None
    version.refresh_from_db()
    return job


def test_versions_are_numbered_and_keep_what_was_asked_for(analyst):
    first = training.start_training(user=analyst, architecture="accurate", negatives=7, seed=3, note="first")
    jobs.request_cancel(job_of(first))
    second = training.start_training(user=None)
    assert (first.number, second.number) == (1, 2)
    assert (first.architecture, first.negatives, first.seed, first.note) == ("accurate", 7, 3, "first")
    assert first.created_by == analyst
    assert second.state == ModelVersion.State.TRAINING
    assert job_of(second).kind == Job.Kind.TRAIN


def test_a_second_training_is_refused_and_leaves_no_version(analyst):
    first = training.start_training(user=analyst)
    with pytest.raises(AlreadyRunning) as refusal:
        training.start_training(user=analyst)
    assert refusal.value.job == first.job
    assert ModelVersion.objects.count() == 1


def test_a_version_whose_job_was_cancelled_in_the_queue_says_so():
    first = training.start_training(user=None)
    jobs.request_cancel(job_of(first))
    first.refresh_from_db()
    assert first.current_state == ModelVersion.State.CANCELLED
    training.start_training(user=None)
    first.refresh_from_db()
    assert first.state == ModelVersion.State.CANCELLED


def test_too_few_labels_fail_the_job_and_the_version_with_what_to_do():
    version = training.start_training(user=None)
    job = run(version)
    assert (job.state, version.state) == (Job.State.FAILED, ModelVersion.State.FAILED)
    assert "You need at least 50 tweets that count as DA; you have 0. Import specific tweets" in job.error


def test_a_cancel_takes_effect_and_the_version_is_cancelled():
    version = training.start_training(user=None)

    def work(job: Job, progress: Progress) -> None:
        jobs.request_cancel(job)
        training.train(job, progress)

    job = run(version, work)
    assert (job.state, version.state) == (Job.State.CANCELLED, ModelVersion.State.CANCELLED)


def test_the_worker_knows_how_to_train():
    assert tasks.work_for(Job.Kind.TRAIN) is tasks.train_and_score


def test_the_listener_turns_steps_into_progress_and_curves():
    job = jobs.claim_job(jobs.create_job(Job.Kind.TRAIN).pk)
    assert job is not None
    listener = training.Listener(Progress(job))
    for step in range(1, 801):
        listener({"stage": "training", "epoch": 1, "epochs": 2, "step": step, "steps": 800, "loss": 1 / step})
    listener({"stage": "training", "epoch": 1, "epochs": 2, "loss": 0.1, "validation_loss": 0.2})
    listener({"stage": "training", "epoch": 2, "epochs": 2, "step": 400, "steps": 800, "loss": float("nan")})
    assert (job.stage, job.done, job.total) == ("training", 1200, 1600)
    assert (job.detail["epoch"], job.detail["epochs"]) == (2, 2)
    curve = job.detail["curve"]
    assert len(curve) <= training.CURVE_POINTS + 1
    assert curve[-1] == [1.0, 0.1, 0.2]
    assert curve[0][0] < 0.01


REPORT = {"thresholds": {"DA": 0.5, "tags": {"opioids": 0.25}}, "samples": {}}


@pytest.fixture
def stored(tmp_path: Path, settings):
    """A version that was stored from a hand-made snapshot and the files that a training leaves."""
    settings.MEDIA_ROOT = tmp_path / "files"
    tag = make_tag("opioids")
    tweets = [make_tweet(hashlib.sha256(b"%d" % n).hexdigest(), source=Source.SPECIFIC) for n in range(120)]
    for n in range(60):
        make_annotation(
            tweets[n], origin=Origin.ANALYST, verdict=Verdict.NDA, tag_ids=[tag.pk] if n % 2 else []
        )
    derive_labels([tweet.pk for tweet in tweets])
    snapshot = snapshots.build(negatives=0, seed=1, tick=lambda *, stage: None)
    held = snapshot.examples[snapshot.examples["split"] != Split.TRAIN]["id"].tolist()
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.zip").write_bytes(b"a model")
    p = [[1 / 3, 0.1 + n / 1000] for n in range(len(held))]
    pq.write_table(pa.table({"id": held, "p": p, "p_masked": p}), out / "holdout.parquet")
    version = training.start_training(user=None)
    job = jobs.claim_job(job_of(version).pk)
    assert job is not None

    def store() -> ModelVersion:
        training.store(version, Progress(job), snapshot=snapshot, report=REPORT, config={"seed": 1}, out=out)
        return ModelVersion.objects.get(pk=version.pk)

    return store, snapshot, job


def test_what_is_stored_can_be_read_back_bit_by_bit(stored):
    store, snapshot, _ = stored
    version = store()
    assert version.state == ModelVersion.State.READY
    assert (version.threshold, version.tag_thresholds) == (0.5, {"opioids": 0.25})
    assert version.sha256 == hashlib.sha256(b"a model").hexdigest()
    with version.artefact.open() as file:
        assert file.read() == b"a model"
    examples = {e.tweet_id: e for e in Example.objects.filter(version=version)}
    assert len(examples) == len(snapshot.examples) == 120
    for row in snapshot.examples.itertuples():
        example = examples[row.id]
        assert (example.split, example.verdict, example.verdict_origin) == (
            row.split,
            row.verdict,
            row.verdict_origin,
        )
        assert example.tag_ids == row.tag_ids
        assert (example.probabilities is None) == (example.split == Split.TRAIN)
    assert {e.probabilities[0] for e in examples.values() if e.probabilities} == {1 / 3}


def test_storing_again_after_a_lost_worker_leaves_one_set_of_examples(stored):
    store, _, _ = stored
    store()
    version = store()
    assert Example.objects.filter(version=version).count() == 120


def test_a_worker_that_lost_the_job_stores_nothing(stored):
    store, _, job = stored
    Job.objects.filter(pk=job.pk).update(attempt=job.attempt + 1)
    with pytest.raises(jobs.Superseded):
        store()
    assert not Example.objects.exists()


def test_groups_of_new_near_copies_are_joined_when_the_version_is_stored(stored):
    store, snapshot, _ = stored
    (first, second) = snapshot.examples["id"].tolist()[:2]
    snapshot.new_groups[second] = Tweet.objects.get(pk=first).group_hash
    store()
    assert Tweet.objects.get(pk=first).group_hash == Tweet.objects.get(pk=second).group_hash


def test_a_tweet_that_changed_its_split_while_the_model_was_trained_comes_back(stored):
    store, snapshot, _ = stored
    used = snapshot.examples.iloc[0]
    group = Tweet.objects.get(pk=used["id"]).group_hash or 0
    elsewhere = next(n for n in range(100) if split_of(n) != split_of(group))
    Tweet.objects.filter(pk=used["id"]).update(group_hash=elsewhere)
    store()
    assert Tweet.objects.get(pk=used["id"]).group_hash == group
