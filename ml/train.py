"""Train one model: from judged texts to model.zip, report.json and holdout.parquet.

python -m ml.train TRAIN --out DIR      # JSONL or CSV with text, verdict, tags; ml/train_command.py reads it
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
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
    faithfulness,
    fitting,
    predict,
    pretraining,
    solving,
    text,
)
from ml.baseline import Baseline
from ml.config import PRIOR_SAMPLE, Config
from ml.network import Shape, Tagger, Vocabulary
from ml.report import SPLITS, Figures, counts_of, environment, loses, plain, samples_of, write_holdout
from ml.targets import (
    check,
    fewer_negatives,
    judged_weights,
    mask,
    targets_of,
    training_examples,
    truth_of,
    with_hidden_positives,
)

Progress = Callable[[dict[str, Any]], None]

TAGS_BATCH = 128  # the largest batch where there is no verdict
TAGS_RATE = 0.3  # and what the learning rate of words is multiplied by there
ON_VALIDATION = (
    "The validation texts, as there are no test texts. Epochs, calibration and thresholds were chosen on them: these "
    "figures flatter."
)


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
    the corpus is estimated (PRIOR_SAMPLE texts are used). Without it `unlabelled` takes its place.
    `progress` may raise to cancel. Raises ValueError, saying what to do, when the examples cannot teach the task.
    The same arguments give the same model.
    """
    started = time.monotonic()
    report_progress: Progress = progress or (lambda _: None)
    check(examples, tags, config)
    examples = examples.reset_index(drop=True)
    truth = truth_of(examples, tags)
    part = {name: np.flatnonzero((examples["split"] == name).to_numpy()) for name in SPLITS}

    # 1. Texts become buckets once; the variants without rule terms are further bags.
    report_progress({"stage": "Reading texts"})
    texts = examples["text"].tolist()
    targets, weights = targets_of(examples, truth, tags, config)
    training = training_examples(
        [texts[i] for i in part["train"]], targets[part["train"]], weights[part["train"]], config
    )
    drawn = (examples["sample"] == "negative").to_numpy()[part["train"]]
    training = with_hidden_positives(training, drawn=drawn, share=config.hidden_positives)
    validation_texts = [texts[i] for i in part["validation"]]
    validation = fitting.Examples(
        text.Bags.of(validation_texts), targets[part["validation"]], judged_weights(truth, weights)[part["validation"]]
    )  # fmt: skip

    # 2. Each network: word vectors from the unlabelled texts; epochs, of which the best by average precision on
    # validation stays; then the tags are solved for. A cascade has two, from the same texts.
    if "accurate" not in config.networks():
        word_vectors = None
    elif word_vectors is None:
        report_progress({"stage": "Learning words from unlabelled tweets"})
        word_vectors = _pretrain(examples, unlabelled, config)
    tag_weights = fewer_negatives(weights, examples, config)[part["train"]]
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
        "prior": {name: prior[name] for name in ("train", "corpus")}, "environment": environment(),
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
    baseline_weights = fewer_negatives(judged_weights(truth, weights), examples, config)
    baseline = Baseline(
        [texts[i] for i in part["train"]], targets[part["train"]], baseline_weights[part["train"]], seed=config.seed
    )  # fmt: skip
    report_progress({"stage": "Evaluating"})
    masked_texts = mask(held_texts, config.term_pattern)
    predictor = predict.load(out / "model.zip")
    figures = Figures(
        network=predictor.predict(held_texts), network_masked=predictor.predict(masked_texts),
        baseline=baseline.predict(held_texts), baseline_masked=baseline.predict(masked_texts),
    )  # fmt: skip
    is_test = np.isin(held_out, part["test"])
    baseline_thresholds = [
        _threshold(figures.baseline[~is_test, 0], truth[held_out][~is_test, 0]),
        *calibration.tag_thresholds(figures.baseline[~is_test, 1:], truth[held_out][~is_test, 1:], goal),
    ]

    def samples_at(rows: NDArray[np.bool_]) -> dict[str, Any]:
        return samples_of(
            test=examples.loc[held_out[rows]], truth=truth[held_out[rows]], figures=figures.at(rows), tags=tags,
            thresholds=thresholds, baseline_thresholds=baseline_thresholds, shift=shift, config=config,
        )  # fmt: skip

    samples = samples_at(is_test)
    if config.task != "verdict" and not is_test.any():
        samples["validation"] = samples_at(~is_test)["test"] | {"description": ON_VALIDATION}
    spent = time.monotonic() - started
    report = {
        "task": config.task, "tags": tags, "seconds": spent, "epochs": epochs, "counts": counts_of(examples, truth, tags),
        "thresholds": description["thresholds"], "threshold_notes": notes, "goal": asdict(goal),
        "threshold_figures": _threshold_figures(expit(odds), held_truth, names, thresholds, goal),
        "calibration": {"method": "Platt", **calibration.describe(scales, names)},
        "prior": prior, "samples": samples,
        "words_per_second": int(training.bags.lengths.sum()) * len(epochs) / max(spent, 1e-9),
        "environment": description["environment"], "pretraining": description["pretraining"],
        **loses(samples["test"]),
    }  # fmt: skip
    if thresholds[0] is not None:
        flagged = np.flatnonzero(is_test & (figures.network[:, 0] >= thresholds[0]))
        report["faithfulness"] = _faithfulness(predictor, [held_texts[i] for i in flagged], config)
    if isinstance(predictor, predict.CascadePredictor):
        report["cascade"] = _cascade_loss(
            predictor, corpus_texts, [held_texts[i] for i in np.flatnonzero(is_test)], truth[held_out][is_test, 0], config
        )  # fmt: skip
    write_holdout(out / "holdout.parquet", examples.loc[held_out], figures)
    report = {name: plain(value) for name, value in report.items()}
    (out / "report.json").write_text(
        json.dumps(report, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    return report


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


if __name__ == "__main__":
    from ml.train_command import main  # which imports this module

    sys.exit(main())
