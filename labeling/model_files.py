"""Model files on this machine: fetched from the storage "models", and checked before each use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage

from labeling.model_storage import PIECE_BYTES
from labeling.models import ModelVersion

KEPT_FILES = 5  # in the folder of this machine: the active version, the one before, and some to compare


class WrongFile(Exception):
    """What is stored is not what training recorded."""


def local_file(version: ModelVersion) -> Path:
    """The version's file on this machine: fetched where it is not there yet, and exactly what training recorded.

    Raises FileNotFoundError where no storage has it, WrongFile where it is another one.
    """
    path = Path(settings.MODEL_CACHE) / f"{version.sha256}.zip"
    if not path.exists() or sha256_of(path) != version.sha256:
        _fetch(version, path)
    path.touch()  # used now: see _tidy()
    return path


def _fetch(version: ModelVersion, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = Path(tempfile.mkstemp(dir=path.parent, prefix=".fetching-")[1])
    try:
        with _open(version) as stored, draft.open("wb") as copy:
            for piece in stored.chunks(PIECE_BYTES):
                copy.write(piece)
        if sha256_of(draft) != version.sha256:
            raise WrongFile(f"{version.artefact.name} has another SHA-256")
        os.replace(draft, path)  # at once: other processes of this machine may look for it
    finally:
        draft.unlink(missing_ok=True)
    _tidy(path.parent)


def _open(version: ModelVersion) -> File[Any]:
    name = str(version.artefact.name)
    try:
        return version.artefact.storage.open(name)
    except FileNotFoundError:  # from before models were stored in the database: a file of the web machine
        return default_storage.open(name)


def _tidy(folder: Path) -> None:
    """Leave the files that were used last."""
    files = sorted(folder.glob("*.zip"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[KEPT_FILES:]:
        with contextlib.suppress(FileNotFoundError):  # another process tidies up, too
            path.unlink()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
