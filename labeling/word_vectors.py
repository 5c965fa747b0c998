"""Word vectors that trainings share: those learned last stay in the storage of the models until they are old."""

from __future__ import annotations

import logging
import tempfile
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.files import File
from django.core.files.storage import storages
from django.utils import timezone

from labeling.model_files import sha256_of
from labeling.models import ModelVersion
from labeling.snapshots import PRETRAINING

if TYPE_CHECKING:
    from ml.pretraining import Settings, WordVectors

logger = logging.getLogger(__name__)

MAX_AGE = timedelta(days=30)  # people find new words for things


def reusable(settings: Settings) -> tuple[WordVectors, dict[str, Any]] | None:
    """Those learned last, and their record, where they fit: alike settings (the seed aside), and not old."""
    from ml.pretraining import WordVectors  # TensorFlow

    record = _last_record()
    if record is None or "file" not in record:
        return None
    learned, wanted = record["origin"]["settings"], settings
    if (learned["dims"], learned["least"]) != (wanted.dims, wanted.least):
        return None
    if timezone.now() - datetime.fromisoformat(record["learned_at"]) > MAX_AGE:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "word_vectors.npz"
        try:
            with storages["models"].open(record["file"]) as stored, path.open("wb") as copy:
                for piece in stored.chunks():
                    copy.write(piece)
        except FileNotFoundError:
            logger.warning("%s is gone: word vectors are learned anew", record["file"])
            return None
        if sha256_of(path) != record["sha256"]:
            logger.warning("%s is not what was stored: word vectors are learned anew", record["file"])
            return None
        return WordVectors.load(path, record["origin"]), record


def keep(path: Path, origin: dict[str, Any], *, version: ModelVersion, texts: int) -> dict[str, Any]:
    """Their record, for the version's snapshot. The file is stored in place of earlier ones, for trainings to come;
    but not when there were fewer general texts than wanted: the next training may find more, and it costs little."""
    record = {"origin": origin, "version": version.number, "learned_at": timezone.now().isoformat()}
    if texts < PRETRAINING:
        return record
    storage = storages["models"]
    for earlier in _files():
        storage.delete(earlier)
    with path.open("rb") as file:
        name = storage.save(f"word_vectors/{uuid.uuid4().hex}.npz", File(file))
    return record | {"file": name, "sha256": sha256_of(path)}


def _records() -> Any:
    found = ModelVersion.objects.ready().filter(snapshot__has_key="word_vectors").order_by("-number")
    return found.values_list("snapshot__word_vectors", flat=True)


def _last_record() -> dict[str, Any] | None:
    record: dict[str, Any] | None = _records().first()
    return record


def _files() -> set[str]:
    return {record["file"] for record in _records() if "file" in record}
