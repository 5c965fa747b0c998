"""A version with a report and the examples that it was measured on, without training anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from labeling.models import Example, ModelVersion, Origin, Source, Split, Tag, Tweet, Verdict
from labeling.snapshots import sample_of
from ml import evaluate
from tests.factories import make_tag, make_version

NAMES = [
    "opioids",
    "addiction",
    "overdose",
    "hydrocodone",
    "oxycodone",
    "fentanyl",
    "heroin",
    "methadone",
    "naloxone",
    "withdrawal",
    "recovery",
    "prescription-painkillers",
    "pain",
    "pharmacy",
    "policy",
    "news",
    "dealing",
    "craving",
    "relapse",
    "treatment",
    "stimulants",
    "benzodiazepines",
    "cannabis",
    "alcohol",
    "slang",
]


def make_evaluated_version(
    tags: int | list[Tag] = 3, *, tweets: int | list[Tweet] = 60, seed: int = 1, **fields: Any
) -> ModelVersion:
    """Random truth, probabilities that mostly agree with it, figures by ml.evaluate. The last of more than two
    tags has no threshold; some verdicts and tags are not judged."""
    rng = np.random.default_rng(seed)
    if isinstance(tags, int):
        tags = [make_tag(name) for name in NAMES[:tags]]
    if isinstance(tweets, int):
        tweets = _tweets(tweets)
    n, heads = len(tweets), 1 + len(tags)
    names = [tag.name for tag in tags]
    truth = (rng.random((n, heads)) < np.linspace(0.5, 0.05, heads)).astype(float)
    truth[rng.random(n) < 0.1, 0] = np.nan
    truth[rng.random(n) < 0.3, 1:] = np.nan
    origins = np.array([None, Origin.IMPORT, Origin.ANALYST, Origin.REVIEW])[rng.integers(0, 4, n)]
    sampled = (truth[:, 0] == 0) & (rng.random(n) < 0.5)
    truth[sampled, 1:] = np.nan
    origins[sampled | np.isnan(truth[:, 0])] = None
    matches = rng.random(n) < 0.5
    p, masked, baseline = (_probabilities(rng, truth, spread) for spread in (1.0, 2.0, 1.5))
    thresholds: list[float | None] = [0.5] * heads
    if heads > 3:
        thresholds[-1] = None
    samples = [sample_of(*row) for row in zip(origins, origins, sampled, strict=True)]
    report = _report(
        names,
        truth,
        p=p,
        masked=masked,
        baseline=baseline,
        thresholds=thresholds,
        samples=np.array(samples),
        matches=matches,
    )
    version = make_version(report=report, tag_ids=[tag.pk for tag in tags], **fields)
    Example.objects.bulk_create(
        Example(
            version=version,
            tweet=tweets[i],
            split=Split.TEST,
            verdict=None if np.isnan(truth[i, 0]) else Verdict(int(truth[i, 0])),
            verdict_origin=origins[i],
            tag_ids=None
            if np.isnan(truth[i, 1:]).any()
            else [t.pk for t, v in zip(tags, truth[i, 1:], strict=True) if v],
            is_sampled_negative=bool(sampled[i]),
            matches_rule=bool(matches[i]),
            probabilities=p[i].tolist(),
            masked_probabilities=masked[i].tolist(),
        )
        for i in range(n)
    )
    return version


def _tweets(count: int) -> list[Tweet]:
    first = Tweet.objects.count()
    return Tweet.objects.bulk_create(
        Tweet(text=f"invented tweet {i}", source=Source.GENERAL, import_id=0, dedupe_key=i, group_hash=i)
        for i in range(10_000 + first, 10_000 + first + count)
    )


def _probabilities(rng: np.random.Generator, truth: np.ndarray, spread: float) -> np.ndarray:
    logits = np.where(np.nan_to_num(truth) > 0, 1.5, -1.5) + rng.normal(0, spread, truth.shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def _report(
    names: list[str],
    truth: np.ndarray,
    *,
    p: np.ndarray,
    masked: np.ndarray,
    baseline: np.ndarray,
    thresholds: list[float | None],
    samples: np.ndarray,
    matches: np.ndarray,
) -> dict[str, Any]:
    def sample(rows: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
        return {
            "description": "invented",
            "n": int(rows.sum()),
            "network": evaluate.model_figures(names, truth[rows], probabilities[rows], thresholds),
            "baseline": evaluate.model_figures(names, truth[rows], baseline[rows], thresholds),
        }

    everything = np.ones(len(truth), dtype=bool)
    return {
        "tags": names,
        "seconds": 61.0,
        "epochs": [{"epoch": 1, "loss": 0.3, "validation_loss": 0.4}],
        "counts": {},
        "thresholds": {"DA": thresholds[0], "tags": dict(zip(names, thresholds[1:], strict=True))},
        "threshold_notes": {n: "too few" for n, t in zip(names, thresholds[1:], strict=True) if t is None},
        "prior": {"train": 0.3, "corpus": 0.01},
        "samples": {
            "test": sample(everything, p),
            "people": sample(samples == "people", p),
            "no_rule": sample(~matches, p),
            "masked": sample(everything, masked),
        },
        "environment": {"python": "3.11"},
        "verdict_loses": False,
        "macro_loses": True,
    }
