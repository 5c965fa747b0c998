"""Model files: in the database, copied to a folder of each machine, never opened when they are not what was trained."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from labeling import model_files, model_storage
from labeling.models import ModelFilePiece, ModelVersion
from tests.factories import make_version

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings) -> Path:
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.MODEL_CACHE = folder = tmp_path / "models"
    return folder


def stored(content: bytes) -> ModelVersion:
    version = make_version(sha256=hashlib.sha256(content).hexdigest())
    version.artefact.save("model.zip", ContentFile(content))
    return version


def test_a_file_is_stored_in_pieces_and_read_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_storage, "PIECE_BYTES", 10)
    content = bytes(range(256)) * 3
    version = stored(content)
    assert ModelFilePiece.objects.count() == 77
    assert version.artefact.size == len(content)
    with version.artefact.open("rb") as file:
        assert file.read() == content


def test_two_files_of_one_name_are_two_files() -> None:
    first, second = stored(b"first"), stored(b"second")
    assert first.artefact.name != second.artefact.name
    assert model_files.local_file(first).read_bytes() == b"first"


def test_the_copy_on_this_machine_is_used_again_without_the_storage(folder: Path) -> None:
    version = stored(b"trained")
    path = model_files.local_file(version)
    ModelFilePiece.objects.all().delete()
    assert model_files.local_file(version) == path
    assert path.read_bytes() == b"trained"


def test_a_damaged_copy_is_fetched_again() -> None:
    version = stored(b"trained")
    model_files.local_file(version).write_bytes(b"tampered with")
    assert model_files.local_file(version).read_bytes() == b"trained"


def test_a_changed_file_in_the_storage_is_refused_and_leaves_nothing(folder: Path) -> None:
    version = stored(b"trained")
    ModelFilePiece.objects.update(content=b"swapped")
    with pytest.raises(model_files.WrongFile, match="another SHA-256"):
        model_files.local_file(version)
    assert list(folder.iterdir()) == []


def test_a_model_from_before_is_read_from_its_file() -> None:
    version = make_version(sha256=hashlib.sha256(b"older").hexdigest())
    version.artefact.name = default_storage.save("models/older.zip", ContentFile(b"older"))
    assert model_files.local_file(version).read_bytes() == b"older"


def test_the_folder_keeps_the_files_that_were_used_last(folder: Path) -> None:
    versions = [stored(f"model {n}".encode()) for n in range(model_files.KEPT_FILES + 2)]
    for age, version in enumerate(reversed(versions)):
        path = model_files.local_file(version)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    newest = stored(b"newest")
    model_files.local_file(newest)
    kept = {path.stem for path in folder.iterdir()}
    assert len(kept) == model_files.KEPT_FILES
    assert {newest.sha256, versions[-1].sha256} <= kept
