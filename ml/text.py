"""From raw strings to hashed words, inside the TensorFlow graph: the same code in training and in scoring.

A word is a run of letters, digits, emoji and other symbols. Links and handles are dropped: a model must not
learn who wrote. Every word is named by a bucket, a stable hash (FarmHash fingerprint) modulo 2²², and so is
every pair of neighbouring words; nothing else of the text is left.

Many texts enter the graph as one string, with BOUNDARY between them: an operation on one long string costs a
fraction of the same on thousands of short ones (docs/decisions/0010-the-fastest-graph.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

BUCKETS = 1 << 22  # 100,000 known words leave a new word a chance of 2 % to be mistaken for one of them
BYTES = 2_000  # of a text that are read: a tweet has at most 1,120
LETTERS = 20  # bytes of a word, with its two ends, of which the subwords are read
RUNS = (2, 3, 4, 5)  # bytes in a subword
BOUNDARY = b"\x1e"  # between texts: ASCII's record separator
_FOREIGN = r"[\x00\x1e]"  # no text may bring its own boundary, nor NUL, at which the Unicode functions stop

_DROPPED = r"(?:https?://|www\.)[^\s\x1e]+|@\w+|&\w+;"
# General punctuation, ideographic punctuation, variation selectors: what separates words beyond ASCII.
_BEYOND_ASCII = r"[\x{80}-\x{BF}\x{2000}-\x{206F}\x{3000}-\x{303F}\x{FE00}-\x{FE0F}\x{FF01}-\x{FF0F}\x{FFFD}]"
_REPLACED = f"{_DROPPED}|{_BEYOND_ASCII}"
_EMOJI = r"[\x{2190}-\x{2BFF}\x{1F000}-\x{1FAFF}]"  # each is a word of its own
_SEPARATORS = bytes(code for code in range(128) if not chr(code).isalnum())


def strings(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """The texts as one Arrow array of strings, as `joined` takes them: None is empty, a long text is cut."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    elif not isinstance(texts, pa.Array):
        texts = pa.array([encode(value or "") for value in texts], pa.binary())
    texts = texts.cast(pa.string()).fill_null("")
    if (pc.max(pc.binary_length(texts)).as_py() or 0) > BYTES:
        texts = pa.array([encode(value)[:BYTES].decode("utf-8", "ignore") for value in texts.to_pylist()])
    return texts


def encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # lone surrogates


def joined(texts: pa.Array) -> tf.Tensor:
    """Texts that `strings` gave, at least one, as the scalar string that the graph reads."""
    together = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
    whole: bytes = pc.binary_join(together, BOUNDARY.decode()).cast(pa.binary())[0].as_py()
    if whole.count(BOUNDARY) >= len(texts) or b"\x00" in whole:
        return joined(pc.replace_substring_regex(texts, _FOREIGN, " "))
    return tf.constant(whole)


def join(texts: tf.Tensor) -> tf.Tensor:
    """The same within the graph: string [n] → scalar string."""
    return tf.strings.reduce_join(tf.strings.regex_replace(texts, _FOREIGN, " "), separator=BOUNDARY)


def _lower(whole: tf.Tensor) -> tf.Tensor:
    """Lower-case; emoji set apart. Plain ASCII takes a path that is fifteen times as fast."""

    def with_unicode() -> tf.Tensor:
        return tf.strings.regex_replace(tf.strings.lower(whole, encoding="utf-8"), _EMOJI, r" \0 ")

    is_ascii = tf.equal(tf.strings.length(whole), tf.strings.length(whole, unit="UTF8_CHAR"))
    return tf.cond(is_ascii, lambda: tf.strings.lower(whole), with_unicode)


def _split(whole: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """All words, string [total]; the text of each, int64 [total], sorted; how many texts there are."""
    clean = tf.strings.regex_replace(_lower(whole), _REPLACED, " ")
    texts = tf.strings.split(clean, BOUNDARY)
    # This old operation splits at any one of several characters, which spares a regular expression.
    found = tf.raw_ops.StringSplit(input=texts, delimiter=_SEPARATORS)
    return found.values, found.indices[:, 0], tf.size(texts)


def _bucket(words: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.to_hash_bucket_fast(words, BUCKETS), tf.int32)


def words(whole: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """The words of each text, ragged string [n, (words)], and their buckets, int32 [total]."""
    found, rows, count = _split(whole)
    ragged = tf.RaggedTensor.from_value_rowids(found, rows, tf.cast(count, tf.int64), validate=False)
    return ragged, _bucket(found)


def buckets(whole: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The words' buckets, int32 [total]; the text of each, int64 [total], sorted; and n, the number of texts."""
    return words_and_buckets(whole)[1:]


def words_and_buckets(whole: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The same, and before them the words themselves, string [total]."""
    found, rows, count = _split(whole)
    return found, _bucket(found), rows, count


def pair_buckets(hashed: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Buckets of neighbouring words in one text, int32 [pairs], and where the first of each stands, int64 [pairs].

    `rows` names the text of each word, sorted.
    """
    mixed = tf.cast(hashed, tf.int64)
    mixed = mixed[:-1] * 0x2545F4914F6CDD1D + mixed[1:] * 0x9E3779B97F4A7
    mixed = tf.bitwise.bitwise_and(tf.bitwise.right_shift(mixed, 29), BUCKETS - 1)
    together = tf.where(tf.equal(rows[:-1], rows[1:]))[:, 0]
    return tf.cast(tf.gather(mixed, together), tf.int32), together


def subword_buckets(found: tf.Tensor) -> tf.Tensor:
    """Buckets of all runs of 2 to 5 bytes in each word: string [n] → int32 [n, places], −1 where there is none.

    A word's beginning and end are bytes of their own, and of a word longer than LETTERS bytes the rest is not read.
    """
    marked = tf.strings.join([tf.fill(tf.shape(found), "\x02"), found, tf.fill(tf.shape(found), "\x03")])
    codes = tf.cast(tf.io.decode_raw(marked, tf.uint8, fixed_length=LETTERS), tf.int64)
    lengths = tf.strings.length(marked)[:, None]
    parts = []
    for width in RUNS:
        starts = LETTERS - width + 1
        mixed = tf.fill([tf.shape(found)[0], starts], tf.constant(width, tf.int64))
        for place in range(width):
            mixed = mixed * 0x100000001B3 + codes[:, place : place + starts]
        mixed = tf.bitwise.right_shift(mixed * 0x2545F4914F6CDD1D, 29)
        mixed = tf.cast(tf.bitwise.bitwise_and(mixed, BUCKETS - 1), tf.int32)
        parts.append(tf.where(tf.range(starts)[None, :] <= lengths - width, mixed, -1))
    return tf.concat(parts, axis=1)


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


def batches(texts: Sequence[str], size: int = 8192) -> Iterator[tf.Tensor]:
    """Texts in order, joined, at most `size` at a time."""
    array = strings(texts)
    for start in range(0, len(array), size):
        yield joined(array[start : start + size])


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # type: ignore[untyped-decorator]
def _buckets_and_lengths(whole: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    hashed, rows, count = buckets(whole)
    return hashed, tf.math.bincount(tf.cast(rows, tf.int32), minlength=count)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])  # type: ignore[untyped-decorator]
def _words_and_buckets(whole: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return words_and_buckets(whole)[:2]


def spellings(
    texts: Sequence[str], *, among: NDArray[np.int32] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Every word of the texts, or those `among` them: buckets, int32 [words], ascending, and subwords as
    `subword_buckets` gives them.
    """
    spelled: dict[int, bytes] = {}
    for batch in batches(texts):
        found, hashed = (part.numpy() for part in _words_and_buckets(batch))
        names, places = np.unique(hashed, return_index=True)
        if among is not None:
            kept = np.isin(names, among)
            names, places = names[kept], places[kept]
        spelled.update(zip(names.tolist(), found[places].tolist(), strict=True))
    names = np.array(sorted(spelled), np.int32)
    words = [spelled[name] for name in names.tolist()]
    parts = [subword_buckets(tf.constant(words[k : k + 8192])).numpy() for k in range(0, len(words), 8192)]
    width = sum(LETTERS - run + 1 for run in RUNS)
    return names, np.concatenate([np.zeros((0, width), np.int32), *parts])


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
        parts = [_buckets_and_lengths(batch) for batch in batches(texts)]
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
