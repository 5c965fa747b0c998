"""Labels that are probably wrong: out-of-sample probabilities by a cheap model in folds, weighed by cleanlab.

Confident learning (Northcutt, Jiang & Chuang 2021, arXiv:1911.00068), for each output by itself as cleanlab does it
for many labels (Thyagarajan et al. 2022, arXiv:2211.13895): a label counts as wrong where its probability is low
beside that of other texts with the same label, and no more labels do than the estimated share of wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.baseline import Baseline

FOLDS = 5
LEAST = 10  # texts with and without an output: below it nothing is said of the output


@dataclass(frozen=True)
class Suspect:
    row: int
    output: int
    quality: float  # 0 to 1: probability of the label as it was given, out of sample


def out_of_sample(
    texts: Sequence[str],
    targets: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    folds: int = FOLDS,
    seed: int = 0,
    tick: Callable[[int], None] = lambda fold: None,
) -> NDArray[np.float32]:
    """float32 [n, outputs]: probabilities by models that have seen neither the text nor one of its group.

    targets: [n, outputs] of 1, 0 and NaN (not judged). NaN comes back where a fold has one class only to learn from.
    One model for all, so that the probabilities compare; TF-IDF and logistic regression: seconds for 10,000 texts.
    `tick` hears of each fold before it is done, and may raise to cancel.
    """
    distinct, member = np.unique(groups, return_inverse=True)
    fold_of = np.random.default_rng(seed).permutation(len(distinct))[member] % folds
    judged = ~np.isnan(targets)
    result = np.full(targets.shape, np.nan, np.float32)
    for fold in range(folds):
        tick(fold)
        held, rest = (np.flatnonzero(which).tolist() for which in (fold_of == fold, fold_of != fold))
        model = Baseline(
            [texts[i] for i in rest], np.nan_to_num(targets[rest]), judged[rest].astype(np.float32), seed=seed
        )
        result[held] = model.predict([texts[i] for i in held])
    return result


def suspects(targets: NDArray[np.float32], probabilities: NDArray[np.float32]) -> list[Suspect]:
    """Judgements that are probably wrong, the worst first. Both arrays as of out_of_sample()."""
    found = []
    for output in range(targets.shape[1]):
        rows = np.flatnonzero(~np.isnan(targets[:, output]) & ~np.isnan(probabilities[:, output]))
        truth, p = targets[rows, output] > 0, probabilities[rows, output].astype(np.float64)
        if min(truth.sum(), (~truth).sum()) < LEAST:
            continue
        is_wrong, quality = _weigh(truth, p)
        found += [Suspect(int(rows[i]), output, float(quality[i])) for i in np.flatnonzero(is_wrong)]
    return sorted(found, key=lambda suspect: suspect.quality)


def _weigh(truth: NDArray[np.bool_], p: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of one output: which labels count as wrong, and the quality of each."""
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    labels = [[0] if has else [] for has in truth]
    is_wrong = find_multilabel_issues_per_class(labels, p[:, None], n_jobs=1)
    quality = get_label_quality_scores_per_class(labels, p[:, None])
    return np.asarray(is_wrong)[:, 0], np.asarray(quality)[:, 0]
