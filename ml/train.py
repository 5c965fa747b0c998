"""Train one model: from judged texts to model.zip, report.json and holdout.parquet.

python -m ml.train TRAIN --out DIR      # JSONL or CSV with text, verdict, tags; ml/train_command.py reads it
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit, logit

from ml import (
    artefact,
    calibration,
    cascade,
    evaluate,
    faithfulness,
    fitting,
    predict,
    pretraining,
    solving,
    text,
)
from ml.baseline import Baseline
from ml.network import Shape, Tagger, Vocabulary

Progress = Callable[[dict[str, Any]], None]

ARCHITECTURES = ("fast", "accurate", "cascade")
PASSES = {"fast": 5, "accurate": 3}  # over the training texts
TAGS_PASSES = 6  # the same where there is no verdict
TAGS_BATCH, TAGS_RATE = (
    128,
    0.3,
)  # the largest batch there, and what the learning rate of words is multiplied by
SPLITS = ("train", "validation", "test")
MIN_TRAINING = 20  # judged texts in the train split; with fewer there is nothing to learn from
TAG_NEGATIVES = (
    20_000  # drawn negatives on which the regression of a tag, ours and the baseline's, is trained
)
ON_VALIDATION = (
    "The validation texts, as there are no test texts. Epochs, calibration and thresholds were chosen on them: these "
    "figures flatter."
)
PRIOR_SAMPLE = 20_000  # unlabelled texts from which the corpus prior is estimated


@dataclass(frozen=True)
class Config:
    """Every knob. The defaults are those that docs/model.md reports on."""

    architecture: str = "fast"  # fast | accurate | cascade: both, accurate on what fast puts near the top
    # verdict: a verdict and tags. tags: tags alone, nothing is said of DA. classes: the same, where each text has exactly
    # one of them.
    task: str = "verdict"
    seed: int = 1
    epochs: int = 0  # passes over the training texts, 1 to 20; 0: as the architecture needs
    batch: int = 512  # texts
    rate: float = 0.1  # peak learning rate of AdamW for the weights of words and pairs, 0.03 to 0.3
    deep_rate: float = 2e-3  # the same for the convolution, 5e-4 to 5e-3
    decay: float = 1e-2  # weight decay of the same, in place of an L2 penalty, 1e-3 to 1e-1
    word_count: int = 2  # times that a word must occur in training to have a vector of its own
    pair_count: int = 0  # the same for a pair of words; 0: no pairs
    word_dims: int = 100  # accurate: dimensions of the pre-trained word vectors
    filters: int = 128  # accurate: filters of the convolution, per width
    length: int = 40  # accurate: words that the convolution reads
    pretraining_count: int = 5  # accurate: times that a word must occur in the unlabelled texts
    averaging: bool = True  # the mean of the weights over the later epochs, in place of the last ones
    tag_loss: float = 0.1  # weight of one tag's loss beside the verdict's
    # Drawn negatives, whose tags nobody judged, train every tag as absent with this weight: enough to keep tags away
    # from general tweets, too little to drown the judged ones. 0 to 1.
    negative_tags_weight: float = 0.05
    term_pattern: str = ""  # RE2: the rule terms
    term_deletion: float = 0.3  # share of the texts from which they are deleted, anew in every epoch
    corpus_prior: float | None = None  # share of DA in the corpus; None: estimated
    goal: str = "f1"  # of the tags' thresholds: f1 | overall | precision, see ml.calibration.Goal
    precision: float = 0.8  # wanted, where that is the goal
    cascade_share: float = 0.04  # cascade: share of the corpus that accurate reads again, 0.01 to 0.1

    def networks(self) -> tuple[str, ...]:
        return ("fast", "accurate") if self.architecture == "cascade" else (self.architecture,)

    def passes(self) -> int:
        default = PASSES if self.task == "verdict" else dict.fromkeys(PASSES, TAGS_PASSES)
        return sum(self.epochs or default[name] for name in self.networks())


def train(  # noqa: PLR0915 - the whole path, in order
    examples: pd.DataFrame,
    *,
    tags: list[str],
    config: Config,
    out: Path,
    progress: Progress | None = None,
    unlabelled: Sequence[str] = (),
    prior_sample: Sequence[str] = (),
    word_vectors: pretraining.WordVectors | None = None,
) -> dict[str, Any]:
    """Train and judge a model; write it into the folder `out`; return the report.

    examples: columns id, text, verdict (1/0/NaN), verdict_weight, a column per tag (1/0/NaN), tags_weight,
    split (train/validation/test), sample (people/import/rule/assumed/negative), matches_rule.
    unlabelled: a random sample of the corpus. `accurate` learns its word vectors from it and from the train split: the
    more texts the better, up to a million.
    word_vectors: those that an earlier training learned, in place of learning them anew.
    prior_sample: a random sample of the corpus of which nothing is in the train split, on which the share of DA in
    the corpus is estimated (20,000 texts are enough). Without it `unlabelled` takes its place.
    `progress` may raise to cancel. Raises ValueError, saying what to do, when the examples cannot teach the task.
    The same arguments give the same model.
    """
    started = time.monotonic()
    report_progress: Progress = progress or (lambda _: None)
    _check(examples, tags, config)
    examples = examples.reset_index(drop=True)
    truth = _truth(examples, tags)
    part = {name: np.flatnonzero((examples["split"] == name).to_numpy()) for name in SPLITS}

    # 1. Texts become buckets once; the variants without rule terms are further bags.
    report_progress({"stage": "Reading texts"})
    texts = examples["text"].tolist()
    targets, weights = _targets(examples, truth, tags, config)
    training = _training_examples(
        [texts[i] for i in part["train"]], targets[part["train"]], weights[part["train"]], config
    )
    validation_texts = [texts[i] for i in part["validation"]]
    validation = fitting.Examples(
        text.Bags.of(validation_texts), targets[part["validation"]], _judged_weights(truth, weights)[part["validation"]]
    )  # fmt: skip

    # 2. Each network: word vectors from the unlabelled texts; epochs, of which the best by average precision on
    # validation stays; then the tags are solved for. A cascade has two, from the same texts.
    if "accurate" not in config.networks():
        word_vectors = None
    elif word_vectors is None:
        report_progress({"stage": "Learning words from unlabelled tweets"})
        word_vectors = _pretrain(examples, unlabelled, config)
    tag_weights = _fewer_negatives(weights, examples, config)[part["train"]]
    networks: list[Tagger] = []
    epochs: list[dict[str, Any]] = []
    for architecture in config.networks():
        one = replace(config, architecture=architecture)
        told = _numbered_on(report_progress, done=len(epochs), total=config.passes())
        network, history = _network(
            training=training, validation=validation, texts=[texts[i] for i in part["train"]],
            validation_texts=validation_texts, tag_weights=tag_weights, config=one,
            report_progress=told, word_vectors=word_vectors if architecture == "accurate" else None,
        )  # fmt: skip
        networks.append(network)
        epochs += [{**epoch, "epoch": len(epochs) + epoch["epoch"]} for epoch in history]

    # 3. Calibrate on validation, correct for the prior of the corpus, choose thresholds.
    report_progress({"stage": "Calibrating"})
    corpus_texts = list(prior_sample[:PRIOR_SAMPLE]) or _prior_sample(examples, unlabelled)
    logits = [fitting.logits_of_texts(network, validation_texts) for network in networks]
    corpus_logits = [fitting.logits_of_texts(network, corpus_texts) for network in networks]
    held_truth = truth[part["validation"]]
    scales, mix_prior = _scales(logits[0], held_truth, targets, weights, part["train"])
    join = None
    if len(networks) == 1:
        odds, corpus_odds = (calibration.log_odds(scales, some[0]) for some in (logits, corpus_logits))
    else:
        assert mix_prior is not None  # a cascade is trained on verdicts
        join = _join(
            logits=logits, corpus_logits=corpus_logits, truth=held_truth, scales=scales, mix_prior=mix_prior,
            config=config,
        )  # fmt: skip
        odds, corpus_odds = join.log_odds(*logits), join.log_odds(*corpus_logits)
    shift = 0.0
    prior: dict[str, Any] = {"train": None, "corpus": None}
    if mix_prior is not None:
        prior = _prior(odds[:, 0], held_truth[:, 0], corpus_odds[:, 0], mix_prior, config)
        shift = prior["shift"]
        odds[:, 0] += shift
        scales = [scales[0].shifted(shift), *scales[1:]]
    goal = calibration.Goal(config.goal, config.precision)
    fallback = _at_half(shift) if mix_prior is not None else None
    thresholds, notes = _thresholds(expit(odds), held_truth, tags, fallback=fallback, goal=goal)

    # 4. Save; everything reported below comes from the file as saved.
    out.mkdir(parents=True, exist_ok=True)
    names = ["DA", *tags]
    description = {
        "config": asdict(config), "tags": tags,
        "thresholds": {"DA": thresholds[0], "tags": dict(zip(tags, thresholds[1:], strict=True))},
        "scales": [asdict(scale) for scale in scales],
        "prior": {name: prior[name] for name in ("train", "corpus")}, "environment": _environment(),
        "pretraining": word_vectors.origin if word_vectors is not None else None,
    }  # fmt: skip
    if word_vectors is not None:
        word_vectors.save(out / "word_vectors.npz")
    if join is not None:
        description["cascade"] = join.shifted(shift).description(thresholds[0])
    artefact.save(out / "model.zip", networks[0] if join is None else cascade.Pair(*networks), description)

    # 5. The baseline on the same examples, and the figures of both.
    report_progress({"stage": "Training the baseline"})
    held_out = np.sort(np.concatenate([part["validation"], part["test"]]))
    held_texts = [texts[i] for i in held_out]
    judged_weights = _fewer_negatives(_judged_weights(truth, weights), examples, config)
    baseline = Baseline(
        [texts[i] for i in part["train"]], targets[part["train"]], judged_weights[part["train"]], seed=config.seed
    )  # fmt: skip
    report_progress({"stage": "Evaluating"})
    masked_texts = mask(held_texts, config.term_pattern)
    predictor = predict.load(out / "model.zip")
    figures = _Figures(
        network=predictor.predict(held_texts), network_masked=predictor.predict(masked_texts),
        baseline=baseline.predict(held_texts), baseline_masked=baseline.predict(masked_texts),
    )  # fmt: skip
    is_test = np.isin(held_out, part["test"])
    baseline_thresholds = [
        _threshold(figures.baseline[~is_test, 0], truth[held_out][~is_test, 0]),
        *calibration.tag_thresholds(figures.baseline[~is_test, 1:], truth[held_out][~is_test, 1:], goal),
    ]

    def samples_of(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return _samples(
            test=examples.loc[held_out[rows]], truth=truth[held_out[rows]], figures=figures.at(rows), tags=tags,
            thresholds=thresholds, baseline_thresholds=baseline_thresholds, shift=shift, config=config,
        )  # fmt: skip

    samples = samples_of(is_test)
    if config.task != "verdict" and not is_test.any():
        samples["validation"] = samples_of(~is_test)["test"] | {"description": ON_VALIDATION}
    spent = time.monotonic() - started
    report = {
        "task": config.task, "tags": tags, "seconds": spent, "epochs": epochs, "counts": _counts(examples, truth, tags),
        "thresholds": description["thresholds"], "threshold_notes": notes, "goal": asdict(goal),
        "threshold_figures": _threshold_figures(expit(odds), held_truth, names, thresholds, goal),
        "calibration": {"method": "Platt", **calibration.describe(scales, names)},
        "prior": prior, "samples": samples,
        "words_per_second": int(training.bags.lengths.sum()) * len(epochs) / max(spent, 1e-9),
        "environment": description["environment"], "pretraining": description["pretraining"],
        **_loses(samples["test"]),
    }  # fmt: skip
    if thresholds[0] is not None:
        flagged = np.flatnonzero(is_test & (figures.network[:, 0] >= thresholds[0]))
        report["faithfulness"] = _faithfulness(predictor, [held_texts[i] for i in flagged], config)
    if isinstance(predictor, predict.CascadePredictor):
        report["cascade"] = _cascade_loss(
            predictor, corpus_texts, [held_texts[i] for i in np.flatnonzero(is_test)], truth[held_out][is_test, 0], config
        )  # fmt: skip
    _write_holdout(out / "holdout.parquet", examples.loc[held_out], figures)
    report = {name: plain(value) for name, value in report.items()}
    (out / "report.json").write_text(
        json.dumps(report, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    return report


# --- what goes in ----------------------------------------------------------------------------------------------


def _check(examples: pd.DataFrame, tags: list[str], config: Config) -> None:
    if config.architecture not in ARCHITECTURES:
        raise ValueError(
            f"Unknown architecture {config.architecture!r}: choose one of {', '.join(ARCHITECTURES)}."
        )
    if config.task not in ("verdict", "tags", "classes"):
        raise ValueError(f"Unknown task {config.task!r}: choose verdict, tags or classes.")
    calibration.Goal(config.goal, config.precision)  # raises
    if config.task != "verdict" and config.architecture == "cascade":
        raise ValueError("A cascade ranks by the verdict, and there is none here: choose fast or accurate.")
    columns = [
        "id",
        "text",
        "verdict",
        "verdict_weight",
        "tags_weight",
        "split",
        "sample",
        "matches_rule",
        *tags,
    ]
    if missing := [name for name in columns if name not in examples]:
        raise ValueError(f"The examples lack the columns {', '.join(missing)}.")
    if len(set(tags)) != len(tags):
        raise ValueError("Two tags have the same name: rename one.")
    in_train = examples[examples["split"] == "train"]
    if config.task != "verdict":
        _check_tags(in_train, tags)
        return
    verdicts = in_train["verdict"].dropna()
    if not len(examples["verdict"].dropna()):
        raise ValueError(
            "No tweet has a verdict. Label some as DA and as NDA, or import specific tweets, then train."
        )
    if len(verdicts) < MIN_TRAINING:
        raise ValueError(
            f"Only {len(verdicts)} tweets with a verdict fall into the train split; at least {MIN_TRAINING} are "
            "needed. Label more tweets, or import more."
        )
    if verdicts.nunique() < 2:
        only = "DA" if verdicts.iloc[0] == 1 else "NDA"
        fix = "Import general tweets, to draw negatives from" if only == "DA" else "Label some tweets as DA"
        raise ValueError(
            f"Every tweet with a verdict in the train split is {only}: nothing to tell apart. {fix}."
        )


def _check_tags(in_train: pd.DataFrame, tags: list[str]) -> None:
    """Without a verdict there must be a tag to learn."""
    judged = int(in_train[tags].notna().any(axis=1).sum()) if tags else 0
    if judged < MIN_TRAINING:
        raise ValueError(
            f"Only {judged} texts with a judgement fall into the train split; at least {MIN_TRAINING} are needed."
        )
    if not (in_train[tags].nunique() == 2).any():
        raise ValueError(
            "No tag has both texts with it and texts without it in the train split: nothing to tell apart."
        )


def _truth(examples: pd.DataFrame, tags: list[str]) -> NDArray[np.float32]:
    """float32 [n, 1 + tags]: judgements, NaN where there is none."""
    return examples[["verdict", *tags]].to_numpy(dtype=np.float32, na_value=np.nan)


def _targets(
    examples: pd.DataFrame, truth: NDArray[np.float32], tags: list[str], config: Config
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Targets and weights for the loss: weight 0 where nothing was judged."""
    targets = np.nan_to_num(truth, nan=0.0)
    weights = (~np.isnan(truth)).astype(np.float32)
    weights[:, 0] *= examples["verdict_weight"].to_numpy(np.float32)
    weights[:, 1:] *= examples["tags_weight"].to_numpy(np.float32)[:, None]
    if config.negative_tags_weight and tags:
        negative = (examples["sample"] == "negative").to_numpy()
        unjudged = negative & np.isnan(truth[:, 1:]).all(axis=1)
        weights[unjudged, 1:] = config.negative_tags_weight
    return targets, weights


def _judged_weights(truth: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of what was truly judged: without the tags that negatives are assumed not to have."""
    return np.where(np.isnan(truth), np.float32(0), weights)


def _fewer_negatives(
    weights: NDArray[np.float32], examples: pd.DataFrame, config: Config
) -> NDArray[np.float32]:
    """The same weights, but only TAG_NEGATIVES of the drawn negatives for the tags: 25 regressions on all of them
    would take longer than the network, and learn nothing more about tags."""
    result = weights.copy()
    negative = np.flatnonzero((examples["sample"] == "negative").to_numpy())
    spared = np.random.default_rng(config.seed).permutation(negative)[TAG_NEGATIVES:]
    result[spared, 1:] = 0
    return result


def _training_examples(
    texts: list[str], targets: NDArray[np.float32], weights: NDArray[np.float32], config: Config
) -> fitting.Examples:
    bags = text.Bags.of(texts)
    if not config.term_pattern or not config.term_deletion:
        return fitting.Examples(bags, targets, weights)
    masked = mask(texts, config.term_pattern)
    differs = np.flatnonzero([one != other for one, other in zip(texts, masked, strict=True)])
    without = text.Bags.of([masked[i] for i in differs])
    variant = np.full(len(texts), -1, np.int64)
    variant[differs] = len(texts) + np.arange(len(differs))
    variant[differs[without.lengths == 0]] = -1  # nothing would be left to learn from
    return fitting.Examples(bags.joined(without), targets, weights, variant)


def mask(texts: Sequence[str], pattern: str) -> list[str]:
    """The texts without the rule terms. `pattern` is RE2; "" leaves them as they are."""
    if not pattern:
        return list(texts)
    import re2

    compiled = re2.compile(pattern)
    return [compiled.sub(" ", text.encode(value).decode()) for value in texts]


def pretraining_settings(config: Config) -> pretraining.Settings:
    """Of the word vectors that a training with this config wants. Not of the network's size: others may share them."""
    return pretraining.Settings(dims=config.word_dims, least=config.pretraining_count, seed=config.seed)


def _pretrain(examples: pd.DataFrame, unlabelled: Sequence[str], config: Config) -> pretraining.WordVectors:
    """From the unlabelled texts and those of the train split. From the latter alone, rarer words must do."""
    own = examples.loc[examples["split"] == "train", "text"]
    wanted = pretraining_settings(config)
    if not len(unlabelled):
        wanted = replace(wanted, least=config.word_count)
    return pretraining.learn([*unlabelled, *own], wanted)


def _prior_sample(examples: pd.DataFrame, unlabelled: Sequence[str]) -> list[str]:
    """Unlabelled texts that were not trained on, as far as there are any."""
    if len(unlabelled):
        step = max(1, len(unlabelled) // PRIOR_SAMPLE)
        return list(unlabelled[::step][:PRIOR_SAMPLE])
    held_out = (examples["sample"] == "negative") & (examples["split"] != "train")
    return examples.loc[held_out, "text"].tolist()[:PRIOR_SAMPLE]


# --- the network -----------------------------------------------------------------------------------------------


def _build(
    training: fitting.Examples, word_vectors: pretraining.WordVectors | None, tag_count: int, config: Config
) -> Tagger:
    """With every word that is frequent in training, and in `accurate` every word that has a vector."""
    bags = text.Bags(*training.bags.take(np.arange(len(training))))
    words = _frequent(bags.flat, config.word_count)
    pairs = np.zeros(0, np.int32)
    if word_vectors is not None:
        words = np.union1d(words, word_vectors.words)
    if config.pair_count:
        found, _ = text.pair_buckets(tf.constant(bags.flat), tf.constant(bags.rows()))
        pairs = _frequent(found.numpy(), config.pair_count)
    shape = Shape(architecture=config.architecture, outputs=1 + tag_count)
    if word_vectors is not None:
        dims = word_vectors.vectors.shape[1]
        shape = replace(shape, word_dims=dims, filters=config.filters, length=config.length)
    model = Tagger(shape, Vocabulary(words=words, pairs=pairs))
    if word_vectors is not None:
        model.vectors.assign(word_vectors.table(words))
    return model


def _base_rates(targets: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The log-odds of each output over the training texts: where the biases start."""
    judged = weights.sum(axis=0)
    share = (targets * weights).sum(axis=0) / np.maximum(judged, 1e-9)
    return np.asarray(logit(np.clip(share, 1e-4, 1 - 1e-4)), np.float32)


def _frequent(buckets: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    names, counts = np.unique(buckets, return_counts=True)
    return names[counts >= least].astype(np.int32)


def _network(
    *,
    training: fitting.Examples,
    validation: fitting.Examples,
    texts: list[str],
    validation_texts: list[str],
    word_vectors: pretraining.WordVectors | None,
    tag_weights: NDArray[np.float32],
    config: Config,
    report_progress: Progress,
) -> tuple[Tagger, list[dict[str, Any]]]:
    """One trained network, and the losses of its epochs. The same whether alone or in a cascade."""
    model, history = _fit(
        training=training, validation=validation, word_vectors=word_vectors, config=config,
        report_progress=report_progress,
    )  # fmt: skip
    solving.solve_tags(
        model, training, tag_weights, texts=texts, word_vectors=word_vectors, validation=validation,
        validation_texts=validation_texts, seed=config.seed, report=report_progress,
    )  # fmt: skip
    model.round_to_half()
    return model, history


def _fit(
    *,
    training: fitting.Examples,
    validation: fitting.Examples,
    word_vectors: pretraining.WordVectors | None,
    config: Config,
    report_progress: Progress,
) -> tuple[Tagger, list[dict[str, Any]]]:
    """The epochs alone."""
    keras.utils.set_random_seed(config.seed)
    model = _build(training, word_vectors, training.targets.shape[1] - 1, config)
    model.bias.assign(_base_rates(training.targets, training.weights))
    schedule = fitting.Schedule(
        epochs=config.passes(), batch=config.batch, rate=config.rate, deep_rate=config.deep_rate, decay=config.decay,
        tag_loss=config.tag_loss, term_deletion=config.term_deletion, averaging=config.averaging, seed=config.seed,
    )  # fmt: skip
    if config.task != "verdict":  # a few thousand texts, not a few hundred thousand: smaller and slower steps
        schedule = replace(
            schedule, batch=min(config.batch, TAGS_BATCH), rate=config.rate * TAGS_RATE, tag_loss=1.0,
            averaging=False, tags_by_sum=config.architecture != "accurate",
        )  # fmt: skip
    return model, fitting.fit(model, training, validation, schedule, report_progress)


def _numbered_on(report_progress: Progress, *, done: int, total: int) -> Progress:
    """Epochs of a second network count on from those of the first."""

    def tell(event: dict[str, Any]) -> None:
        if "epoch" in event:
            event = {**event, "epoch": done + event["epoch"], "epochs": total}
        report_progress(event)

    return tell


# --- calibration and thresholds --------------------------------------------------------------------------------


def _join(
    *,
    logits: list[NDArray[np.float32]],
    corpus_logits: list[NDArray[np.float32]],
    truth: NDArray[np.float32],
    scales: list[calibration.Scale],
    mix_prior: float,
    config: Config,
) -> cascade.Join:
    """Cut where `fast` alone says that the wanted share of the corpus begins; calibrate `accurate` from there on."""
    fast = calibration.log_odds(scales, corpus_logits[0])
    if not len(fast):  # nothing is known of the corpus: it may be like these texts
        fast = calibration.log_odds(scales, logits[0])
    prior = _corpus_prior(fast[:, 0], mix_prior, config)
    cut = cascade.cut_of(fast[:, 0], share=config.cascade_share, prior=prior)
    again = calibration.log_odds(scales, logits[0])[:, 0] >= cut
    accurate = []
    for output in range(truth.shape[1]):
        judged = ~np.isnan(truth[:, output])
        reached = judged & again if output == 0 else judged
        if not calibration.can_be_scaled(truth[reached, output]):
            reached = judged
        accurate.append(calibration.platt(logits[1][reached, output], truth[reached, output]))
    return cascade.Join(cut, scales, accurate)


def _corpus_prior(corpus: NDArray[np.float64], mix_prior: float, config: Config) -> float:
    """The share of DA in the corpus: stated, or estimated from log-odds on a sample of it, or that of the mix."""
    if config.corpus_prior is not None:
        return config.corpus_prior
    if not len(corpus):
        return mix_prior
    return calibration.corpus_prior(expit(corpus), prior=mix_prior)


def _prior(
    log_odds: NDArray[np.float64],
    truth: NDArray[np.float32],
    corpus: NDArray[np.float64],
    mix_prior: float,
    config: Config,
) -> dict[str, Any]:
    """The report's part on the share of DA, from calibrated log-odds of validation and of a sample of the corpus.

    uncorrected: the mean of P(DA) on the sample as it holds for the training mix; corrected it is `corpus`. shift: what
    the correction adds to the log-odds.
    """
    share = _corpus_prior(corpus, mix_prior, config)
    source = "training" if not len(corpus) else "estimated"
    judged = ~np.isnan(truth)
    interval = None
    if config.corpus_prior is not None:
        source = "stated"
    else:
        interval = calibration.prior_interval(log_odds[judged], truth[judged], corpus, seed=config.seed)
    low, high = interval or (None, None)
    return {
        "train": mix_prior, "corpus": share, "source": source, "low": low, "high": high,
        "sample": len(corpus), "uncorrected": float(expit(corpus).mean()) if len(corpus) else None,
        "shift": calibration.shift_to(corpus, share) or calibration.prior_shift(mix_prior, share),
    }  # fmt: skip


def _faithfulness(
    predictor: faithfulness.Predictor, flagged: Sequence[str], config: Config
) -> dict[str, Any] | None:
    """Of the marked words, on flagged texts: a random choice where there are many."""
    chosen = np.random.default_rng(config.seed).permutation(len(flagged))[: faithfulness.MOST]
    found = faithfulness.measure(predictor, [flagged[i] for i in chosen], seed=config.seed)
    return asdict(found) if found else None


def _cascade_loss(
    predictor: predict.CascadePredictor,
    corpus: list[str],
    test: list[str],
    truth: NDArray[np.float32],
    config: Config,
) -> dict[str, Any]:
    """What the cascade lost against `accurate` on everything: on a random sample, and on the test texts."""
    fast, accurate = (one.predict(corpus)[:, 0] for one in (predictor.fast, predictor.accurate))
    again = fast >= predictor.cut
    flagged = int((again & (accurate >= predictor.thresholds["DA"])).sum())
    return {
        "sample": cascade.loss_on_sample(again, accurate, flagged=flagged),
        "test": cascade.loss_of_precision(
            truth, predictor.predict(test)[:, 0], predictor.accurate.predict(test)[:, 0], seed=config.seed
        ),
    }


def _scales(
    logits: NDArray[np.float32],
    truth: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    train_rows: NDArray[np.int64],
) -> tuple[list[calibration.Scale], float | None]:
    """One scale per output, and the share of DA in the mix for which the first holds. None: nobody judged DA."""
    scales = []
    for output in range(truth.shape[1]):
        judged = ~np.isnan(truth[:, output])
        scales.append(calibration.platt(logits[judged, output], truth[judged, output]))
    verdicts = truth[~np.isnan(truth[:, 0]), 0]
    if calibration.MIN_POSITIVES <= verdicts.sum() <= len(verdicts) - calibration.MIN_POSITIVES:
        return scales, float(verdicts.mean())
    weight = weights[train_rows, 0]  # not calibrated: the logits hold for the mix that was trained on
    return scales, float((targets[train_rows, 0] * weight).sum() / weight.sum()) if weight.any() else None


def _at_half(shift: float) -> float:
    """Where a probability of .5 in the training mix lies in the corpus."""
    return float(1 / (1 + np.exp(-shift)))


def _threshold(probability: NDArray[Any], truth: NDArray[np.float32]) -> float | None:
    judged = ~np.isnan(truth) & ~np.isnan(probability)
    return calibration.best_threshold(probability[judged].astype(np.float64), truth[judged])


def _thresholds(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.float32],
    tags: list[str],
    *,
    fallback: float | None,
    goal: calibration.Goal,
) -> tuple[list[float | None], dict[str, str]]:
    """Of DA the best F1 on validation, of the tags the goal; and why there is none, by name. `fallback`: for DA; None
    where there is no verdict."""
    notes = {}
    chosen = [
        _threshold(probabilities[:, 0], truth[:, 0]),
        *calibration.tag_thresholds(probabilities[:, 1:], truth[:, 1:], goal),
    ]
    for output, name in enumerate(["DA", *tags]):
        positives = int(np.nansum(truth[:, output]))
        if chosen[output] is not None or (output == 0 and fallback is None):
            continue
        if positives < calibration.MIN_POSITIVES or goal.name != "precision":
            notes[name] = (
                f"Only {positives} of the validation tweets are positive; at least {calibration.MIN_POSITIVES} are "
                "needed to choose a threshold. " + (
                    "An even chance in the training mix is used." if name == "DA" else "Label more tweets with this tag."
                )
            )  # fmt: skip
        else:
            notes[name] = (
                f"No threshold reaches a precision of {goal.precision:g} on the validation tweets with at least "
                f"{calibration.MIN_POSITIVES} right ones: this tag is not predicted. Ask for less, or label more tweets."
            )
    return [fallback if chosen[0] is None else chosen[0], *chosen[1:]], notes


def _threshold_figures(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.float32],
    names: list[str],
    thresholds: list[float | None],
    goal: calibration.Goal,
) -> dict[str, Any]:
    """What each threshold reached on validation, with an interval."""
    goals = [calibration.Goal(), *[goal] * (len(names) - 1)]
    return {
        name: calibration.reached(probabilities[:, k], truth[:, k], thresholds[k], goals[k])
        for k, name in enumerate(names)
    }


# --- what comes out --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Figures:
    """Probabilities [n, 1 + tags] of the held-out texts."""

    network: NDArray[np.float32]
    network_masked: NDArray[np.float32]
    baseline: NDArray[np.float32]
    baseline_masked: NDArray[np.float32]

    def at(self, rows: NDArray[Any]) -> _Figures:
        return _Figures(
            self.network[rows], self.network_masked[rows], self.baseline[rows], self.baseline_masked[rows]
        )


def _samples(
    *,
    test: pd.DataFrame,
    truth: NDArray[np.float32],
    figures: _Figures,
    tags: list[str],
    thresholds: list[float | None],
    baseline_thresholds: list[float | None],
    shift: float,
    config: Config,
) -> dict[str, Any]:
    everything = np.ones(len(test), bool)
    people = (test["sample"] == "people").to_numpy()
    no_rule = ~test["matches_rule"].to_numpy(bool)
    terms = "" if config.term_pattern else " There are no rules, so nothing is masked."
    chosen: list[tuple[str, str, NDArray[np.bool_], bool]] = [
        ("test", "All test tweets: what people judged, what came with the import or from rules, specific tweets "
         "taken for DA, and general tweets drawn as NDA that nobody judged.", everything, False),
        ("people", "The test tweets that a person judged.", people, False),
        ("no_rule", "The test tweets that no rule matches.", no_rule, False),
        ("masked", "All test tweets with the rule terms deleted from their text." + terms, everything, True),
    ]  # fmt: skip

    def sample(description: str, rows: NDArray[np.bool_], masked: bool) -> dict[str, Any]:
        part = figures.at(rows)
        network = part.network_masked if masked else part.network
        baseline = part.baseline_masked if masked else part.baseline
        in_mix = network.astype(np.float64)
        in_mix[:, 0] = _moved(in_mix[:, 0], -shift)
        return {
            "description": description,
            "n": int(rows.sum()),
            "network": evaluate.model_figures(tags, truth[rows], network, thresholds, reliability=in_mix)
            | classes(rows, network),
            "baseline": evaluate.model_figures(tags, truth[rows], baseline, baseline_thresholds)
            | classes(rows, baseline),
        }

    def classes(rows: NDArray[np.bool_], probability: NDArray[np.float32]) -> dict[str, Any]:
        if config.task != "classes":
            return {}
        return {"classes": evaluate.class_figures(tags, truth[rows, 1:], probability[:, 1:])}

    return {name: sample(description, rows, masked) for name, description, rows, masked in chosen}


def _moved(probability: NDArray[np.float64], log_odds: float) -> NDArray[np.float64]:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(1 / (1 + np.exp(-(np.log(clipped / (1 - clipped)) + log_odds))))


def _loses(sample: dict[str, Any]) -> dict[str, bool]:
    """Whether the network loses to the baseline: the verdict by average precision, the tags by macro F1."""

    def lower(one: float | None, other: float | None) -> bool:
        return other is not None and (one is None or one < other)

    network, baseline = sample["network"], sample["baseline"]
    verdicts = [(model["verdict"] or {}).get("average_precision") for model in (network, baseline)]
    return {
        "verdict_loses": lower(*verdicts),
        "macro_loses": lower(network["macro"]["f1"], baseline["macro"]["f1"]),
    }


def _counts(examples: pd.DataFrame, truth: NDArray[np.float32], tags: list[str]) -> dict[str, Any]:
    result = {}
    for name in SPLITS:
        rows = (examples["split"] == name).to_numpy()
        origin = examples.loc[rows, "sample"].value_counts()
        verdict = truth[rows, 0]
        result[name] = {
            "examples": int(rows.sum()),
            "da": int((verdict == 1).sum()),
            "nda": int((verdict == 0).sum()),
            "no_verdict": int(np.isnan(verdict).sum()),
            **{key: int(origin.get(key, 0)) for key in ("people", "import", "rule", "assumed", "negative")},
            "matches_rule": int(examples.loc[rows, "matches_rule"].sum()),
            "tags": {tag: int(np.nansum(truth[rows, 1 + k])) for k, tag in enumerate(tags)},
        }
    return result


def _write_holdout(path: Path, rows: pd.DataFrame, figures: _Figures) -> None:
    pd.DataFrame({
        "id": rows["id"].to_numpy(),
        "split": rows["split"].to_numpy(),
        "p": list(figures.network),
        "p_masked": list(figures.network_masked),
        "baseline_p": list(figures.baseline),
    }).to_parquet(path, index=False)  # fmt: skip


def _environment() -> dict[str, str]:
    packages = ("tensorflow-cpu", "tensorflow", "keras", "scikit-learn", "numpy", "pandas")
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return {"python": platform.python_version(), **found}


def plain(value: Any) -> Any:
    """JSON without surprises: NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


if __name__ == "__main__":
    from ml.train_command import main  # which imports this module

    sys.exit(main())
