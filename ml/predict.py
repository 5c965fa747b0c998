"""Probabilities from a trained model, and the words behind them.

python -m ml.predict DIR FILE      # JSON lines on standard output
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from numpy.typing import NDArray

from ml import artefact, files, text
from ml.cascade import Pair

PART = 1 << 18  # texts put in order at a time
FAST_BATCH = 16_384  # texts in one call of the graph: fewer cost more for the call, more leave the cache
ACCURATE_BATCH = 512  # the same for the accurate graph; a convolution costs as much as its longest text


class Predictor:
    """A loaded model. Calls one compiled graph; safe to use from one thread at a time."""

    def __init__(self, model: Any, description: dict[str, Any]) -> None:
        self.tags: list[str] = description["tags"]
        self.thresholds: dict[str, Any] = description["thresholds"]
        self.task: str = description["config"].get("task", "verdict")  # older models have no other
        self.description = description
        self._accurate = model.shape_.architecture == "accurate"
        self._batch = ACCURATE_BATCH if self._accurate else FAST_BATCH
        if self._accurate:
            model.fold()
        slopes = tf.constant([scale["slope"] for scale in description["scales"]], tf.float32)
        intercepts = tf.constant([scale["intercept"] for scale in description["scales"]], tf.float32)
        signature = [tf.TensorSpec([], tf.string)]
        self._probabilities = tf.function(
            lambda whole: tf.sigmoid(model.of_joined(whole) * slopes + intercepts), input_signature=signature
        )
        self._contributions = tf.function(model.contributions, input_signature=signature)

    def predict(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
        """float32 [n, 1 + tags]: P(DA) in the corpus, then the probability of each tag. None counts as empty.

        P(DA) is NaN where the model learned tags alone.
        """
        result = np.empty((len(texts), 1 + len(self.tags)), np.float32)
        for first in range(0, len(texts), PART):
            part = text.strings(texts[first : first + PART])
            order = order_of(part, by_length=self._accurate)
            for start in range(0, len(order), self._batch):
                some = order[start : start + self._batch]
                batch = text.joined(part.take(pa.array(some)))
                result[first + some] = self._probabilities(batch).numpy()
        if self.task != "verdict":
            result[:, 0] = np.nan
        return result

    def words(self, texts: Sequence[str]) -> list[list[tuple[int, int, float]]]:
        """For each text its words as (start, end, weight), in characters; weight −1 (NDA) … 1 (DA).

        The weight is tanh of the word's gradient × input, so of what it adds to the log-odds of DA.
        """
        result: list[list[tuple[int, int, float]]] = []
        for start in range(0, len(texts), 256):
            part = texts[start : start + 256]
            found, shares = self._contributions(text.joined(text.strings(part)))
            for value, words, weights in zip(part, found.to_list(), shares.to_list(), strict=True):
                decoded = [word.decode("utf-8", "replace") for word in words]
                places = text.spans(value, decoded)
                result.append([
                    (begin, end, float(np.tanh(weight)))
                    for (begin, end), weight in zip(places, weights, strict=True)
                    if end > begin
                ])  # fmt: skip
        return result


class CascadePredictor:
    """Two networks that look like one: `fast` on every text, `accurate` on those that reach the cut."""

    def __init__(self, models: Pair, description: dict[str, Any]) -> None:
        self.tags: list[str] = description["tags"]
        self.thresholds: dict[str, Any] = description["thresholds"]
        self.description = description
        join = description["cascade"]
        self.task = "verdict"
        self.fast = Predictor(models.fast, description)
        self.accurate = Predictor(models.accurate, {**description, "scales": join["scales"]})
        self.cut: float = join["cut"]
        self.ceiling: float = join["ceiling"]

    def predict(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
        """As Predictor.predict. Texts are gathered before they are read again: few at a time cost more."""
        result = np.empty((len(texts), 1 + len(self.tags)), np.float32)
        for first in range(0, len(texts), PART):
            part = text.strings(texts[first : first + PART])
            found = self.fast.predict(part)
            again = np.flatnonzero(found[:, 0] >= self.cut)
            np.minimum(found[:, 0], self.ceiling, out=found[:, 0])
            found[again] = self.accurate.predict(part.take(pa.array(again)))
            result[first : first + PART] = found
        return result

    def words(self, texts: Sequence[str]) -> list[list[tuple[int, int, float]]]:
        """As Predictor.words: by the network whose P(DA) the text has."""
        again = self.fast.predict(texts)[:, 0] >= self.cut
        chosen = [(rows, one) for rows, one in ((again, self.accurate), (~again, self.fast)) if rows.any()]
        result: list[list[tuple[int, int, float]]] = [[] for _ in texts]
        for rows, one in chosen:
            places = np.flatnonzero(rows).tolist()
            for place, words in zip(places, one.words([texts[place] for place in places]), strict=True):
                result[place] = words
        return result


def order_of(texts: pa.Array, *, by_length: bool) -> NDArray[np.int64]:
    """Plain ASCII first: a batch of it takes a faster path. By length: short texts before long ones."""
    beyond_ascii = ~pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if by_length:
        return np.lexsort((pc.binary_length(texts).to_numpy(), beyond_ascii))
    return np.argsort(beyond_ascii, kind="stable")


def load(path: str | Path, *, threads: int | None = None) -> Predictor | CascadePredictor:
    """The model in model.zip. `threads` limits TensorFlow's threads; works only before its first use here."""
    if threads is not None:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already, with the threads that it has
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
    model, description = artefact.load(Path(path))
    if isinstance(model, Pair):
        return CascadePredictor(model, description)
    return Predictor(model, description)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ml.predict",
        description="Score the texts of a file with a trained model. Writes one JSON object a line: the row's id "
        "(when it has one), text, P(DA) as `da` (when the model learned a verdict), the probability of each tag as "
        "`tags`, those at or above their thresholds as `predicted`, and for a model of classes the most probable one as "
        "`label`.",
    )
    parser.add_argument("model", metavar="DIR", type=Path, help="folder that ml.train wrote, or a model.zip")
    parser.add_argument("file", metavar="FILE", type=Path, help="JSONL or CSV with a column of texts")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="default: text")
    parser.add_argument("--words", action="store_true", help="also write the words that drove P(DA)")
    options = parser.parse_args(arguments)
    path = options.model / "model.zip" if options.model.is_dir() else options.model
    try:
        predictor = load(path)
        rows = files.read(options.file, text=options.text_column)
        if options.words and predictor.task != "verdict":
            raise ValueError("--words shows what drove P(DA), and this model has no verdict: leave it out.")
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    texts = rows["text"].tolist()
    probabilities = predictor.predict(texts)
    words = predictor.words(texts) if options.words else None
    for index, value in enumerate(texts):
        line: dict[str, Any] = {"id": rows["id"].iloc[index]} if "id" in rows else {}
        line |= {"text": value, **_figures(predictor, probabilities[index])}
        if words is not None:
            line["words"] = words[index]
        print(json.dumps(line, ensure_ascii=False, default=str))
    return 0


def _figures(predictor: Predictor | CascadePredictor, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """What one line says of the model's opinion."""
    scores = dict(zip(predictor.tags, [round(float(p), 6) for p in probabilities[1:]], strict=True))
    limits = predictor.thresholds["tags"]
    figures: dict[str, Any] = {
        "tags": scores,
        "predicted": [
            tag for tag, p in zip(predictor.tags, probabilities[1:], strict=True)
            if limits[tag] is not None and p >= limits[tag]
        ],
    }  # fmt: skip
    if predictor.task == "verdict":
        return {"da": round(float(probabilities[0]), 6), **figures}
    return figures | ({"label": max(scores, key=scores.__getitem__)} if predictor.task == "classes" else {})


if __name__ == "__main__":
    sys.exit(main())
