"""Figures of a model on a sample of judged tweets, as plain data. Undefined figures are None, never 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

CURVE_POINTS = 100
BINS = 10

Floats = NDArray[np.floating[Any]]


def model_figures(
    tags: list[str],
    truth: Floats,
    probabilities: Floats,
    thresholds: list[float | None],
    *,
    reliability: Floats | None = None,
) -> dict[str, Any]:
    """The MODEL part of the report.

    truth: float [n, 1 + tags], DA first, NaN where not judged. probabilities: the same shape, NaN where the model
    has no opinion. `reliability`: probabilities for the reliability diagrams where they differ, namely P(DA) for
    the mix of this sample and not of the corpus.
    """
    shown = probabilities if reliability is None else reliability
    columns = [
        binary(truth[:, k], probabilities[:, k], thresholds[k], shown[:, k]) for k in range(len(tags) + 1)
    ]
    per_tag = dict(zip(tags, columns[1:], strict=True))
    judged = int((~np.isnan(truth[:, 1:])).any(axis=1).sum()) if tags else 0
    return {
        "verdict": columns[0] if columns[0]["n"] else None,
        "tags": per_tag,
        "micro": {**_micro(columns[1:]), "n": judged},
        "macro": {**_macro(columns[1:]), "n": judged},
        "tag_against_tag": tag_against_tag(truth[:, 1:], probabilities[:, 1:], thresholds[1:]),
    }


def binary(truth: Floats, probability: Floats, threshold: float | None, shown: Floats) -> dict[str, Any]:
    """The BINARY part of the report: one output on the tweets judged for it."""
    judged = ~np.isnan(truth) & ~np.isnan(probability)
    y, p = truth[judged] > 0, probability[judged].astype(np.float64)
    predicted = decide(p, threshold)
    tp, fp = int((y & predicted).sum()), int((~y & predicted).sum())
    fn, tn = int((y & ~predicted).sum()), int((~y & ~predicted).sum())
    return {
        "n": len(y),
        "positives": int(y.sum()),
        "threshold": threshold,
        "tp": tp, "fp": fp, "fn": fn, "tn": tn,
        **_rates(tp, fp, fn),
        "average_precision": float(average_precision_score(y, p)) if y.any() else None,
        "curve": _curve(y, p),
        "reliability": _reliability(y, shown[judged].astype(np.float64)),
    }  # fmt: skip


def decide(probability: Floats, threshold: float | None) -> NDArray[np.bool_]:
    """Which are predicted: at or above the threshold; none without one; none where there is no probability."""
    if threshold is None:
        return np.zeros(probability.shape, bool)
    return np.asarray(probability.astype(np.float64) >= threshold)  # exact, as the database compares


def tag_against_tag(truth: Floats, probability: Floats, thresholds: list[float | None]) -> list[list[int]]:
    """Counts of tweets judged for every tag: cell [i][j] has tag i and is predicted tag j.

    A tweet counts in every such cell; the last row has those with no tag, the last column those predicted none.
    """
    judged = ~np.isnan(truth).any(axis=1)
    has = _with_none(truth[judged] > 0)
    predicted = _with_none(
        np.stack([decide(probability[judged, k], thresholds[k]) for k in range(truth.shape[1])], axis=1)
        if truth.shape[1]
        else np.zeros((int(judged.sum()), 0), bool)
    )
    return [[int(count) for count in row] for row in has.T.astype(np.int64) @ predicted.astype(np.int64)]


def class_figures(tags: list[str], truth: Floats, probabilities: Floats) -> dict[str, Any] | None:
    """Figures where each tweet has exactly one of the tags: the most probable one is predicted.

    truth, probabilities: float [n, tags]. None without a judged tweet. `confusion`: counts, cell [i][j] is of class i
    and predicted j. Macro F1 is the mean over the classes that occur.
    """
    judged = ~np.isnan(truth).any(axis=1)
    if not judged.any():
        return None
    has = truth[judged].argmax(axis=1)
    predicted = np.nan_to_num(probabilities[judged], nan=-1.0).argmax(axis=1)
    confusion = np.zeros((len(tags), len(tags)), np.int64)
    np.add.at(confusion, (has, predicted), 1)
    right = np.diag(confusion)
    per_class = {
        tag: {"n": int(confusion[k].sum()), **_rates(int(right[k]), int(confusion[:, k].sum() - right[k]),
                                                    int(confusion[k].sum() - right[k]))}
        for k, tag in enumerate(tags)
    }  # fmt: skip
    scores = [figures["f1"] for figures in per_class.values() if figures["f1"] is not None and figures["n"]]
    return {
        "n": int(judged.sum()), "accuracy": float(right.sum() / judged.sum()), "macro_f1": float(np.mean(scores)),
        "classes": per_class, "confusion": confusion.tolist(),
    }  # fmt: skip


def _with_none(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.concatenate([chosen, ~chosen.any(axis=1, keepdims=True)], axis=1)


def _rates(tp: int, fp: int, fn: int) -> dict[str, float | None]:
    return {
        "precision": tp / (tp + fp) if tp + fp else None,
        "recall": tp / (tp + fn) if tp + fn else None,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fn else None,
    }


def _micro(columns: list[dict[str, Any]]) -> dict[str, float | None]:
    return _rates(*(sum(column[cell] for column in columns) for cell in ("tp", "fp", "fn")))


def _macro(columns: list[dict[str, Any]]) -> dict[str, float | None]:
    """Means over the tags for which the figure is defined."""
    result: dict[str, float | None] = {}
    for name in ("precision", "recall", "f1"):
        values = [column[name] for column in columns if column[name] is not None]
        result[name] = float(np.mean(values)) if values else None
    return result


def _curve(y: NDArray[np.bool_], p: NDArray[np.float64]) -> dict[str, list[float]]:
    """At most CURVE_POINTS points, evenly spread over the recall."""
    if not y.any():
        return {"recall": [], "precision": [], "threshold": []}
    precision, recall, threshold = precision_recall_curve(y, p)
    precision, recall = precision[:-1], recall[:-1]
    wanted = np.linspace(recall.min(), 1, CURVE_POINTS)
    # recall falls with the index; the last index with at least the wanted recall
    chosen = np.unique(
        len(recall) - 1 - np.searchsorted(recall[::-1], wanted, side="left").clip(0, len(recall) - 1)
    )
    return {
        "recall": [round(float(value), 5) for value in recall[chosen]],
        "precision": [round(float(value), 5) for value in precision[chosen]],
        "threshold": [float(f"{value:.5g}") for value in threshold[chosen]],
    }


def _reliability(y: NDArray[np.bool_], p: NDArray[np.float64]) -> dict[str, Any]:
    """Ten bins of equal width; the expected calibration error; the Brier score."""
    if not len(y):
        return {"bins": [], "ece": None, "brier": None}
    places = np.clip((p * BINS).astype(int), 0, BINS - 1)
    bins: list[dict[str, Any]] = []
    for k in range(BINS):
        inside = places == k
        n = int(inside.sum())
        bins.append({
            "low": k / BINS, "high": (k + 1) / BINS, "n": n,
            "predicted": float(p[inside].mean()) if n else None,
            "observed": float(y[inside].mean()) if n else None,
        })  # fmt: skip
    gaps = [abs(b["predicted"] - b["observed"]) * b["n"] for b in bins if b["n"]]
    return {"bins": bins, "ece": float(sum(gaps) / len(y)), "brier": float(((p - y) ** 2).mean())}
