"""model.zip: the one file that a trained model is. model.json says what it is, weights.npz holds plain arrays.

Nothing in it is code and nothing is unpickled: the graph is built anew by ml.network, then filled. The same
model always gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ml.cascade import Pair
from ml.network import Shape, Tagger

FORMAT = 1
PAIR_FORMAT = 2  # of a cascade: earlier versions would take its first network for the whole
SECOND = "second."  # what the names of its second network's weights begin with
MAX_BYTES = 2 << 30  # of one member, unpacked
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAMES = {"model.json", "weights.npz"}


class ArtefactError(ValueError):
    """The file is not a model that this version can read."""


def save(path: Path, model: Tagger | Pair, description: dict[str, Any]) -> None:
    """Write the model and its JSON description (tags, thresholds, scales, config)."""
    state, shapes = _parts(model)
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in sorted(state.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(_small(value)), allow_pickle=False)
            _add(archive, f"{name}.npy", member.getvalue())
    whole = {**shapes, **description}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "model.json", json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True).encode())
        _add(archive, "weights.npz", weights.getvalue())


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """The model, a Tagger or the Pair of a cascade, and its description.

    Raises ArtefactError for anything that `save` did not write.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if {member.filename for member in members} != _NAMES or len(members) != len(_NAMES):
                raise ArtefactError(f"{path}: not a model of this application.")
            if max(member.file_size for member in members) > MAX_BYTES:
                raise ArtefactError(f"{path}: larger than a model can be.")
            description = json.loads(archive.read("model.json"))
            weights = archive.read("weights.npz")
        if description.get("format") not in (FORMAT, PAIR_FORMAT):
            raise ArtefactError(
                f"{path}: format {description.get('format')}; this version reads {FORMAT} and {PAIR_FORMAT}."
            )
        with np.load(io.BytesIO(weights), allow_pickle=False) as state:
            model = _restored(description, state)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise (
            error if isinstance(error, ArtefactError) else ArtefactError(f"{path}: broken model: {error}")
        ) from error
    return model, description


def _parts(model: Tagger | Pair) -> tuple[dict[str, Any], dict[str, Any]]:
    """All weights by name, and what model.json says of the graph."""
    if isinstance(model, Tagger):
        return model.state(), {"format": FORMAT, "shape": asdict(model.shape_)}
    second = {SECOND + name: value for name, value in model.accurate.state().items()}
    shapes = {"shape": asdict(model.fast.shape_), "second_shape": asdict(model.accurate.shape_)}
    return {**model.fast.state(), **second}, {"format": PAIR_FORMAT, **shapes}


def _restored(description: dict[str, Any], state: Mapping[str, Any]) -> Tagger | Pair:
    first = Tagger.restore(Shape(**description["shape"]), state)
    if description["format"] == FORMAT:
        return first
    second = {name.removeprefix(SECOND): state[name] for name in state if name.startswith(SECOND)}
    return Pair(first, Tagger.restore(Shape(**description["second_shape"]), second))


def _small(value: Any) -> Any:
    """Weights as 16-bit floats: training has rounded them to these already."""
    return value.astype(np.float16) if value.dtype == np.float32 else value


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = archive.compression
    archive.writestr(member, content)
