"""model.zip: the one file that a trained model is. model.json says what it is, weights.npz holds plain arrays.

Nothing in it is code and nothing is unpickled: the graph is built anew by ml.network, then filled. The same
model always gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ml.network import Shape, Tagger

FORMAT = 1
MAX_BYTES = 2 << 30  # of one member, unpacked
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAMES = {"model.json", "weights.npz"}


class ArtefactError(ValueError):
    """The file is not a model that this version can read."""


def save(path: Path, model: Tagger, description: dict[str, Any]) -> None:
    """Write the model and its JSON description (tags, thresholds, scales, config)."""
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in sorted(model.state().items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(_small(value)), allow_pickle=False)
            _add(archive, f"{name}.npy", member.getvalue())
    whole = {"format": FORMAT, "shape": asdict(model.shape_), **description}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "model.json", json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True).encode())
        _add(archive, "weights.npz", weights.getvalue())


def load(path: Path) -> tuple[Tagger, dict[str, Any]]:
    """The model and its description. Raises ArtefactError for anything that `save` did not write."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if {member.filename for member in members} != _NAMES or len(members) != len(_NAMES):
                raise ArtefactError(f"{path}: not a model of this application.")
            if max(member.file_size for member in members) > MAX_BYTES:
                raise ArtefactError(f"{path}: larger than a model can be.")
            description = json.loads(archive.read("model.json"))
            weights = archive.read("weights.npz")
        if description.get("format") != FORMAT:
            raise ArtefactError(f"{path}: format {description.get('format')}; this version reads {FORMAT}.")
        with np.load(io.BytesIO(weights), allow_pickle=False) as state:
            model = Tagger.restore(Shape(**description["shape"]), state)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        raise (
            error if isinstance(error, ArtefactError) else ArtefactError(f"{path}: broken model: {error}")
        ) from error
    return model, description


def _small(value: Any) -> Any:
    """Weights as 16-bit floats: training has rounded them to these already."""
    return value.astype(np.float16) if value.dtype == np.float32 else value


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.compress_type = archive.compression
    archive.writestr(member, content)
