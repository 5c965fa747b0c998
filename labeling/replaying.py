"""The installation's own labels as a set to replay: which strategy would have found most, had it all been hidden?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling import snapshots


@dataclass(frozen=True)
class LabelledSet:
    texts: list[str]
    truth: NDArray[np.float32]  # [n, 1 + tags], DA first, NaN where nobody judged
    tags: list[str]


def own_labels(*, negatives: int, seed: int) -> LabelledSet:
    """What a version would be trained on at this moment: labels, and `negatives` general tweets assumed not DA.

    Reads the database; writes nothing. JobError when there is too little to learn from.
    """
    snapshot = snapshots.build(negatives=negatives, seed=seed, tick=_tick)
    tags = [snapshots.column_of(tag) for tag in snapshot.tags]
    table = snapshots.for_training(snapshot)
    truth = table[["verdict", *tags]].to_numpy(np.float32)
    truth[(table["sample"] == "negative").to_numpy(), 1:] = (
        0  # taken as without tags, as they are taken as not DA
    )
    return LabelledSet(table["text"].tolist(), truth, tags)


def _tick(*, stage: str) -> None:
    """Nobody cancels a command's reading but by stopping the command."""
