"""From raw strings to hashed words, inside the TensorFlow graph: the same code in training and in scoring.

A word is a run of letters, digits, emoji and other symbols. Links and handles are dropped: a model must not
learn who wrote. Every word is named by a bucket, a stable hash (FarmHash fingerprint) modulo 2²², and so is
every pair of neighbouring words; nothing else of the text is left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

BUCKETS = 1 << 22  # 100,000 known words leave a new word a chance of 2 % to be mistaken for one of them
BYTES = 2_000  # of a text that are read: a tweet has at most 1,120

_DROPPED = r"(?:https?://|www\.)\S+|@\w+|&\w+;"
# ASCII punctuation and control characters, general punctuation, ideographic punctuation, variation selectors.
_SEPARATORS = (
    r"[\x00-%'-/:-?\[-`{-\x{BF}\x{2000}-\x{206F}\x{3000}-\x{303F}\x{FE00}-\x{FE0F}\x{FF01}-\x{FF0F}\x{FFFD}]+"
)
_SPLITTING = rf"(?:{_DROPPED}|{_SEPARATORS}|[@&])+"
# Texts that need the slow path: capitals beyond ASCII, or emoji, each of which is a word of its own.
_NOT_PLAIN = r"(?s).*[\x{C0}-\x{5FF}\x{1E00}-\x{1FFF}\x{2190}-\x{2BFF}\x{1F000}-\x{1FAFF}].*"
_EMOJI = r"([\x{2190}-\x{2BFF}\x{1F000}-\x{1FAFF}])"


def _lower(texts: tf.Tensor) -> tf.Tensor:
    """Unicode lower-case, emoji set apart. Plain ASCII texts take a path that is four times as fast."""
    lowered = tf.strings.lower(texts)
    slow = tf.where(tf.strings.regex_full_match(texts, _NOT_PLAIN))

    def with_unicode() -> tf.Tensor:
        some = tf.strings.lower(tf.gather_nd(texts, slow), encoding="utf-8")
        some = tf.strings.regex_replace(some, _EMOJI, r" \1 ")
        return tf.tensor_scatter_nd_update(lowered, slow, some)

    return tf.cond(tf.size(slow) > 0, with_unicode, lambda: lowered)


def words(texts: tf.Tensor) -> tf.RaggedTensor:
    """The words of each text: string [n] → ragged string [n, (words)]."""
    lowered = _lower(tf.strings.substr(texts, 0, BYTES))
    return tf.strings.split(tf.strings.regex_replace(lowered, _SPLITTING, " "))


def buckets(texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The words' buckets, int32 [total], and how many words each text has, int32 [n]."""
    return bucket_words(words(texts))


def bucket_words(found: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    hashed = tf.strings.to_hash_bucket_fast(found.values, BUCKETS)
    return tf.cast(hashed, tf.int32), tf.cast(found.row_lengths(), tf.int32)


def pair_buckets(hashed: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Buckets of neighbouring words in one text, int32 [pairs], and where the first of each stands, int64 [pairs].

    `rows` names the text of each word, sorted.
    """
    mixed = tf.cast(hashed, tf.int64)
    mixed = mixed[:-1] * 0x2545F4914F6CDD1D + mixed[1:] * 0x9E3779B97F4A7
    mixed = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 29), BUCKETS - 1)
    together = tf.where(tf.equal(rows[:-1], rows[1:]))[:, 0]
    return tf.cast(tf.gather(mixed, together), tf.int32), together


_DROPPED_IN_PYTHON = re.compile(r"(?:https?://|www\.)\S+|@\w+|&\w+;", re.ASCII | re.IGNORECASE)


def spans(text: str, found: Sequence[str]) -> list[tuple[int, int]]:
    """Where in the original text (characters, end exclusive) each word that `words` found stands."""
    blanked = _DROPPED_IN_PYTHON.sub(lambda match: " " * len(match[0]), text)
    lowered = "".join(low if len(low := character.lower()) == 1 else character for character in blanked)
    places = []
    position = 0
    for word in found:
        start = lowered.find(word, position)
        if start < 0:  # a letter whose lower case is longer than one character, or a cut-off end
            places.append((position, position))
            continue
        position = start + len(word)
        places.append((start, position))
    return places


def batches(texts: Sequence[str], size: int = 8192) -> Any:
    """Texts in order, as string tensors of at most `size`; lone surrogates are replaced."""
    for start in range(0, len(texts), size):
        yield tf.constant([encode(text) for text in texts[start : start + size]], dtype=tf.string)


def encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


_compiled_buckets = tf.function(buckets, input_signature=[tf.TensorSpec([None], tf.string)])


class Bags:
    """The words of many texts as buckets in one flat array, ready to be drawn from in batches."""

    def __init__(self, flat: NDArray[np.int32], lengths: NDArray[np.int32]) -> None:
        self.flat = flat
        self.lengths = lengths
        self.starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:-1]

    def __len__(self) -> int:
        return len(self.lengths)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bags:
        parts = [_compiled_buckets(batch) for batch in batches(texts)]
        if not parts:
            return cls(np.zeros(0, np.int32), np.zeros(0, np.int32))
        return cls(
            np.concatenate([flat.numpy() for flat, _ in parts]),
            np.concatenate([lengths.numpy() for _, lengths in parts]),
        )

    def rows(self) -> NDArray[np.int64]:
        """The text of each word."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Buckets and lengths of some of the texts, in the order asked for."""
        lengths = self.lengths[indices]
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return self.flat[np.repeat(self.starts[indices], lengths) + within], lengths

    def joined(self, other: Bags) -> Bags:
        return Bags(np.concatenate([self.flat, other.flat]), np.concatenate([self.lengths, other.lengths]))
