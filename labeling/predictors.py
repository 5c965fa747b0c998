"""Loading a version's model: only the file whose SHA-256 training recorded, once in each process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from labeling import model_files
from labeling.jobs import JobError
from labeling.models import ModelVersion

Span = tuple[int, int, float]  # start and end in characters, weight −1 to 1, positive towards DA


class Predictor(Protocol):
    """What ml.predict.load() gives."""

    tags: list[str]
    thresholds: dict[str, Any]  # {"DA": float, "tags": {name: float | None}}

    def predict(self, texts: Any) -> npt.NDArray[np.float32]:
        """Probabilities [n, 1 + tags] of the texts: DA first. Takes a list of str or an Arrow array."""

    def words(self, texts: Sequence[str]) -> list[list[Span]]:
        """The words that drove the DA output of each text."""


def predictor_of(version: ModelVersion) -> Predictor:
    """The model of a version. Raises JobError when its file is missing or is not the one that was trained."""
    if not version.artefact or not version.sha256:
        raise JobError(f"Version {version.number} has no model file. Train a new version.")
    try:
        path = model_files.local_file(version)
    except FileNotFoundError as error:
        raise JobError(
            f"The model file of version {version.number} is gone. Restore it from a backup."
        ) from error
    except model_files.WrongFile as error:
        raise JobError(
            f"The model file of version {version.number} is not the one that its training recorded, and was not"
            " opened. Restore it from a backup, or train a new version."
        ) from error
    return _load(str(path), version.number)


@lru_cache(maxsize=1)  # half a gigabyte with its runtime: one at a time
def _load(path: str, number: int) -> Predictor:
    use_one_thread()
    is_first = "tensorflow" not in sys.modules
    from ml import artefact, predict  # brings TensorFlow: only where scores are computed

    if is_first:
        # Its half a million objects stay for good: a look through them takes the garbage collector a fifth of a second.
        gc.collect()
        gc.freeze()
    try:
        return cast(Predictor, predict.load(path))
    except artefact.ArtefactError as error:
        raise JobError(
            f"The model of version {number} cannot be read. Train a new version. ({error})"
        ) from error


def use_one_thread() -> None:
    """Before TensorFlow starts: two processes of one thread score faster than one process of two."""
    if "tensorflow" not in sys.modules:
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            os.environ.setdefault(name, "1")
