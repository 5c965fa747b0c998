"""The tags' weights of the sum, solved to the optimum: logistic regressions on words, and on how they are spelled.

The tags are judged on a few thousand texts at most. The epochs that are right for the verdict leave their weights far
from the optimum, and more of them would spoil the verdict; a solver gets there in seconds, one tag after the other,
and leaves every weight of the verdict as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ml import text
from ml.baseline import regression
from ml.fitting import Examples, Report, logits_of_texts
from ml.network import Tagger
from ml.pretraining import WordVectors
from ml.text import Bags, pair_buckets

TOLERANCE = 1e-2  # of the regression on subwords, which are many; stricter takes longer and ranks no better
LEAST_TEXTS = 2  # in which a subword must occur
SHARES = (0.0, 0.25, 0.5, 0.75)  # of the network in the tags' logits
MIN_POSITIVES = 5  # of a tag in validation, to have a say in the share


@dataclass(frozen=True)
class _Inputs:
    """What a regression reads: a sparse matrix [n, columns] and what each weight found must be multiplied by."""

    matrix: Any
    columns: NDArray[np.int64]
    scales: NDArray[np.float64]


@dataclass(frozen=True)
class _Weights:
    """Of all outputs: the tables of words and pairs one below the other, of subwords, of the convolution; biases."""

    tables: NDArray[np.float32]
    subwords: NDArray[np.float32]
    deep: NDArray[np.float32]
    bias: NDArray[np.float32]

    def mixed(self, other: _Weights, share: float) -> _Weights:
        """The tags' logits: `share` of mine and the rest of the other's. The verdict as it is in both."""

        def mix(mine: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
            result = mine.copy()
            result[..., 1:] = share * mine[..., 1:] + (1 - share) * others[..., 1:]
            return result

        return _Weights(
            mix(self.tables, other.tables), mix(self.subwords, other.subwords), mix(self.deep, other.deep),
            mix(self.bias, other.bias),
        )  # fmt: skip


def solve_tags(
    model: Tagger,
    train: Examples,
    weights: NDArray[np.float32],
    *,
    texts: Sequence[str],
    word_vectors: WordVectors | None = None,
    validation: Examples,
    validation_texts: Sequence[str],
    seed: int,
    report: Report,
) -> None:
    """Replace the tags' weights. `weights`: float32 [n, 1 + tags], 0 where a tag was not judged. `texts`: the n texts;
    `word_vectors`: those that the model began with, and how their words are spelled.

    1. Per tag a regression on the words and pairs, each by its inverse document frequency, which then becomes part of
       the weight. The texts are read with all their rule terms: for a tag those are the evidence, not a shortcut.
    2. `accurate`: per tag another regression on the subwords (runs of 2 to 5 bytes) of all words, known or not; the
       mean of both logits. Being linear, it becomes part of each known word's weight.
    3. `accurate`: the mean of that and of what the network had learned, in the share that has the best mean average
       precision on validation. A tag that all texts have, or none, stays as it was trained.
    """
    judged = np.flatnonzero((weights[:, 1:] > 0).any(axis=1))
    bags = Bags(*train.bags.take(judged))
    accurate = model.shape_.architecture == "accurate"
    by_word = _scaled(model_inputs(model, bags))
    if not len(by_word.columns):
        return
    speller = _Speller(model, texts, word_vectors) if accurate else None
    by_subword = speller.inputs(bags) if speller else None
    if by_subword is not None and not len(by_subword.columns):
        by_subword = None
    learned = _weights(model, 0 if by_subword is None else len(by_subword.columns))
    solved = _Weights(
        *(part.copy() for part in (learned.tables, learned.subwords, learned.deep, learned.bias))
    )
    tags = model.shape_.outputs - 1
    for tag in range(1, tags + 1):
        report({"stage": "Training the tags", "step": tag, "steps": tags})
        known = train.targets[judged, tag], weights[judged, tag]
        found = [regression(by_word.matrix, *known, seed)]
        if found[0] is None:
            continue
        if by_subword is not None:
            found.append(regression(by_subword.matrix, *known, seed, tolerance=TOLERANCE))
        solved.deep[:, tag] = 0
        solved.tables[:, tag] = 0
        solved.tables[by_word.columns, tag] = found[0].coef_[0] * by_word.scales / len(found)
        solved.bias[tag] = np.mean([one.intercept_[0] for one in found])
        if by_subword is not None:
            solved.subwords[1:, tag] = found[1].coef_[0] * by_subword.scales / len(found)
    if speller is not None and by_subword is not None:
        model.add_subwords(speller.names[by_subword.columns])
        solved.tables[: len(model.vocabulary.words), 1:] += (
            speller.of_known()[:, by_subword.columns] @ solved.subwords[1:, 1:]
        )
    if accurate:
        solved = _best_mix(model, learned, solved, validation, validation_texts)
    _assign(model, solved)


def _best_mix(
    model: Tagger, learned: _Weights, solved: _Weights, validation: Examples, texts: Sequence[str]
) -> _Weights:
    """Of the network and the regressions."""
    logits = []
    for one in (learned, solved):
        _assign(model, one)
        logits.append(logits_of_texts(model, texts))

    def judge(share: float) -> float:
        mixed = share * logits[0] + (1 - share) * logits[1]
        scores = [0.0]
        for tag in range(1, mixed.shape[1]):
            judged = validation.weights[:, tag] > 0
            truth = validation.targets[judged, tag]
            if MIN_POSITIVES <= truth.sum() < len(truth):
                scores.append(float(average_precision_score(truth, mixed[judged, tag])))
        return float(np.sum(scores))

    return learned.mixed(solved, max(SHARES, key=judge))


def _weights(model: Tagger, subwords: int) -> _Weights:
    tables = [model.word_table.numpy()[1:], model.pair_table.numpy()[1:]]
    deep = (
        model.deep.kernel.numpy()
        if model.shape_.architecture == "accurate"
        else np.zeros((0, model.shape_.outputs), np.float32)
    )
    return _Weights(
        np.concatenate(tables),
        np.zeros((subwords + 1, model.shape_.outputs), np.float32),
        deep,
        model.bias.numpy(),
    )


def _assign(model: Tagger, weights: _Weights) -> None:
    words = len(model.vocabulary.words)
    zero = np.zeros((1, model.shape_.outputs), np.float32)  # the unknown
    model.word_table.assign(np.concatenate([zero, weights.tables[:words]]))
    model.pair_table.assign(np.concatenate([zero, weights.tables[words:]]))
    model.bias.assign(weights.bias)
    if model.shape_.architecture == "accurate":
        model.deep.kernel.assign(weights.deep)
    if model.subword_table is not None:
        model.subword_table.assign(weights.subwords)


class _Speller:
    """How the words of some texts are spelled: which subwords each has."""

    def __init__(self, model: Tagger, texts: Sequence[str], word_vectors: WordVectors | None) -> None:
        self.model = model
        self.words, found = text.spellings(texts)
        if word_vectors is not None:
            further = ~np.isin(word_vectors.words, self.words)
            words = np.concatenate([self.words, word_vectors.words[further]])
            found = np.concatenate([found, word_vectors.subwords[further]])[np.argsort(words)]
            self.words = np.sort(words)
        self.names, places = np.unique(found, return_inverse=True)
        rows, columns = np.nonzero(found >= 0)
        columns = places.reshape(found.shape)[rows, columns]
        shape = (len(self.words), len(self.names))
        # Subwords by word. A subword that a word has twice counts twice.
        self.subwords = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)

    def inputs(self, bags: Bags) -> _Inputs:
        """1/√(words) for every subword in a text, by its inverse document frequency."""
        rows = bags.rows()
        shape = (len(bags), len(self.words))
        columns = np.searchsorted(self.words, bags.flat)
        by_word = sp.csr_matrix((1 / np.sqrt(bags.lengths[rows]), (rows, columns)), shape=shape)
        return _scaled(sp.csr_matrix(by_word @ self.subwords), least=LEAST_TEXTS)

    def of_known(self) -> Any:
        """The subwords of the words that the model knows, in the order of its table: sparse [words, subwords]."""
        known = self.model.vocabulary.words
        places = np.searchsorted(self.words, known).clip(0, max(len(self.words) - 1, 0))
        spelled = np.flatnonzero(self.words[places] == known)
        chosen = sp.csr_matrix(
            (np.ones(len(spelled), np.float32), (spelled, places[spelled])),
            shape=(len(known), len(self.words)),
        )
        return sp.csc_matrix(chosen @ self.subwords)


def model_inputs(model: Tagger, bags: Bags) -> Any:
    """What the sum weighs, sparse [n, words + pairs]: 1/√n for every known word, and for every known pair."""
    rows = bags.rows().astype(np.int32)
    pairs, first = pair_buckets(tf.constant(bags.flat), tf.constant(rows))
    return sp.csr_matrix(
        sp.hstack([
            _block(rows, tf.gather(model.row_of_word, bags.flat).numpy(), (len(bags), model.word_table.shape[0])),
            _block(rows[first.numpy()], tf.gather(model.row_of_pair, pairs).numpy(),
                   (len(bags), model.pair_table.shape[0])),
        ])
    )  # fmt: skip


def _block(rows: NDArray[np.int32], columns: NDArray[np.int32], shape: tuple[int, int]) -> Any:
    """Column 0, the unknown, counts in n and is then left out."""
    number = np.bincount(rows, minlength=shape[0])
    return sp.csr_matrix((1 / np.sqrt(number[rows]), (rows, columns)), shape=shape)[:, 1:]


def _scaled(inputs: Any, *, least: int = 1) -> _Inputs:
    """The columns in use, by their inverse document frequency; rows get a mean square norm of 1, so that C means what
    it always does."""
    texts = np.bincount(inputs.indices, minlength=inputs.shape[1])
    columns = np.flatnonzero(texts >= least)
    scales = np.log((1 + inputs.shape[0]) / (1 + texts[columns])) + 1
    used = sp.csr_matrix(inputs[:, columns])
    used.data = used.data * scales[used.indices]
    norm = np.sqrt(np.square(used.data).sum() / max(used.shape[0], 1)) or 1.0
    used.data /= norm
    return _Inputs(used, columns, scales / norm)
