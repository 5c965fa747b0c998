"""Do the words that a model marks drive its score? Deleting them must lower it more than deleting random ones.

The measure is the comprehensiveness of DeYoung et al. (2020, ERASER, arXiv:1911.03429), in log-odds of DA and beside
as many random words of the same texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

WORDS = 3  # deleted at once; posts have 10 to 30
DRAWS = 5  # random choices of as many words, of each text
MOST = 500  # texts measured; the interval is narrow by then
SMALLEST = 1e-7  # probability, float32's resolution near 1: log-odds stay within ±16


class Predictor(Protocol):
    """What ml.predict.load() returns."""

    def predict(self, texts: Sequence[str]) -> NDArray[np.float32]: ...

    def words(self, texts: Sequence[str]) -> list[list[tuple[int, int, float]]]: ...


@dataclass(frozen=True)
class Faithfulness:
    """By how much the log-odds of DA fall on average when words are deleted; natural logarithm."""

    n: int  # texts
    words: int  # deleted from each
    marked: float  # when they are those marked most strongly towards DA
    random: float  # when they are chosen at random among all words of the text
    low: float  # 95 % interval of the difference of the two, over texts
    high: float


def measure(
    predictor: Predictor, texts: Sequence[str], *, words: int = WORDS, draws: int = DRAWS, seed: int = 0
) -> Faithfulness | None:
    """On texts of more than `words` words; None where there are not two of them.

    texts: such as the model flags and has not learnt from. Cost: 2 + `draws` predictions and one gradient for each.
    """
    rng = np.random.default_rng(seed)
    spans = predictor.words(texts)
    chosen = [place for place, found in enumerate(spans) if len(found) > words]
    if len(chosen) < 2:
        return None
    whole = [texts[place] for place in chosen]
    before = _log_odds(predictor, whole)
    marked = before - _log_odds(predictor, [_without(texts[i], _strongest(spans[i], words)) for i in chosen])
    at_random = np.mean(
        [
            before - _log_odds(predictor, [_without(texts[i], _any(spans[i], words, rng)) for i in chosen])
            for _ in range(draws)
        ],
        axis=0,
    )
    difference = marked - at_random
    margin = 1.96 * float(difference.std(ddof=1)) / len(chosen) ** 0.5
    mean = float(difference.mean())
    return Faithfulness(
        len(chosen), words, float(marked.mean()), float(at_random.mean()), mean - margin, mean + margin
    )


Span = tuple[int, int, float]


def _strongest(spans: Sequence[Span], count: int) -> list[Span]:
    return sorted(spans, key=lambda span: span[2], reverse=True)[:count]


def _any(spans: Sequence[Span], count: int, rng: np.random.Generator) -> list[Span]:
    return [spans[place] for place in rng.choice(len(spans), count, replace=False)]


def _without(text: str, spans: Sequence[Span]) -> str:
    """The text with a space in place of each span."""
    for start, end, _ in sorted(spans, reverse=True):
        text = f"{text[:start]} {text[end:]}"
    return text


def _log_odds(predictor: Predictor, texts: Sequence[str]) -> NDArray[np.float64]:
    probability: NDArray[Any] = predictor.predict(texts)[:, 0].astype(np.float64)
    odds: NDArray[np.float64] = logit(np.clip(probability, SMALLEST, 1 - SMALLEST))
    return odds
