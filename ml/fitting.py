"""The training loop: batches of bags, masked and weighted losses, the best epoch by validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from ml.network import Tagger, clear_unknown, rows_of
from ml.text import Bags, batches

Report = Callable[[dict[str, Any]], None]


# Adam divides by the size of a weight's gradients. For a rare word and a rare tag nearly all gradients are tiny (it is
# not the tag, and the network knows): without an epsilon of their size each would count as much as a positive.
EPSILON = 3e-5
AVERAGED_EVERY = 10  # steps
DEEP_DECAY = 1e-4  # of the convolution: dropout and few epochs hold it back already


@dataclass(frozen=True)
class Examples:
    """Bags with their judgements. targets, weights: float32 [n, 1 + tags], DA first; weight 0: not judged."""

    bags: Bags
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    # For each text the bag that has the rule terms deleted, or -1.
    variant: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Schedule:
    epochs: int
    batch: int
    rate: float  # peak learning rate of Adam for the tables of the sum, one weight per word and output
    deep_rate: float  # the same for the convolution and its word vectors
    decay: float  # decoupled weight decay of those weights
    tag_loss: float  # weight of the tags' mean loss beside that of the verdict
    term_deletion: float
    averaging: bool  # keep the mean of the weights over the later epochs, in place of the last ones
    seed: int
    tags_by_sum: bool = True  # whether the sum learns the tags; if not, the convolution alone does


class _Mean:
    """The mean of the weights over the steps of the later epochs (Izmailov et al. 2018)."""

    def __init__(self, variables: list[Any]) -> None:
        self.variables = variables
        self.count = 0
        self.values: list[NDArray[np.float32]] = []

    def add(self) -> None:
        self.count += 1
        if self.count == 1:
            self.values = [variable.numpy() for variable in self.variables]
            return
        for index, variable in enumerate(self.variables):
            self.values[index] += (variable.numpy() - self.values[index]) / self.count

    def swap(self) -> None:
        """Exchange the weights and their mean: once to judge the mean, once more to go on training."""
        for index, variable in enumerate(self.variables):
            now = variable.numpy()
            variable.assign(self.values[index])
            self.values[index] = now


def fit(
    model: Tagger, train: Examples, validation: Examples, schedule: Schedule, report: Report
) -> list[dict[str, Any]]:
    """Train, put the weights of the best epoch back, and return the losses of each epoch.

    With `averaging`, what is judged after an epoch is the mean of the weights since the first third of the epochs.
    """
    steps = -(-len(train) // schedule.batch)
    wide, deep = model.wide_and_deep()
    groups = [
        (variables, _optimiser(variables, rate, decay, epsilon, steps * schedule.epochs))
        for variables, rate, decay, epsilon in (
            (wide, schedule.rate, schedule.decay, EPSILON),
            (deep, schedule.deep_rate, DEEP_DECAY, 1e-7),
        )
        if variables
    ]
    variables = [*wide, *deep]
    is_table = [any(variable is one for one in wide if one is not model.bias) for variable in variables]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def step(hashed: tf.Tensor, lengths: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model.logits(hashed, *rows_of(lengths), training=True)
            loss = masked_loss(logits, targets, weights, schedule.tag_loss)
        found = tape.gradient(loss, variables)
        gradients = iter(found if schedule.tags_by_sum else _without_tags(found, is_table))
        for mine, optimiser in groups:
            optimiser.apply([next(gradients) for _ in mine], mine)
        return loss

    rng = np.random.default_rng(schedule.seed)
    mean = _Mean(variables)
    history: list[dict[str, Any]] = []
    best: tuple[float, list[Any]] | None = None
    for epoch in range(1, schedule.epochs + 1):
        total = 0.0
        for number, indices in enumerate(_batches(len(train), schedule.batch, rng), start=1):
            hashed, lengths = train.bags.take(_variants(train, indices, schedule.term_deletion, rng))
            loss = float(
                step(
                    tf.constant(hashed), tf.constant(lengths), train.targets[indices], train.weights[indices]
                )
            )
            total += loss * len(indices)
            if (
                schedule.averaging
                and epoch > schedule.epochs // 3
                and number % min(AVERAGED_EVERY, steps) == 0
            ):
                mean.add()
            if number % 10 == 0 or number == steps:
                report({"stage": "Training", "epoch": epoch, "epochs": schedule.epochs, "step": number,
                        "steps": steps, "loss": loss})  # fmt: skip
        clear_unknown(model)
        if mean.count:
            mean.swap()
            clear_unknown(model)
        logits = logits_of(model, validation.bags)
        score, validation_loss = _judge(logits, validation, schedule.tag_loss)
        history.append({"epoch": epoch, "loss": total / len(train), "validation_loss": validation_loss,
                        "validation_score": score})  # fmt: skip
        report({"stage": "Training", "epochs": schedule.epochs, "step": steps, "steps": steps, **history[-1]})
        if best is None or score >= best[0]:
            best = score, [variable.numpy() for variable in variables]
        if mean.count:
            mean.swap()
    assert best is not None
    for variable, value in zip(variables, best[1], strict=True):
        variable.assign(value)
    return history


def _optimiser(variables: list[Any], rate: float, decay: float, epsilon: float, steps: int) -> Any:
    """AdamW with a short warm-up, then a cosine down to a fifth."""
    rates = keras.optimizers.schedules.CosineDecay(
        rate / 10, steps, alpha=0.2, warmup_target=rate, warmup_steps=min(80, steps // 10)
    )
    optimiser = keras.optimizers.AdamW(rates, weight_decay=decay, beta_2=0.99, epsilon=epsilon)
    optimiser.exclude_from_weight_decay(var_names=["bias"])
    optimiser.build(variables)
    return optimiser


def _without_tags(gradients: list[Any], is_table: list[bool]) -> list[Any]:
    """The gradients, those of tables for the verdict's column alone. A table that is not in use has none."""
    return [
        tf.convert_to_tensor(gradient) * tf.one_hot(0, gradient.shape[1])
        if table and gradient is not None
        else gradient
        for gradient, table in zip(gradients, is_table, strict=True)
    ]


def masked_loss(logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, tag_loss: float) -> tf.Tensor:
    """Cross-entropy of the verdict + `tag_loss` × of the tags, over judged cells only; a mean over the batch."""
    cells = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits) * weights
    losses = tf.reduce_mean(cells, axis=0)
    return losses[0] + tag_loss * tf.reduce_sum(losses[1:])


def logits_of(model: Tagger, bags: Bags, batch: int = 4096) -> NDArray[np.float32]:
    """float32 [n, 1 + tags]."""
    parts = [
        model.compiled_logits(
            *map(tf.constant, bags.take(np.arange(start, min(start + batch, len(bags)))))
        ).numpy()
        for start in range(0, len(bags), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, model.shape_.outputs), np.float32)


def logits_of_texts(model: Tagger, texts: Sequence[str]) -> NDArray[np.float32]:
    """The same from the texts themselves: with the subwords of unknown words, of which a bag says nothing."""
    parts = [model.compiled_of_joined(batch).numpy() for batch in batches(texts, 2048)]
    return np.concatenate(parts) if parts else np.zeros((0, model.shape_.outputs), np.float32)


def _batches(count: int, size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    order = rng.permutation(count)
    return [order[start : start + size] for start in range(0, count, size)]


def _variants(
    train: Examples, indices: NDArray[np.int64], share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """For a random share of the texts, the bag without its rule terms."""
    if train.variant is None or not share:
        return indices
    variant = train.variant[indices]
    chosen = (variant >= 0) & (rng.random(len(indices)) < share)
    return np.where(chosen, variant, indices)


def _judge(logits: NDArray[np.float32], validation: Examples, tag_loss: float) -> tuple[float, float]:
    """What to maximise over the epochs, and the loss.

    Average precision of DA + half the mean average precision of the tags; without both classes of DA, −loss; where
    nobody judged DA, that of the tags.
    """
    if not len(validation):
        return 0.0, float("nan")
    loss = float(masked_loss(tf.constant(logits), validation.targets, validation.weights, tag_loss))
    found = [_average_precision(logits, validation, output) for output in range(logits.shape[1])]
    tags = [value for value in found[1:] if value is not None]
    if tags and not validation.weights[:, 0].any():
        return float(np.mean(tags)), loss
    if found[0] is None:
        return -loss, loss
    return found[0] + (float(np.mean(tags)) / 2 if tags else 0.0), loss


def _average_precision(logits: NDArray[np.float32], validation: Examples, output: int) -> float | None:
    judged = validation.weights[:, output] > 0
    truth = validation.targets[judged, output]
    if not 0 < truth.sum() < len(truth):
        return None
    return float(average_precision_score(truth, logits[judged, output]))
