"""A real, tiny training, from the database to the report and back to the tweets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labeling import corpus_share, jobs, model_files, reports, snapshots, training, versions
from labeling.jobs import Progress
from labeling.labels import derive_labels
from labeling.models import Example, Job, ModelVersion, Origin, Source, Split, Tag, Tweet, Verdict
from ml.estimates import Interval
from ml.groups import text_keys
from tests.factories import job_of, make_annotation, make_rule, make_tag
from tests.labeling.test_versions import cells_of

pytestmark = [pytest.mark.django_db, pytest.mark.tensorflow]

DRUGS = ["oxy", "percs", "blues", "vodka"]
DID = ["took", "popped", "crave", "hid", "need", "scored", "lost", "found"]
NEWS = ["council", "hospital", "museum", "weather", "striker", "recipe", "festival", "clinic"]
DOES = ["opens", "plans", "reports", "wins", "funds", "closes"]


def train(job: Job, progress: Progress) -> None:
    training.train(job, progress)


def _add(texts: list[str], source: Source) -> list[Tweet]:
    keys = text_keys(texts)
    return Tweet.objects.bulk_create(
        Tweet(text=t, source=source, import_id=0, dedupe_key=hash((t, i)), group_hash=int(k))
        for i, (t, k) in enumerate(zip(texts, keys, strict=True))
    )


@pytest.fixture
def corpus(settings, tmp_path) -> None:
    """400 specific tweets with two tags, some judged by people; 600 general ones, some of them DA without a term."""
    settings.MEDIA_ROOT = tmp_path
    rng = np.random.default_rng(1)

    def noise() -> str:
        return " ".join("".join(rng.choice(list("abcdefghij"), 5)) for _ in range(4))

    opioids, alcohol = make_tag("opioids"), make_tag("alcohol")
    make_rule(opioids, "oxy"), make_rule(opioids, "percs"), make_rule(alcohol, "vodka")
    pick = rng.choice
    specific = _add(
        [f"i {pick(DID)} {pick(DRUGS)} {noise()} tonight" for _ in range(300)]
        + [f"{pick(NEWS)} {pick(DOES)} on oxy {noise()}" for _ in range(100)],
        Source.SPECIFIC,
    )
    general = _add(
        [f"the {pick(NEWS)} {pick(DOES)} {noise()}" for _ in range(560)]
        + [f"i {pick(DID)} blues {noise()} again" for _ in range(40)],
        Source.GENERAL,
    )
    for tweet in specific:
        tags = [alcohol.pk] if "vodka" in tweet.text else [opioids.pk]
        make_annotation(tweet, origin=Origin.IMPORT, tag_ids=tags)
    for tweet in specific[200:]:
        make_annotation(tweet, verdict=Verdict.NDA if " on oxy " in tweet.text else Verdict.DA)
    derive_labels([tweet.pk for tweet in specific + general])


def test_a_training_ends_with_a_version_whose_report_agrees_with_its_tweets(corpus):
    version = training.start_training(user=None, negatives=500)
    job = jobs.run_job(job_of(version).pk, train)
    assert job is not None
    assert (job.state, job.error) == (Job.State.DONE, "")
    version = ModelVersion.objects.get(pk=version.pk)
    assert version.state == ModelVersion.State.READY
    assert version.tag_ids == list(Tag.objects.values_list("pk", flat=True))
    assert job.detail["curve"]

    # Every cell of every matrix leads to exactly the tweets that it counts.
    cells = cells_of(version)
    assert len(cells) >= 3 * (3 * 4 + 9)
    for cell, count in cells:
        assert versions.cell_tweets(version, cell).count() == count, cell
    for sample in versions.SAMPLES:
        assert versions.held_out(version, sample).count() == version.report["samples"][sample]["n"]
        assert version.figures[sample]["n"] == version.report["samples"][sample]["n"]

    # It has learnt something, and the snapshot's counts are those of its rows.
    assert version.figures["test"]["network"]["verdict"]["average_precision"] > 0.8
    for split in Split:
        counted = sum(n for by in version.snapshot["splits"][split.label].values() for n in by.values())
        assert Example.objects.filter(version=version, split=split).count() == counted
    assert (
        Example.objects.filter(version=version, split=Split.TRAIN, probabilities__isnull=False).count() == 0
    )
    assert Example.objects.exclude(split=Split.TRAIN).filter(probabilities__isnull=True).count() == 0

    # The model file is the one whose hash was recorded, and predicts what was stored.
    from ml import predict

    assert model_files.sha256_of(model_files.local_file(version)) == version.sha256
    predictor = predict.load(model_files.local_file(version))
    held: Any = list(versions.held_out(version).select_related("tweet")[:50])
    p = predictor.predict([e.tweet.text for e in held])
    assert np.allclose(p, [e.probabilities for e in held], atol=1e-6)


@pytest.mark.parametrize("stated", [None, 0.2])
def test_a_training_takes_the_share_that_is_known_unless_one_is_stated(corpus, monkeypatch, stated):
    held_out = {"tweets": 480, "flagged": 288, "is_judged": True}
    detail = {"by_version": 4, "judged": 1_000, "positive": 310, "precision": 0.31, "held_out": held_out}
    known = corpus_share.KnownShare("flagged", Interval(0.07, 0.05, 0.09), detail)
    monkeypatch.setattr(corpus_share, "known_share", lambda: known)
    version = training.start_training(user=None, negatives=200, corpus_prior=stated)
    jobs.run_job(job_of(version).pk, train)
    version = ModelVersion.objects.get(pk=version.pk)
    prior = version.report["prior"]
    if stated:
        assert (prior["source"], prior["corpus"], prior["low"]) == ("stated", 0.2, None)
        return
    assert (prior["source"], prior["corpus"], prior["low"], prior["high"]) == ("flagged", 0.07, 0.05, 0.09)
    assert prior | detail == prior
    assert version.config["corpus_prior"] == 0.07
    assert "from 1,000 judged tweets among those that version 4 flagged" in reports.expected_in_corpus(
        version
    )


def test_a_cancel_in_the_middle_of_an_epoch_stops_the_training(corpus):
    version = training.start_training(user=None, negatives=500)
    stages = []

    def work(job: Job, progress: Progress) -> None:
        def report(**changes):
            stages.append(changes.get("stage"))
            if changes.get("stage") == "Training":
                jobs.request_cancel(job)
                progress.write()
            Progress.report(progress, **changes)

        progress.report = report  # type: ignore[method-assign]
        training.train(job, progress)

    job = jobs.run_job(job_of(version).pk, work)
    version.refresh_from_db()
    assert job is not None
    assert (job.state, version.state) == (Job.State.CANCELLED, ModelVersion.State.CANCELLED)
    assert stages.count("Training") == 1
    assert not Example.objects.exists()


def test_the_next_version_keeps_every_tweet_in_its_split(corpus):
    def splits(seed: int) -> dict[int, int]:
        version = training.start_training(user=None, negatives=200, seed=seed)
        job = jobs.run_job(job_of(version).pk, train)
        assert job is not None
        assert job.error == ""
        return dict(Example.objects.filter(version=version).values_list("tweet_id", "split"))

    first, second = splits(1), splits(2)
    both = first.keys() & second.keys()
    assert len(both) > 400
    assert all(first[tweet] == second[tweet] for tweet in both)
    groups = {
        tweet: group
        for tweet, group in Tweet.objects.values_list("pk", "group_hash")
        if tweet in second or tweet in first
    }
    of_group: dict[int | None, set[int]] = {}
    for tweet, group in groups.items():
        of_group.setdefault(group, set()).update({s[tweet] for s in (first, second) if tweet in s})
    assert all(len(found) == 1 for found in of_group.values())
    assert len(both) >= snapshots.MIN_VERDICTS
