"""What a training learns from: judged texts become targets, weights and bags, or are refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml import calibration, fitting, text
from ml.config import ARCHITECTURES, MOST_HIDDEN, Config

MIN_TRAINING = 20  # judged texts in the train split; with fewer there is nothing to learn from
# Drawn negatives on which the regression of a tag, ours and the baseline's, is trained.
TAG_NEGATIVES = 20_000
MOST_TAKEN_OFF = 0.1  # of the loss of a positive as a negative; measured up to here


def check(examples: pd.DataFrame, tags: list[str], config: Config) -> None:
    if config.architecture not in ARCHITECTURES:
        raise ValueError(
            f"Unknown architecture {config.architecture!r}: choose one of {', '.join(ARCHITECTURES)}."
        )
    if config.task not in ("verdict", "tags", "classes"):
        raise ValueError(f"Unknown task {config.task!r}: choose verdict, tags or classes.")
    calibration.Goal(config.goal, config.precision)  # raises
    if not 0 <= config.hidden_positives <= MOST_HIDDEN:
        raise ValueError(
            f"hidden_positives is a share from 0 to {MOST_HIDDEN}, not {config.hidden_positives}."
        )
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


def truth_of(examples: pd.DataFrame, tags: list[str]) -> NDArray[np.float32]:
    """float32 [n, 1 + tags]: judgements, NaN where there is none."""
    return examples[["verdict", *tags]].to_numpy(dtype=np.float32, na_value=np.nan)


def targets_of(
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


def judged_weights(truth: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights of what was truly judged: without the tags that negatives are assumed not to have."""
    return np.where(np.isnan(truth), np.float32(0), weights)


def fewer_negatives(
    weights: NDArray[np.float32], examples: pd.DataFrame, config: Config
) -> NDArray[np.float32]:
    """The same weights, but only TAG_NEGATIVES of the drawn negatives for the tags: 25 regressions on all of them
    would take longer than the network, and learn nothing more about tags."""
    result = weights.copy()
    negative = np.flatnonzero((examples["sample"] == "negative").to_numpy())
    spared = np.random.default_rng(config.seed).permutation(negative)[TAG_NEGATIVES:]
    result[spared, 1:] = 0
    return result


def training_examples(
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


def with_hidden_positives(
    training: fitting.Examples, *, drawn: NDArray[np.bool_], share: float
) -> fitting.Examples:
    """The same, where a share of the `drawn` negatives ([n]) is taken to be positive (Kiryo et al. 2017).

    What these cost as negatives is known from the labelled positives, and is taken off: for each positive its loss as a
    negative times `off`. With cross-entropy that is a target above 1 in place of 1, and a weight below 1:
    w · l(1) − off · w · l(0) = (1 − off) · w · l(1 / (1 − off)). Their non-negativity holds by MOST_TAKEN_OFF.
    """
    positive = training.targets[:, 0] == 1
    labelled = float(training.weights[positive, 0].sum())
    unjudged = float(training.weights[drawn & ~positive, 0].sum())
    if not (share and labelled and unjudged):
        return training
    off = min(share / (1 - share) * unjudged / labelled, MOST_TAKEN_OFF)
    targets, weights = training.targets.copy(), training.weights.copy()
    targets[positive, 0] = 1 / (1 - off)
    weights[positive, 0] *= 1 - off
    return replace(training, targets=targets, weights=weights)


def mask(texts: Sequence[str], pattern: str) -> list[str]:
    """The texts without the rule terms. `pattern` is RE2; "" leaves them as they are."""
    if not pattern:
        return list(texts)
    import re2

    compiled = re2.compile(pattern)
    return [compiled.sub(" ", text.encode(value).decode()) for value in texts]
