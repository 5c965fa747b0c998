"""Where model files are stored unless MODEL_STORAGE says otherwise: in pieces, in a table."""

from __future__ import annotations

import tempfile
from typing import Any

from django.apps import apps
from django.core.files.base import File
from django.core.files.storage import Storage
from django.db import transaction
from django.db.models import Manager, Sum
from django.db.models.functions import Length
from django.utils.deconstruct import deconstructible

PIECE_BYTES = 4 << 20


def _pieces() -> Manager[Any]:
    """By name: the tables name their storage, and this module is loaded before them."""
    return apps.get_model("labeling", "ModelFilePiece").objects


@deconstructible
class DatabaseStorage(Storage):
    """Files in pieces in a table, so that workers on any machine need nothing but the database. For some hundred MB."""

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        pieces = _pieces().filter(name=name).order_by("number").values_list("content", flat=True)
        stream = tempfile.TemporaryFile()  # noqa: SIM115 - whoever opens the file closes it
        for piece in pieces.iterator(chunk_size=1):
            stream.write(piece)
        if not stream.tell():
            stream.close()
            raise FileNotFoundError(f"There is no model file {name} in the database.")
        stream.seek(0)
        return File(stream, name=name)

    def _save(self, name: str, content: File[Any]) -> str:
        with transaction.atomic():
            for number, piece in enumerate(content.chunks(PIECE_BYTES)):
                _pieces().create(name=name, number=number, content=piece)
        return name

    def exists(self, name: str) -> bool:
        return _pieces().filter(name=name).exists()

    def delete(self, name: str) -> None:
        _pieces().filter(name=name).delete()

    def size(self, name: str) -> int:
        sizes = _pieces().filter(name=name).aggregate(size=Sum(Length("content")))
        return int(sizes["size"] or 0)
