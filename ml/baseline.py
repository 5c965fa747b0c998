"""The yardstick: TF-IDF of words and pairs + logistic regression, trained on the very same examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

C = 3.0


class Baseline:
    """One regression for the verdict and one per tag, each on the examples judged for it.

    An output with one class only has no regression, and NaN for a probability.
    """

    def __init__(
        self,
        texts: Sequence[str],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        *,
        seed: int = 0,
    ) -> None:
        self.vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        try:
            features = self.vectorizer.fit_transform(texts)
        except ValueError:  # not one word in all the texts
            self.models: list[Any] = [None] * targets.shape[1]
            return
        self.models = [
            regression(features, targets[:, output], weights[:, output], seed)
            for output in range(targets.shape[1])
        ]

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, 1 + tags]: uncalibrated probabilities."""
        result = np.full((len(texts), len(self.models)), np.nan, np.float32)
        if len(texts) and any(self.models):
            features = self.vectorizer.transform(texts)
            for output, model in enumerate(self.models):
                if model is not None:
                    result[:, output] = expit(model.decision_function(features))
        return result


def regression(
    features: Any,
    truth: NDArray[np.float32],
    weights: NDArray[np.float32],
    seed: int,
    *,
    tolerance: float = 1e-4,
) -> Any:
    """Fitted on what has a weight; None when that is of one class only. `tolerance`: of the gradient, relative."""
    judged = np.flatnonzero(weights > 0)
    if len(np.unique(truth[judged])) < 2:
        return None
    model = LogisticRegression(C=C, max_iter=1000, solver="liblinear", random_state=seed, tol=tolerance)
    return model.fit(features[judged], truth[judged] > 0, sample_weight=weights[judged])
