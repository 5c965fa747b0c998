"""The model file: the same bytes for the same model, and nothing but plain arrays is read."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, content: dict[str, bytes]):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_saved_model_loads_into_the_same_weights(trained, tmp_path):
    from ml import artefact

    path = trained["accurate"][0] / "model.zip"
    model, description = artefact.load(path)
    keep = {key: value for key, value in description.items() if key not in ("shape", "format")}
    artefact.save(tmp_path / "again.zip", model, keep)
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("kind", ["not a zip", "other members", "newer format", "other shape", "cut off"])
def test_a_broken_or_foreign_file_is_refused(trained, tmp_path, kind):
    from ml import artefact

    content = members(trained["fast"][0] / "model.zip")
    description = json.loads(content["model.json"])
    path = tmp_path / "model.zip"
    if kind == "not a zip":
        path.write_bytes(b"PK nothing")
    elif kind == "other members":
        rewrite(path, content | {"config.json": b"{}"})
    elif kind == "newer format":
        rewrite(path, content | {"model.json": json.dumps(description | {"format": 99}).encode()})
    elif kind == "other shape":
        shape = description["shape"] | {"outputs": 7}
        rewrite(path, content | {"model.json": json.dumps(description | {"shape": shape}).encode()})
    else:
        path.write_bytes((trained["fast"][0] / "model.zip").read_bytes()[:-50])
    with pytest.raises(artefact.ArtefactError):
        artefact.load(path)


def test_a_pickle_among_the_weights_is_not_opened(trained, tmp_path):
    from ml import artefact

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    buffer = io.BytesIO()
    content = members(trained["fast"][0] / "model.zip")
    with np.load(io.BytesIO(content["weights.npz"])) as state:
        arrays = dict(state)
    arrays["words"] = np.array([Bomb()], dtype=object)
    np.savez(buffer, **arrays, allow_pickle=True)
    path = rewrite(tmp_path / "model.zip", content | {"weights.npz": buffer.getvalue()})
    with pytest.raises(artefact.ArtefactError):
        artefact.load(path)
    assert not (tmp_path / "exploded").exists()
    assert pickle.HIGHEST_PROTOCOL  # the bomb was really packed
