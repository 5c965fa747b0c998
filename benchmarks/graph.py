"""The steps to the fastest graph: what each costs in CPU, and what it does to the ranking of the needles.

    python benchmarks/graph.py --specific specific.csv --general general.parquet --needles needles.csv --json out.json
    python benchmarks/graph.py                                # no data: speed alone, on invented tweets

Every variant takes the same Arrow texts to the same 26 probabilities on one thread. Its speed is in texts per second
of CPU time, best and median of interleaved repeats. Average precision: each way to read words is trained anew (the
verdict alone, so a little below what the product's own training reaches) and ranks all general posts; variants that
read the same words share the weights. Beside them, in the same run: HashingVectorizer + a linear model, and fastText
(wordNgrams 2; speed alone), which is installed from the registry into an environment of its own.

specific, general, needles: as in benchmarks/needles.py. --tweets FILE adds another sample (CSV or Parquet with a column
`text` or `tweet_text`) to the speeds. The steps and what became of them: docs/decisions/0010-the-fastest-graph.md.
"""

from __future__ import annotations

import os

for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import tensorflow as tf

from benchmarks import corpus, fasttext_peer, measuring
from benchmarks.needles import judge, read
from ml import fitting, groups, predict, text
from ml.network import Shape, Tagger, Vocabulary

OUTPUTS = 26  # DA and 25 tags
NEGATIVES = 150_000

Found = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # words' buckets, the text of each, number of texts
Reading = Callable[[tf.Tensor], Found]
Sums = Callable[[Tagger, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


# --- ways to read words: string [n], or one joined string, to buckets ---------------------------------------------

_SEPARATORS = (
    r"[\x00-%'-/:-?\[-`{-\x{BF}\x{2000}-\x{206F}\x{3000}-\x{303F}\x{FE00}-\x{FE0F}\x{FF01}-\x{FF0F}\x{FFFD}]+"
)
_DROPPED = r"(?:https?://|www\.)\S+|@\w+|&\w+;"
_ALL_BETWEEN = rf"(?:{_DROPPED}|{_SEPARATORS}|[@&])+"
_NOT_PLAIN = r"(?s).*[\x{C0}-\x{5FF}\x{1E00}-\x{1FFF}\x{2190}-\x{2BFF}\x{1F000}-\x{1FAFF}].*"
_EMOJI = r"([\x{2190}-\x{2BFF}\x{1F000}-\x{1FAFF}])"


def _ragged_buckets(found: tf.RaggedTensor) -> Found:
    return text._bucket(found.values), found.value_rowids(), tf.cast(found.nrows(), tf.int32)


def unicode_lower(texts: tf.Tensor) -> tf.Tensor:
    return tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), _EMOJI, r" \1 ")


def straightforward(texts: tf.Tensor) -> Found:
    clean = tf.strings.regex_replace(unicode_lower(texts), _ALL_BETWEEN, " ")
    return _ragged_buckets(tf.strings.split(clean))


def unicode_where_needed(texts: tf.Tensor) -> Found:
    """What the product did before: texts that need it are picked out one by one."""
    lowered = tf.strings.lower(texts)
    slow = tf.where(tf.strings.regex_full_match(texts, _NOT_PLAIN))
    lowered = tf.cond(
        tf.size(slow) > 0,
        lambda: tf.tensor_scatter_nd_update(lowered, slow, unicode_lower(tf.gather_nd(texts, slow))),
        lambda: lowered,
    )
    return _ragged_buckets(tf.strings.split(tf.strings.regex_replace(lowered, _ALL_BETWEEN, " ")))


def joined_regex(whole: tf.Tensor) -> Found:
    """One string, but every separator still replaced by the regular expression."""
    between = _ALL_BETWEEN.replace(r"\S+", r"[^\s\x1e]+").replace(r"[\x00-%", r"[\x00-\x1d\x1f-%")
    clean = tf.strings.regex_replace(text._lower(whole), between, " ")
    return _ragged_buckets(tf.strings.split(tf.strings.split(clean, text.BOUNDARY)))


def _charset(clean: tf.Tensor) -> Found:
    texts = tf.strings.split(clean, text.BOUNDARY)
    found = tf.raw_ops.StringSplit(input=texts, delimiter=text._SEPARATORS)
    return text._bucket(found.values), found.indices[:, 0], tf.size(texts)


def ascii_lower(whole: tf.Tensor) -> Found:
    apart = tf.strings.regex_replace(tf.strings.lower(whole), _EMOJI, r" \0 ")
    return _charset(tf.strings.regex_replace(apart, text._REPLACED, " "))


def no_regex(whole: tf.Tensor) -> Found:
    """Pieces of links and handles count as words; curly quotes and emoji stick to their words."""
    return _charset(tf.strings.lower(whole))


def spaces_only(whole: tf.Tensor) -> Found:
    """Punctuation stays on the words."""
    texts = tf.strings.split(tf.strings.lower(whole), text.BOUNDARY)
    found = tf.raw_ops.StringSplit(input=texts, delimiter=b" ")
    return text._bucket(found.values), found.indices[:, 0], tf.size(texts)


# --- ways to sum: buckets to logits ------------------------------------------------------------------------------


def fused(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return model.logits(hashed, rows, count)


def _inputs(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor) -> list[tuple[Any, tf.Tensor, tf.Tensor]]:
    pairs, first = text.pair_buckets(hashed, rows)
    return [
        (model.word_table, tf.gather(model.row_of_word, hashed), rows),
        (model.pair_table, tf.gather(model.row_of_pair, pairs), tf.gather(rows, first)),
    ]


def unsorted(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    result = tf.convert_to_tensor(model.bias)
    for table, known, segments in _inputs(model, hashed, rows):
        sums = tf.math.unsorted_segment_sum(tf.gather(table, known), segments, count)
        number = tf.math.unsorted_segment_sum(tf.ones_like(segments, tf.float32), segments, count)
        result += sums / tf.sqrt(tf.maximum(number, 1.0))[:, None]
    return result


def _fused_with(change: Callable[[tf.Tensor], tf.Tensor]) -> Sums:
    def sums(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        result = tf.convert_to_tensor(model.bias)
        for table, known, segments in _inputs(model, hashed, rows):
            with tf.init_scope():  # once, outside the graph
                changed = change(tf.convert_to_tensor(table))
            found = tf.sparse.segment_sqrt_n(changed, known, segments, num_segments=count)
            result += tf.cast(found, tf.float32)[:, : table.shape[1]]
        return result

    return sums


half = _fused_with(lambda table: tf.cast(table, tf.float16))
padded = _fused_with(lambda table: tf.pad(table, [[0, 0], [0, 32 - table.shape[1]]]))


def known_pairs(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Unknown pairs leave before the sum; the square root of the number is taken apart."""
    (words, known, segments), (pairs, known_pair, pair_segments) = _inputs(model, hashed, rows)
    number = tf.cast(tf.math.bincount(tf.cast(pair_segments, tf.int32), minlength=count), tf.float32)
    kept = tf.where(known_pair > 0)[:, 0]
    sums = tf.sparse.segment_sum(
        tf.convert_to_tensor(pairs), tf.gather(known_pair, kept), tf.gather(pair_segments, kept),
        num_segments=count,
    )  # fmt: skip
    result = tf.sparse.segment_sqrt_n(tf.convert_to_tensor(words), known, segments, num_segments=count)
    return model.bias + result + sums * tf.math.rsqrt(tf.maximum(number, 1.0))[:, None]


def words_alone(model: Tagger, hashed: tf.Tensor, rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    known = tf.gather(model.row_of_word, hashed)
    table = tf.convert_to_tensor(model.word_table)
    return model.bias + tf.sparse.segment_sqrt_n(table, known, rows, num_segments=count)


# --- the variants ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    name: str
    reading: Reading
    sums: Sums = fused
    joined: bool = True  # one string a batch, plain ASCII apart
    batch: int = predict.FAST_BATCH
    buckets: int = text.BUCKETS
    pairs: bool = True
    words: str = "as the product"  # which weights: variants of one name read the same words
    product: bool = False


STEPS = [
    Variant("straightforward", straightforward, unsorted, joined=False, batch=4096),
    Variant("+ fused sums", straightforward, joined=False, batch=4096),
    Variant("+ Unicode where needed", unicode_where_needed, joined=False, batch=4096),
    Variant("+ one string a batch", joined_regex, batch=4096),
    Variant("+ split at a set of characters", text.buckets, batch=4096),
    Variant("+ batches of 16,384: the product", text.buckets, product=True),
]
NOT_KEPT = [
    Variant("batches of 1,024", text.buckets, batch=1024),
    Variant("batches of 65,536", text.buckets, batch=65_536),
    Variant("float16 tables", text.buckets, half),
    Variant("outputs padded to 32", text.buckets, padded),
    Variant("only known pairs summed", text.buckets, known_pairs),
    Variant("tables of 2^20 buckets", text.buckets, buckets=1 << 20, words="2^20"),
    Variant("no pairs", text.buckets, words_alone, pairs=False, words="no pairs"),
    Variant("ASCII lower-case alone", ascii_lower, words="ascii"),
    Variant("no regular expression", no_regex, words="no regex"),
    Variant("split at spaces alone", spaces_only, words="spaces"),
]


@contextlib.contextmanager
def _buckets_of(variant: Variant) -> Iterator[None]:
    """The size of the tables, which is a constant of ml.text, while a graph is built."""
    before, text.BUCKETS = text.BUCKETS, variant.buckets
    try:
        yield
    finally:
        text.BUCKETS = before


def graph_of(variant: Variant, model: Tagger) -> Callable[[pa.Array], np.ndarray]:
    """All the way from an Arrow array to probabilities."""
    if variant.product:
        scales = [{"slope": 1.0, "intercept": 0.0}] * model.shape_.outputs
        tags = [str(number) for number in range(1, model.shape_.outputs)]
        return predict.Predictor(
            model, {"config": {}, "tags": tags, "thresholds": {}, "scales": scales}
        ).predict
    one, zero = tf.ones([model.shape_.outputs]), tf.zeros([model.shape_.outputs])

    def graph(texts: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(variant.sums(model, *variant.reading(texts)) * one + zero)

    with _buckets_of(variant):
        compiled = tf.function(graph).get_concrete_function(
            tf.TensorSpec([] if variant.joined else [None], tf.string)
        )

    def run(texts: pa.Array) -> np.ndarray:
        result = np.empty((len(texts), model.shape_.outputs), np.float32)
        if not variant.joined:
            for start in range(0, len(texts), variant.batch):
                part = texts[start : start + variant.batch].cast(pa.large_binary())
                batch = tf.constant(part.to_numpy(zero_copy_only=False), dtype=tf.string)
                result[start : start + variant.batch] = compiled(batch).numpy()
            return result
        texts = text.strings(texts)
        order = predict.order_of(texts, by_length=False)
        for start in range(0, len(order), variant.batch):
            some = order[start : start + variant.batch]
            result[some] = compiled(text.joined(texts.take(pa.array(some)))).numpy()
        return result

    return run


def bags_of(variant: Variant, texts: pa.Array) -> text.Bags:
    with _buckets_of(variant):
        compiled = tf.function(variant.reading, reduce_retracing=True)
        flat, lengths = [], []
        for start in range(0, len(texts), 4096):
            part = text.strings(texts[start : start + 4096])
            batch = text.joined(part) if variant.joined else tf.constant(part.to_pylist())
            hashed, rows, count = compiled(batch)
            flat.append(hashed.numpy())
            lengths.append(np.bincount(rows.numpy(), minlength=int(count)).astype(np.int32))
    return text.Bags(np.concatenate(flat), np.concatenate(lengths))


def network_of(variant: Variant, bags: text.Bags, outputs: int) -> Tagger:
    """With the words and pairs that occur twice or more, and small random weights."""
    rng = np.random.default_rng(1)

    def frequent(buckets: np.ndarray) -> np.ndarray:
        names, counts = np.unique(buckets, return_counts=True)
        return names[counts > 1].astype(np.int32)

    with _buckets_of(variant):
        pairs, _ = text.pair_buckets(tf.constant(bags.flat), tf.constant(bags.rows()))
        known = frequent(pairs.numpy()) if variant.pairs else np.zeros(0, np.int32)
        model = Tagger(Shape("fast", outputs), Vocabulary(words=frequent(bags.flat), pairs=known))
    for table in (model.word_table, model.pair_table) if outputs > 1 else ():
        table.assign(rng.normal(0, 0.1, table.shape).astype(np.float32))
    return model


# --- speed -----------------------------------------------------------------------------------------------------


def speeds(
    runs: dict[str, Callable[[pa.Array], Any]], texts: pa.Array, repeats: int
) -> dict[str, dict[str, float]]:
    """Texts per second of CPU, all in turn, `repeats` times over."""
    for run in runs.values():
        run(texts)
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.process_time()
            run(texts)
            spent[name].append(time.process_time() - started)
    return {name: _speed(len(texts), times) for name, times in spent.items()}


def _speed(texts: int, seconds: list[float]) -> dict[str, float]:
    return {"best": texts / min(seconds), "median": texts / statistics.median(seconds)}


def hashing_peer(texts: list[str], truth: np.ndarray) -> tuple[Callable[[pa.Array], Any], Any]:
    """HashingVectorizer (words and pairs) + a linear model; for speed with as many outputs as ours."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier

    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=2**20, dtype=np.float32)
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=5, tol=None, random_state=1)
    model.fit(vectorizer.transform(texts), truth)
    weights = np.repeat(model.coef_.astype(np.float32).T, OUTPUTS, axis=1)

    def run(array: pa.Array) -> Any:
        values = array.to_pylist()
        for start in range(0, len(values), 10_000):
            vectorizer.transform(values[start : start + 10_000]) @ weights

    def rank(values: list[str]) -> np.ndarray:
        parts = range(0, len(values), 50_000)
        return np.concatenate([
            model.decision_function(vectorizer.transform(values[start : start + 50_000])) for start in parts
        ])  # fmt: skip

    return run, rank


def fasttext_speeds(
    texts: list[str], truth: np.ndarray, samples: dict[str, pa.Array], repeats: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Of fastText: {sample: {kind: speed}}, as speeds() says them."""
    rng = np.random.default_rng(1)
    order = rng.permutation(len(texts))  # it learns in the order of the file
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fasttext_peer.install(folder)
        tags = ([f"tag{number}"] for number in rng.integers(OUTPUTS - 1, size=len(texts)))
        fasttext_peer.write_training(folder, [texts[index] for index in order], truth[order] > 0, tags)
        for sample, array in samples.items():
            fasttext_peer.write_sample(folder, sample, array.to_pylist())
        found = fasttext_peer.seconds(folder, list(samples), repeats=repeats)
    return {
        sample: {kind: _speed(len(array), found[kind][sample]["cpu"]) for kind in found}
        for sample, array in samples.items()
    }


# --- accuracy --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """Training texts with their verdicts and splits, and what is to be ranked."""

    texts: list[str]
    truth: np.ndarray
    splits: np.ndarray
    general: pa.Array
    is_needle: np.ndarray

    @property
    def train(self) -> tuple[list[str], np.ndarray]:
        chosen = np.flatnonzero(self.splits == "train")
        return [self.texts[i] for i in chosen], self.truth[chosen]


def task_of(options: argparse.Namespace) -> Task:
    specific, general = read(options.specific), read(options.general)
    rng = np.random.default_rng(options.seed)
    drawn = np.sort(rng.choice(len(general), min(NEGATIVES, len(general)), replace=False))
    texts = [*specific["text"], *general["text"].iloc[drawn]]
    return Task(
        texts, np.r_[np.ones(len(specific)), np.zeros(len(drawn))], groups.splits_of(groups.text_keys(texts)),
        pa.array(general["text"].tolist(), pa.string()),
        general["id"].isin(set(read(options.needles)["id"])).to_numpy(),
    )  # fmt: skip


def trained(variant: Variant, task: Task, seed: int) -> Tagger:
    """The verdict alone, by the product's own training loop."""
    bags = bags_of(variant, pa.array(task.texts, pa.string()))

    def part(name: str) -> fitting.Examples:
        chosen = np.flatnonzero(task.splits == name)
        targets = task.truth[chosen, None].astype(np.float32)
        return fitting.Examples(text.Bags(*bags.take(chosen)), targets, np.ones_like(targets))

    schedule = fitting.Schedule(
        epochs=5,
        batch=512,
        rate=0.1,
        deep_rate=2e-3,
        decay=1e-2,
        tag_loss=0.0,
        term_deletion=0.0,
        averaging=False,
        seed=seed,
    )
    training = part("train")
    model = network_of(variant, training.bags, outputs=1)
    with _buckets_of(variant):
        fitting.fit(model, training, part("validation"), schedule, lambda _: None)
    return model


# --- the whole -------------------------------------------------------------------------------------------------


def samples_of(options: argparse.Namespace, task: Task | None) -> dict[str, pa.Array]:
    """Texts to measure speed on, by name."""
    found = {"posts": task.general} if task else {}
    if options.tweets:
        frame = read(options.tweets)
        found["tweets"] = pa.array(frame["text" if "text" in frame else "tweet_text"].tolist(), pa.string())
    with tempfile.TemporaryDirectory() as folder:
        corpus.make(Path(folder), rows=max(options.texts, NEGATIVES), specific=1, formats=("parquet",))
        found["invented tweets"] = pa.array(read(Path(folder) / "general.parquet")["text"].tolist())
    return {name: _as_many(array, options.texts) for name, array in found.items()}


def _as_many(array: pa.Array, count: int) -> pa.Array:
    return array.take(pa.array(np.arange(count) % len(array)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("specific", "general", "needles", "tweets"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--texts", type=int, default=131_072, help="in each sample for speed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["speed", "accuracy"], help="half of the work")
    parser.add_argument("--no-fasttext", action="store_true", help="do not install and measure it")
    options = parser.parse_args()
    with_data = bool(options.specific and options.general and options.needles)
    if not with_data:
        print("No --specific, --general and --needles: speed alone, no average precision.")
    task = task_of(options) if with_data else None
    samples = samples_of(options, task) if options.only != "accuracy" else {}
    variants = [*STEPS, *NOT_KEPT]

    texts, truth = (
        task.train if task else (samples["invented tweets"].to_pylist(), np.arange(options.texts) % 2)
    )
    hashing, rank = hashing_peer(texts, truth)
    result: dict[str, Any] = {
        "machine": measuring.machine(), "commit": measuring.commit(), "outputs": OUTPUTS, "texts": options.texts,
        "repeats": options.repeats, "speed": {}, "accuracy": {},
    }  # fmt: skip

    # 1. Speed: random weights, words and pairs of real frequency.
    if samples:
        known = pa.array(texts)
        networks = {v.words: network_of(v, bags_of(v, known), OUTPUTS) for v in reversed(variants)}
        runs: dict[str, Callable[[pa.Array], Any]] = {
            v.name: graph_of(v, networks[v.words]) for v in variants
        }
        runs["HashingVectorizer + linear"] = hashing
        result["speed"] = {name: speeds(runs, sample, options.repeats) for name, sample in samples.items()}
        print_result(result)

    # 2. Accuracy.
    if task and options.only != "speed":
        models: dict[str, Tagger] = {}
        for variant in variants:
            if variant.words not in models:
                models[variant.words] = trained(variant, task, options.seed)
            scores = graph_of(variant, models[variant.words])(task.general)[:, 0]
            result["accuracy"][variant.name] = judge(task.is_needle, scores)
            print(variant.name, result["accuracy"][variant.name], flush=True)
        ranked = rank(task.general.to_pylist())
        result["accuracy"]["HashingVectorizer + linear"] = judge(task.is_needle, ranked)

    # 3. fastText.
    if samples and not options.no_fasttext:
        for sample, by_kind in fasttext_speeds(texts, truth, samples, options.repeats).items():
            result["speed"][sample] |= {f"fastText, {kind}": speed for kind, speed in by_kind.items()}
    result["variants"] = [
        {k: v for k, v in asdict(variant).items() if not callable(v)} for variant in variants
    ]
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print_result(result)


def print_result(result: dict[str, Any]) -> None:
    print(f"\nTexts/s of CPU on one thread, {result['outputs']} outputs: best (median); average precision")
    names = dict.fromkeys([*next(iter(result["speed"].values()), {}), *result["accuracy"]])
    print(f"{'':36}" + "".join(f"{sample:>24}" for sample in result["speed"]) + f"{'AP':>10}")
    for name in names:
        cells = [cells[name] for cells in result["speed"].values() if name in cells]
        shown = "".join(f"{cell['best']:>12,.0f} ({cell['median']:>9,.0f})" for cell in cells)
        accuracy = result["accuracy"].get(name, {}).get("average_precision")
        print(f"{name:36}{shown}{'' if accuracy is None else f'{accuracy:10.4f}'}")
    product = STEPS[-1].name
    for other in (STEPS[0].name, "HashingVectorizer + linear", "fastText, verdict", "fastText, all outputs"):
        ratios = [
            f"{cells[product]['best'] / cells[other]['best']:.1f} × on {sample}"
            for sample, cells in result["speed"].items()
            if other in cells
        ]
        if ratios:
            print(f"the product against {other}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
