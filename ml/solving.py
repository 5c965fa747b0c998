"""The tags' weights of the sum, solved to the optimum: one logistic regression per tag on the network's own inputs.

The tags are judged on a few thousand texts at most. The epochs that are right for the verdict leave their weights far
from the optimum, and more of them would spoil the verdict; a solver gets there in seconds, one tag after the other,
and leaves every weight of the verdict as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
from numpy.typing import NDArray

from ml.baseline import regression
from ml.fitting import Examples, Report
from ml.network import Tagger
from ml.text import Bags, pair_buckets


def solve_tags(
    model: Tagger, train: Examples, weights: NDArray[np.float32], *, seed: int, report: Report
) -> None:
    """Replace the tags' weights. `weights`: float32 [n, 1 + tags], 0 where a tag was not judged.

    The texts are read with all their rule terms: for a tag those are the evidence, not a shortcut. Inputs count by
    their inverse document frequency, which then becomes part of the weight. In `accurate` the tags get no share of
    the convolution: it was fitted to these very texts, and is not trusted twice. A tag that all texts have, or none,
    stays as it was trained.
    """
    judged = np.flatnonzero((weights[:, 1:] > 0).any(axis=1))
    inputs = model_inputs(model, Bags(*train.bags.take(judged)))
    columns, scales = _inverse_document_frequency(inputs)
    if not len(columns):
        return
    inputs = sp.csr_matrix(inputs[:, columns] @ sp.diags(scales))
    tables = model.word_table.numpy(), model.pair_table.numpy()
    both = np.concatenate([table[1:] for table in tables])
    bias = model.bias.numpy()
    deep = model.deep.kernel.numpy() if model.shape_.architecture == "accurate" else None
    tags = model.shape_.outputs - 1
    for tag in range(1, tags + 1):
        report({"stage": "Training the tags", "step": tag, "steps": tags})
        found = regression(inputs, train.targets[judged, tag], weights[judged, tag], seed)
        if found is None:
            continue
        both[:, tag] = 0
        both[columns, tag] = found.coef_[0] * scales
        bias[tag] = found.intercept_[0]
        if deep is not None:
            deep[:, tag] = 0
    words = len(tables[0]) - 1
    model.word_table.assign(np.concatenate([tables[0][:1], both[:words]]))
    model.pair_table.assign(np.concatenate([tables[1][:1], both[words:]]))
    model.bias.assign(bias)
    if deep is not None:
        model.deep.kernel.assign(deep)


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


def _inverse_document_frequency(inputs: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The columns in use and their scales, which give the rows a mean square norm of 1: C means what it always does."""
    texts = np.bincount(inputs.indices, minlength=inputs.shape[1])
    columns = np.flatnonzero(texts)
    scales = np.log((1 + inputs.shape[0]) / (1 + texts[columns])) + 1
    norm = inputs[:, columns].multiply(scales).power(2).sum() / max(inputs.shape[0], 1)
    return columns, scales / np.sqrt(norm) if norm else scales
