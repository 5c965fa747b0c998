"""The two networks. Raw strings in, logits out: one for the verdict DA, then one for each tag.

fast      every known word (and, if wanted, every known pair of neighbouring words) has one weight per output; they are
          summed over the text and divided by the square root of their number: logistic regression on hashed words
          (Weinberger et al. 2009), all outputs at once.
accurate  the same, plus a convolution over pre-trained word vectors with the maximum over the text (Kim 2014), as in
          Cheng et al. 2016, wide and deep: the sum remembers words, the convolution generalises between them. For the
          tags, unknown words are read by their spelling: the sum of weights of their subwords (ml.solving finds them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ml import text

TABLES = ("word_table", "pair_table", "vectors")  # row 0 of each: unknown
WIDTHS = (2, 3)  # words that a filter of the convolution spans
NOWHERE = -1e9  # below anything that a filter finds


@dataclass(frozen=True)
class Vocabulary:
    """Buckets of the known words and pairs; the k-th has row k + 1 of its table. Row 0, all zero: unknown."""

    words: NDArray[np.int32]
    pairs: NDArray[np.int32]
    subwords: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))


@dataclass(frozen=True)
class Shape:
    """Everything that decides the graph besides the weights."""

    architecture: str  # fast | accurate
    outputs: int  # 1 + tags
    word_dims: int = 0  # of the pre-trained word vectors, 50 to 200
    filters: int = 0  # of the convolution, per width
    length: int = 0  # words that the convolution reads
    subwords: bool = False  # whether unknown words count by their subwords, for the tags


def _row_of(buckets: NDArray[np.int32]) -> tf.Tensor:
    rows = np.zeros(text.BUCKETS, np.int32)
    rows[buckets] = np.arange(1, len(buckets) + 1, dtype=np.int32)
    return tf.constant(rows)


class Tagger(keras.Model):  # type: ignore[misc]
    """call: string [n] → logits float32 [n, 1 + tags]. Weights are named; see `state` and `restore`."""

    def __init__(self, shape: Shape, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.shape_ = shape
        self.vocabulary = vocabulary
        self.row_of_word = _row_of(vocabulary.words)
        self.row_of_pair = _row_of(vocabulary.pairs)
        self.word_table = self._table("word_table", len(vocabulary.words), shape.outputs)
        self.pair_table = self._table("pair_table", len(vocabulary.pairs), shape.outputs)
        self.bias = self.add_weight(name="bias", shape=(shape.outputs,), initializer="zeros")
        self.folded: list[list[tf.Tensor]] = []  # tables of the convolution, once `fold` made them
        if shape.architecture == "accurate":
            self.vectors = self._table("vectors", len(vocabulary.words), shape.word_dims)
            self.convolutions = [
                keras.layers.Conv1D(
                    shape.filters, width, padding="same", activation="relu", name=f"width_{width}"
                )
                for width in WIDTHS
            ]
            for layer in self.convolutions:
                layer.build((None, shape.length, shape.word_dims))
            self.deep = keras.layers.Dense(shape.outputs, name="deep", use_bias=False)
            self.deep.build((None, shape.filters * len(WIDTHS)))
            self.word_dropout = keras.layers.Dropout(0.2)  # of dimensions, the same ones throughout a text
            self.dropout = keras.layers.Dropout(0.4)
        self.compiled_logits = tf.function(
            lambda hashed, lengths: self.logits(hashed, *rows_of(lengths)),
            input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32)],
        )
        self.subword_table: Any = None
        self.compiled_of_joined = tf.function(self.of_joined, input_signature=[tf.TensorSpec([], tf.string)])
        if shape.subwords:
            self.add_subwords(vocabulary.subwords)
        self.built = True

    def _table(self, name: str, rows: int, dims: int) -> Any:
        return self.add_weight(name=name, shape=(rows + 1, dims), initializer="zeros")

    def call(self, texts: tf.Tensor) -> tf.Tensor:
        return self.of_joined(text.join(texts))

    def of_joined(self, whole: tf.Tensor) -> tf.Tensor:
        """The same from a scalar string that `text.joined` made: the fast way in."""
        found, hashed, rows, count = text.words_and_buckets(whole)
        result = self.logits(hashed, rows, count)
        return result if self.subword_table is None else result + self._spelled(found, hashed, rows, count)

    def add_subwords(self, subwords: NDArray[np.int32]) -> None:
        """After training: a table of weights for the subwords of unknown words, all zero. To be called once.

        What subwords add to a known word is part of that word's row, so they cost nothing there.
        """
        self.shape_ = replace(self.shape_, subwords=True)
        self.vocabulary = replace(self.vocabulary, subwords=subwords)
        self.row_of_subword = _row_of(subwords)
        zeros = np.zeros((len(subwords) + 1, self.shape_.outputs), np.float32)
        self.subword_table = tf.Variable(zeros, trainable=False, name="subword_table")

    def _spelled(self, found: tf.Tensor, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """What the subwords of unknown words add: the sum over the text, divided by √(all words)."""
        unknown = tf.where(tf.equal(tf.gather(self.row_of_word, hashed), 0))[:, 0]
        subwords = text.subword_buckets(tf.gather(found, unknown))
        known = tf.gather(self.row_of_subword, tf.maximum(subwords, 0)) * tf.cast(subwords >= 0, tf.int32)
        used = tf.where(known > 0)
        sums = tf.sparse.segment_sum(
            tf.convert_to_tensor(self.subword_table), tf.gather_nd(known, used),
            tf.gather(tf.gather(rows, unknown), used[:, 0]), num_segments=count,
        )  # fmt: skip
        words = tf.math.unsorted_segment_sum(tf.ones_like(rows, tf.float32), rows, count)
        return sums / tf.sqrt(tf.maximum(words, 1.0))[:, None]

    def logits(
        self, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor, *, training: bool = False
    ) -> tf.Tensor:
        """From words' buckets, int32 [total], the text of each, int [total], sorted, and the number of texts."""
        known = tf.gather(self.row_of_word, hashed)
        result = self.bias + _sum(self.word_table, known, rows, count)
        if len(self.vocabulary.pairs):
            pairs, first = text.pair_buckets(hashed, rows)
            known_pairs = tf.gather(self.row_of_pair, pairs)
            result += _sum(self.pair_table, known_pairs, tf.gather(rows, first), count)
        if self.shape_.architecture == "accurate":
            if self.folded and not training:
                result += self._convolve_folded(self._padded(known, rows, count))
            else:
                read = self._read(known, rows, count)
                result += self.convolve(tf.gather(self.vectors, known), read, rows, count, training=training)
        return result

    def _padded(self, known: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Rows of the first words, int32 [n, 1 … length + 1]: as wide as the longest text needs."""
        ragged = _ragged(known, rows, count)[:, : self.shape_.length]
        return tf.pad(ragged.to_tensor(), [[0, 0], [0, 1]])

    def _read(self, known: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """float32 [total], 1 for what the convolution reads: the known words among the first of each text."""
        rows, count = tf.cast(rows, tf.int32), tf.cast(count, tf.int32)
        lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, count)
        within = tf.range(tf.size(rows)) - tf.gather(tf.cumsum(lengths, exclusive=True), rows)
        return tf.cast((known > 0) & (within < self.shape_.length), tf.float32)

    def convolve(
        self,
        vectors: tf.Tensor,
        read: tf.Tensor,
        rows: tf.Tensor,
        count: tf.Tensor,
        *,
        training: bool = False,
    ) -> tf.Tensor:
        """Logits from the vectors of all words, [total, word_dims]; `read` from `_read`.

        The texts lie one behind the other with gaps of one word, beyond which no filter reaches: a third of the work on
        texts that are all padded to the longest of their batch.
        """
        rows, count = tf.cast(rows, tf.int32), tf.cast(count, tf.int32)
        kept = self.word_dropout(tf.ones([count, self.shape_.word_dims]), training=training)
        vectors = vectors * tf.gather(kept, rows) * read[:, None]
        place = tf.range(tf.size(rows)) + rows + 1
        length = tf.size(rows) + count + 1
        laid = tf.scatter_nd(place[:, None], vectors, [length, self.shape_.word_dims])
        found = []
        for layer in self.convolutions:
            width = layer.kernel.shape[0]
            sums = [
                tf.matmul(laid[offset : offset + length - width + 1], kernel)
                for offset, kernel in enumerate(tf.unstack(layer.kernel))
            ]
            everywhere = tf.nn.relu(sum(sums[1:], sums[0]) + layer.bias)
            here = tf.gather(everywhere, place - (width - 1) // 2) * read[:, None]
            found.append(tf.maximum(tf.math.unsorted_segment_max(here, rows, count), 0))
        return self.deep(self.dropout(tf.concat(found, axis=1), training=training))

    def fold(self) -> None:
        """Before scoring: work out once what each word adds to each filter from each place of its window.

        Then look-ups take the place of multiplications: twice the speed, the same logits but for rounding. Costs
        float32 [words + 1, filters] for each of the five places: 170 MB for 65,000 words.
        """
        self.folded = []
        for layer in self.convolutions:
            places = [tf.matmul(self.vectors, kernel) for kernel in tf.unstack(layer.kernel)]
            middle = (len(places) - 1) // 2
            # Where no known word stands, no filter finds anything: its maximum must lie elsewhere.
            nothing = tf.fill([1, places[middle].shape[1]], NOWHERE)
            places[middle] = tf.concat([nothing, places[middle][1:]], axis=0)
            self.folded.append(places)

    def _convolve_folded(self, padded: tf.Tensor) -> tf.Tensor:
        """`convolve`, from the tables that `fold` made."""
        length = tf.shape(padded)[1]
        around = tf.pad(padded, [[0, 0], [1, 1]])
        found = []
        for layer, places in zip(self.convolutions, self.folded, strict=True):
            first = 1 - (len(places) - 1) // 2
            shifted = [around[:, first + place : first + place + length] for place in range(len(places))]
            looked_up = [tf.gather(table, rows) for table, rows in zip(places, shifted, strict=True)]
            found.append(tf.nn.relu(tf.reduce_max(sum(looked_up[1:], looked_up[0]), axis=1) + layer.bias))
        return self.deep(tf.concat(found, axis=1))

    def contributions(self, whole: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """The words of each text, and what each adds to the logit of DA: gradient × input over its vectors.

        A pair's share is split between its two words (Denil et al. 2014 on gradient × input for text).
        """
        found, hashed = text.words(whole)
        count, rows = found.nrows(), found.value_rowids()
        pairs, first = text.pair_buckets(hashed, rows)
        known = tf.gather(self.row_of_word, hashed)
        inputs = [
            tf.gather(self.word_table, known),
            tf.gather(self.pair_table, tf.gather(self.row_of_pair, pairs)),
        ]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            logits = _averaged(inputs[0], rows, count) + _averaged(inputs[1], tf.gather(rows, first), count)
            if self.shape_.architecture == "accurate":
                inputs.append(tf.gather(self.vectors, known))
                tape.watch(inputs[2])
                logits += self.convolve(inputs[2], self._read(known, rows, count), rows, count)
            target = tf.reduce_sum(logits[:, 0])
        shares = [
            tf.reduce_sum(tf.convert_to_tensor(gradient) * value, axis=-1)
            for gradient, value in zip(tape.gradient(target, inputs), inputs, strict=True)
        ]
        total = shares[0]
        for index in (first, first + 1):
            total = tf.tensor_scatter_nd_add(total, index[:, None], shares[1] / 2)
        if self.shape_.architecture == "accurate":
            total += shares[2]
        return found, found.with_values(total)

    def named_weights(self) -> dict[str, Any]:
        """Every trained weight by a name that is the same in each process."""
        named = {name: getattr(self, name) for name in ("bias", *TABLES) if hasattr(self, name)}
        if self.subword_table is not None:
            named["subword_table"] = self.subword_table
        layers = [*self.convolutions, self.deep] if self.shape_.architecture == "accurate" else []
        return named | {f"{layer.name}.{weight.name}": weight for layer in layers for weight in layer.weights}

    def wide_and_deep(self) -> tuple[list[Any], list[Any]]:
        """The weights of the sum, and those of the convolution. Without the pairs' where there are none to learn."""
        wide = ("word_table", "pair_table", "bias")
        idle = () if len(self.vocabulary.pairs) else ("pair_table",)
        named = [(name, weight) for name, weight in self.named_weights().items() if name not in idle]
        return (
            [weight for name, weight in named if name.startswith(wide)],
            [weight for name, weight in named if not name.startswith(wide)],
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """All weights by name, and the vocabulary: what `restore` reads."""
        weights = {name: weight.numpy() for name, weight in self.named_weights().items()}
        named = {"words": self.vocabulary.words, "pairs": self.vocabulary.pairs}
        if self.subword_table is not None:
            named["subwords"] = self.vocabulary.subwords
        return {**weights, **named}

    def round_to_half(self) -> None:
        """Round the weights to what 16 bits hold, which is how they are saved."""
        for weight in self.named_weights().values():
            weight.assign(weight.numpy().astype(np.float16).astype(np.float32))

    @classmethod
    def restore(cls, shape: Shape, state: Mapping[str, NDArray[Any]]) -> Tagger:
        vocabulary = Vocabulary(words=state["words"], pairs=state["pairs"])
        if shape.subwords:
            vocabulary = replace(vocabulary, subwords=state["subwords"])
        model = cls(shape, vocabulary)
        for name, weight in model.named_weights().items():
            weight.assign(state[name].astype(np.float32))
        return model


def rows_of(lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """From words per text, int32 [n]: the text of each word, and n."""
    count = tf.size(lengths)
    return tf.repeat(tf.range(count), lengths), count


def _ragged(values: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.RaggedTensor:
    return tf.RaggedTensor.from_value_rowids(
        values, tf.cast(rows, tf.int64), tf.cast(count, tf.int64), validate=False
    )


def _sum(table: Any, rows: tf.Tensor, segments: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Σ table[row] / √n over each text, fused; zero for a text without rows. Row 0 is made to add nothing."""
    return tf.sparse.segment_sqrt_n(tf.convert_to_tensor(table), rows, segments, num_segments=count)


def _averaged(vectors: tf.Tensor, segments: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """The same as `_sum`, of vectors that are there already, so that a gradient can reach them."""
    sums = tf.math.unsorted_segment_sum(vectors, segments, count)
    number = tf.math.unsorted_segment_sum(tf.ones_like(segments, tf.float32), segments, count)
    return sums / tf.sqrt(tf.maximum(number, 1.0))[:, None]


def clear_unknown(model: Tagger) -> None:
    """Put row 0 of each table back to zero: gradients reach it, meaning must not."""
    for name in TABLES:
        table = getattr(model, name, None)
        if table is not None:
            table.assign(
                tf.tensor_scatter_nd_update(tf.convert_to_tensor(table), [[0]], tf.zeros([1, table.shape[1]]))
            )
