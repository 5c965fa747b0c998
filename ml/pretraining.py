"""Word vectors from texts without labels: what words mean, learned from the words around them.

Counts of neighbouring words, weighted as positive pointwise mutual information with context-distribution
smoothing, then a truncated singular value decomposition (Levy, Goldberg and Dagan 2015). On short texts this
equals skip-gram with negative sampling in quality, takes a fraction of its time, and always gives the same result.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from ml import text
from ml.text import Bags

WINDOW = 5  # words to each side; a neighbour at distance d counts 1/d
SMOOTHING = 0.75  # power of the context counts


@dataclass(frozen=True)
class Settings:
    """What decides the vectors besides the texts."""

    dims: int = 100  # 50 to 200
    least: int = 5  # times that a word must occur in the texts to get a vector
    seed: int = 1


@dataclass(frozen=True)
class WordVectors:
    """words: int32 [n], buckets, ascending; vectors: float32 [n, dims], of length 1 but for rounding to 16 bits.

    subwords: int32 [n, places], how the words are spelled, as text.subword_buckets gives it.
    origin: what they were learned from, as JSON: settings, texts, words, and the fingerprint of the texts.
    """

    words: NDArray[np.int32]
    vectors: NDArray[np.float32]
    subwords: NDArray[np.int32]
    origin: dict[str, Any]

    def table(self, words: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [len(words) + 1, dims]: the rows of these words, ascending buckets. Row 0, and what is not known: 0."""
        result = np.zeros((len(words) + 1, self.vectors.shape[1]), np.float32)
        known = np.isin(words, self.words)
        result[1:][known] = self.vectors[np.searchsorted(self.words, words[known])]
        return result

    def save(self, path: Path) -> None:
        """Plain arrays, packed; nothing of the texts themselves."""
        np.savez_compressed(
            path, words=self.words, vectors=self.vectors.astype(np.float16), subwords=self.subwords
        )

    @classmethod
    def load(cls, path: Path, origin: dict[str, Any]) -> WordVectors:
        """What `save` wrote. Raises ValueError for another file."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                vectors = arrays["vectors"].astype(np.float32)
                return cls(arrays["words"], vectors, arrays["subwords"], origin)
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not word vectors of this application.") from error


def learn(texts: Sequence[str], settings: Settings) -> WordVectors:
    """Vectors of the words that occur often enough in the texts. The same texts and settings give the same vectors."""
    bags = Bags.of(texts)
    names, counts = np.unique(bags.flat, return_counts=True)
    words = names[counts >= settings.least].astype(np.int32)
    row_of_word = np.zeros(text.BUCKETS, np.int32)
    row_of_word[words] = np.arange(1, len(words) + 1, dtype=np.int32)
    vectors = word_vectors(bags, row_of_word, dims=settings.dims, seed=settings.seed)[1:]
    fingerprint = hashlib.sha256(bags.lengths.tobytes() + bags.flat.tobytes()).hexdigest()
    _, subwords = text.spellings(texts, among=words)
    return WordVectors(words, vectors.astype(np.float16).astype(np.float32), subwords, {
        "settings": asdict(settings), "texts": len(texts), "words": len(words), "fingerprint": fingerprint,
    })  # fmt: skip


def word_vectors(bags: Bags, row_of_word: NDArray[np.int32], *, dims: int, seed: int) -> NDArray[np.float32]:
    """float32 [words + 1, dims], of length 1; row 0 and words never seen are zero."""
    size = int(row_of_word.max()) + 1
    if size < 3:  # fewer than two words: nothing to be like
        return np.zeros((size, dims), np.float32)
    counts = _neighbours(bags, row_of_word, size)
    weighted = _ppmi(counts)
    left, values, _ = randomized_svd(weighted, n_components=min(dims, size - 1), n_iter=3, random_state=seed)
    vectors = np.zeros((size, dims), np.float32)
    vectors[:, : left.shape[1]] = left * np.sqrt(values)
    vectors[np.asarray(counts.sum(axis=1)).ravel() == 0] = 0  # rounding leaves noise there
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.where(norms > 0, norms, 1)
    return vectors


def _neighbours(bags: Bags, row_of_word: NDArray[np.int32], size: int) -> sparse.csr_matrix:
    known = row_of_word[bags.flat]
    texts = bags.rows()
    counts = sparse.csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        left, right = known[:-distance], known[distance:]
        together = (texts[:-distance] == texts[distance:]) & (left > 0) & (right > 0)
        left, right = left[together], right[together]
        weights = np.full(len(left), 1 / distance, np.float32)
        counts += sparse.coo_matrix((weights, (left, right)), shape=(size, size)).tocsr()
    return counts + counts.T


def _ppmi(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    entries = counts.tocoo()
    per_word = np.asarray(counts.sum(axis=1)).ravel()
    context = per_word**SMOOTHING
    context /= max(context.sum(), 1e-12)
    values = np.log(entries.data / (per_word[entries.row] * context[entries.col]))
    positive = values > 0
    return sparse.csr_matrix(
        (values[positive].astype(np.float32), (entries.row[positive], entries.col[positive])),
        shape=counts.shape,
    )
