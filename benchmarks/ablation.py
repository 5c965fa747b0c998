"""What each part of the training adds on the needles: every variant is trained and judged alike, with several seeds.

    python benchmarks/ablation.py --specific specific.csv --general general.parquet --needles needles.csv \
        --seeds 1,2,3 --json ablation.json
    python benchmarks/ablation.py … --only "accurate,accurate: no pre-training"       # some of the variants
    python benchmarks/ablation.py … --keywords --drawn-without --only "accurate,accurate: terms deleted"
    python benchmarks/ablation.py --list

The library alone, the verdict alone: tags are learned beside it but not judged. All needles and --sample random other
posts are ranked; the others count for all of their kind, so that the average precision is an estimate of that over all
posts. Beside it TF-IDF + logistic regression (C = 3) of the same run, on the same posts. Data as in
benchmarks/needles.py. With --keywords the network and the linear model learn from specific posts with one of the keywords alone,
as tweets are that were collected by keyword; with --drawn-without too, the drawn posts have none, as the product draws them.
Each line: the average precision over that of the linear model, mean and standard deviation over the
seeds; the same beyond the keywords; CPU seconds of training, pre-training included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.special import expit
from sklearn.metrics import average_precision_score

from benchmarks import measuring, needles
from ml import fitting, groups, pretraining, targets, text, train
from ml.config import Config
from ml.network import Tagger

NEGATIVES = 150_000


@dataclass(frozen=True)
class Variant:
    """A training that differs from the product's own in one thing."""

    architecture: str
    changes: dict[str, Any] = field(default_factory=dict)  # of Config
    unlabelled: int = (
        needles.UNLABELLED
    )  # texts that the word vectors are learned from; 0: the training texts alone
    members: int = 1  # networks whose logits are averaged
    unlabelled_positives: str = (
        ""  # drop: leave out the likeliest; soft: take them for what they probably are
    )
    terms: bool = False  # the keywords are rule terms, which are deleted at random
    # nnPU: the share of positives that is taken to be among the drawn negatives, and whether the labelled positives
    # weigh as much of the loss as they are of the mix, or only that share, as published
    prior: float = 0.0
    keep_mix: bool = True
    positive_weight: float = 1.0  # of the labelled positives, in place of 1


DROPPED = 0.005  # of the drawn negatives
PRIOR = 0.0027  # the true share of needles among the drawn negatives
NONE_HIDDEN = {"hidden_positives": 0.0}
VARIANTS = {
    "fast": Variant("fast"),
    "fast: pairs of words": Variant("fast", {"pair_count": 2}),
    "fast: last weights, not their mean": Variant("fast", {"averaging": False}),
    "fast: terms deleted": Variant("fast", terms=True),
    "fast: likely positives dropped": Variant("fast", NONE_HIDDEN, unlabelled_positives="drop"),
    "fast: negatives as probable (Elkan, Noto)": Variant("fast", NONE_HIDDEN, unlabelled_positives="soft"),
    "fast: no hidden positives": Variant("fast", NONE_HIDDEN),
    "fast: nnPU as published, prior .0027": Variant("fast", NONE_HIDDEN, prior=PRIOR, keep_mix=False),
    "fast: nnPU as published, prior .03": Variant("fast", NONE_HIDDEN, prior=0.03, keep_mix=False),
    "fast: nnPU, prior .0027": Variant("fast", NONE_HIDDEN, prior=PRIOR),
    "fast: nnPU, prior .01": Variant("fast", NONE_HIDDEN, prior=0.01),
    "fast: nnPU, prior .03": Variant("fast", NONE_HIDDEN, prior=0.03),
    "accurate": Variant("accurate"),
    "accurate: no unlabelled texts": Variant("accurate", unlabelled=0),
    "accurate: 200,000 unlabelled texts": Variant("accurate", unlabelled=200_000),
    "accurate: pairs of words": Variant("accurate", {"pair_count": 2}),
    "accurate: last weights, not their mean": Variant("accurate", {"averaging": False}),
    "accurate: terms deleted": Variant("accurate", terms=True),
    "accurate: terms deleted from 60 %": Variant("accurate", {"term_deletion": 0.6}, terms=True),
    "accurate: mean of two networks": Variant("accurate", members=2),
    "accurate: no hidden positives": Variant("accurate", NONE_HIDDEN),
    "accurate: .01 hidden": Variant("accurate", {"hidden_positives": 0.01}),
    "accurate: none hidden, positives weigh more": Variant("accurate", NONE_HIDDEN, positive_weight=1.5),
}


@dataclass(frozen=True)
class Data:
    """The posts, read once."""

    specific: pd.DataFrame
    general: pd.DataFrame
    drawable: pd.DataFrame  # those of them that negatives are drawn from
    splits: np.ndarray  # of the general posts
    keywords: list[str]
    judged: np.ndarray  # rows of general: all needles and the sample
    bags: text.Bags  # of those
    is_needle: np.ndarray
    weight: np.ndarray  # how many posts each stands for
    beyond: np.ndarray  # without keywords

    def judge(self, score: np.ndarray) -> dict[str, float]:
        def precision(rows: np.ndarray) -> float:
            return float(
                average_precision_score(self.is_needle[rows], score[rows], sample_weight=self.weight[rows])
            )

        return {"all": precision(np.ones(len(score), bool)), "beyond": precision(self.beyond)}


def read(options: argparse.Namespace) -> Data:
    specific, general = needles.read(options.specific), needles.read(options.general)
    found = general["id"].isin(set(needles.read(options.needles)["id"])).to_numpy()
    others = np.flatnonzero(~found)
    sample = np.random.default_rng(0).choice(others, min(options.sample, len(others)), replace=False)
    judged = np.concatenate([np.flatnonzero(found), np.sort(sample)])
    is_needle = found[judged]
    keywords = needles.keywords(specific, general)
    drawable = general
    if options.keywords:
        specific = specific[~needles.without(keywords, specific["text"])].reset_index(drop=True)
    if options.drawn_without:
        drawable = general[needles.without(keywords, general["text"])].reset_index(drop=True)
    return Data(
        specific, general, drawable, groups.splits_of(groups.text_keys(general["text"].tolist())), keywords, judged,
        text.Bags.of(general["text"].iloc[judged].tolist()), is_needle,
        np.where(is_needle, 1.0, len(others) / len(sample)), needles.without(keywords, general["text"].iloc[judged]),
    )  # fmt: skip


# --- one seed --------------------------------------------------------------------------------------------------


class Run:
    """Everything that the variants of one seed share."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data = data
        self.seed = seed
        rng = np.random.default_rng(seed)
        self.examples, self.tags = needles.library_examples(data.specific, data.drawable, NEGATIVES, rng)
        self.unlabelled = needles.sample_of(data.general, data.splits == "train", needles.UNLABELLED, rng)
        rng.shuffle(self.unlabelled)
        self.vectors: dict[int, tuple[pretraining.WordVectors, float]] = {}

    def baseline(self) -> dict[str, float]:
        judged = self.data.general["text"].iloc[self.data.judged].tolist()
        texts, truth = self.examples["text"].tolist(), self.examples["verdict"].to_numpy()
        started = time.process_time()
        scores, _ = needles.fit_baseline(texts, truth, judged)
        return {**self.data.judge(scores), "cpu_seconds": time.process_time() - started}

    def variant(self, variant: Variant) -> dict[str, float]:
        config = Config(architecture=variant.architecture, seed=self.seed, **variant.changes)
        if variant.terms:
            words = "|".join(map(re.escape, self.data.keywords))
            config = replace(config, term_pattern=rf"(?i)\b(?:{words})\b")
        vectors, spent = self._word_vectors(variant.unlabelled, config)
        started = time.process_time()
        parts = {name: self._part(name, config) for name in ("train", "validation")}
        if variant.unlabelled_positives:
            parts["train"] = self._not_all_negative(variant, parts, config)
        parts["train"].weights[parts["train"].targets[:, 0] >= 1, 0] *= variant.positive_weight
        scores = []
        for member in range(variant.members):
            with non_negative(variant.prior, keep_mix=variant.keep_mix):
                model = self._fit(parts, replace(config, seed=config.seed + 1000 * member), vectors)
            before_scoring = time.process_time()
            scores.append(fitting.logits_of(model, self.data.bags)[:, 0])
            started += time.process_time() - before_scoring
        figures = self.data.judge(np.mean(scores, axis=0))
        return {**figures, "cpu_seconds": time.process_time() - started + spent}

    def _word_vectors(self, count: int, config: Config) -> tuple[pretraining.WordVectors | None, float]:
        """Those of so many texts, and the CPU seconds that they took: learned once for all variants of a seed."""
        if config.architecture == "fast":
            return None, 0.0
        if count not in self.vectors:
            started = time.process_time()
            learned = train._pretrain(self.examples, self.unlabelled[:count], config)
            self.vectors[count] = learned, time.process_time() - started
        return self.vectors[count]

    def _part(self, name: str, config: Config) -> fitting.Examples:
        part = self.examples[self.examples["split"] == name].reset_index(drop=True)
        truth = targets.truth_of(part, self.tags)
        wanted, weights = targets.targets_of(part, truth, self.tags, config)
        if name == "train":
            training = targets.training_examples(part["text"].tolist(), wanted, weights, config)
            drawn = (part["sample"] == "negative").to_numpy()
            return targets.with_hidden_positives(training, drawn=drawn, share=config.hidden_positives)
        judged = targets.judged_weights(truth, weights)
        return fitting.Examples(text.Bags.of(part["text"].tolist()), wanted, judged)

    def _fit(
        self,
        parts: dict[str, fitting.Examples],
        config: Config,
        vectors: pretraining.WordVectors | None,
    ) -> Tagger:
        """As train._network, without solving for the tags."""
        return train._fit(
            training=parts["train"], validation=parts["validation"], word_vectors=vectors, config=config,
            report_progress=lambda _: None,
        )[0]  # fmt: skip

    def _not_all_negative(
        self, variant: Variant, parts: dict[str, fitting.Examples], config: Config
    ) -> fitting.Examples:
        """Each half of the negatives is scored by a network that has seen only the other half. Then the likeliest are
        left out, or each counts as positive as it probably is (Elkan and Noto 2008)."""
        training = parts["train"]
        negative = np.flatnonzero(training.targets[:, 0] == 0)
        half = np.random.default_rng(self.seed).integers(0, 2, len(negative))
        logits = np.empty(len(negative), np.float32)
        for number in (0, 1):
            weights = training.weights.copy()
            weights[negative[half == number]] = 0
            model = self._fit({**parts, "train": replace(training, weights=weights)}, config, None)
            bags = text.Bags(*training.bags.take(negative[half == number]))
            logits[half == number] = fitting.logits_of(model, bags)[:, 0]
        targets, weights = training.targets.copy(), training.weights.copy()
        if variant.unlabelled_positives == "drop":
            weights[negative[np.argsort(-logits)[: int(DROPPED * len(negative))]]] = 0
        else:
            targets[negative, 0] = expit(logits)
        return replace(training, targets=targets, weights=weights)


@contextmanager
def non_negative(prior: float, *, keep_mix: bool) -> Iterator[None]:
    """Train the verdict by the non-negative risk of Kiryo et al. 2017 while this is open; without a prior, as always."""
    if not prior:
        yield
        return
    usual = fitting.masked_loss

    def loss(logits: tf.Tensor, wanted: tf.Tensor, weights: tf.Tensor, tag_loss: float) -> tf.Tensor:
        tags_alone = weights * tf.constant([0.0] + [1.0] * (weights.shape[1] - 1))
        verdict = non_negative_risk(logits[:, 0], wanted[:, 0], weights[:, 0], prior, keep_mix=keep_mix)
        return verdict + usual(logits, wanted, tags_alone, tag_loss)

    with mock.patch.object(fitting, "masked_loss", loss):
        yield


def non_negative_risk(
    logits: tf.Tensor, positive: tf.Tensor, weights: tf.Tensor, prior: float, *, keep_mix: bool
) -> tf.Tensor:
    """The drawn texts (positive: 0) hold a share `prior` of positives, whose loss as negatives is known from the labelled
    ones and taken off. Where more is taken off than there was, the network has learnt the drawn texts by heart: then
    this part is raised, and nothing else learnt in the step.

    As published the labelled positives weigh `prior`; with `keep_mix` as much as they are of the batch, as the others
    then do too (Su, Chen and Xu 2021), which differs from the usual loss in the correction alone.
    """
    labelled, drawn = positive * weights, (1 - positive) * weights

    def mean(values: tf.Tensor, among: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(values * among) / tf.maximum(tf.reduce_sum(among), 1e-9)

    as_negative = tf.nn.softplus(logits)
    share = tf.reduce_sum(labelled) / tf.maximum(tf.reduce_sum(labelled + drawn), 1e-9) if keep_mix else prior
    hits = share * mean(tf.nn.softplus(-logits), labelled)
    rest = (1 - share) / (1 - prior) * (mean(as_negative, drawn) - prior * mean(as_negative, labelled))
    return tf.where(rest >= 0, hits + rest, -rest)


# --- the whole -------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("specific", "general", "needles"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", help="variants, separated by commas")
    parser.add_argument(
        "--keywords", action="store_true", help="learn from specific posts with a keyword alone"
    )
    parser.add_argument("--drawn-without", action="store_true", help="draw negatives without a keyword alone")
    parser.add_argument("--list", action="store_true", help="name the variants")
    parser.add_argument(
        "--sample", type=int, default=200_000, help="posts that are ranked beside the needles"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.list:
        print("\n".join(VARIANTS))
        return
    for path in (options.specific, options.general, options.needles):
        if path is None or not path.exists():
            sys.exit("The ablation needs --specific, --general and --needles, as benchmarks/needles.py does.")
    chosen = chosen_of(options.only, VARIANTS)
    data = read(options)
    result: dict[str, Any] = {
        "machine": measuring.machine(), "commit": measuring.commit(), "sample": options.sample,
        "keywords": data.keywords, "by_keyword": options.keywords, "drawn_without": options.drawn_without, "specific": len(data.specific),
        "variants": {name: asdict(VARIANTS[name]) for name in chosen}, "seeds": {},
    }  # fmt: skip
    for seed in map(int, options.seeds.split(",")):
        run = Run(data, seed)
        todo: dict[str, Callable[[], dict[str, float]]] = {"TF-IDF + logistic regression": run.baseline}
        todo |= {name: lambda v=VARIANTS[name], run=run: run.variant(v) for name in chosen}  # type: ignore[misc]
        figures = result["seeds"].setdefault(str(seed), {})
        for name, work in todo.items():
            figures[name] = work()
            print(f"seed {seed}, {name}: {figures[name]}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(result, indent=1))
    print_result(result)


def chosen_of(only: str | None, among: Iterable[str]) -> list[str]:
    """The asked-for variants; a comma may be part of a name."""
    if not only:
        return list(among)
    chosen = [name for name in among if re.search(rf"(^|,)\s*{re.escape(name)}\s*(,|$)", only)]
    return chosen or sys.exit(f"No such variant: {only}. --list names them.")


def print_result(result: dict[str, Any]) -> None:
    seeds = result["seeds"].values()
    print(
        f"\nAverage precision over that of TF-IDF + logistic regression, {len(seeds)} seeds: mean ± deviation"
    )
    print(f"{'variant':46}{'all posts':>16}{'beyond keywords':>18}{'CPU s':>8}")
    for name in result["variants"]:
        cells = []
        for kind in ("all", "beyond"):
            ratios = [seed[name][kind] / seed["TF-IDF + logistic regression"][kind] for seed in seeds]
            spread = statistics.stdev(ratios) if len(ratios) > 1 else 0.0
            cells.append(f"{statistics.mean(ratios):.2f} ± {spread:.2f}")
        spent = statistics.mean(seed[name]["cpu_seconds"] for seed in seeds)
        print(f"{name:46}{cells[0]:>16}{cells[1]:>18}{spent:8.0f}")


if __name__ == "__main__":
    main()
