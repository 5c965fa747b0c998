"""The marks of what was erased, and who asks for them: imports, so that nothing comes back with a later file.

The erasing itself is in labeling.erasing. Both marks are keyed with the installation's SECRET_KEY.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from labeling.identity import dedupe_keys
from labeling.models import ErasedAuthor, Source


def marks_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of dedupe keys. Those are hashes of ids that anybody may try one by one; marks are not. .8 µs each."""
    secret = hmac.digest(settings.SECRET_KEY.encode(), b"labeling: erased tweets", hashlib.sha256)
    parts = keys.astype("<i8").view("V8").tolist()
    digests = b"".join(hashlib.blake2b(part, key=secret, digest_size=8).digest() for part in parts)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def known_marks(cursor: Any) -> NDArray[np.int64]:
    """Of all erased tweets. Read as one value: 8 bytes each, and nothing at all where nothing was erased."""
    cursor.execute("SELECT string_agg(int8send(mark), ''::bytea) FROM labeling_erasedtweet")
    (found,) = cursor.fetchone()
    return np.frombuffer(found or b"", dtype=">i8").astype(np.int64)


def authors() -> tuple[str, ...]:
    """Hashes of erased authors, in hex."""
    return tuple(value.hex for value in ErasedAuthor.objects.values_list("author_hash", flat=True))


def are_erased(
    contents: Sequence[str],
    marks: NDArray[np.int64],
    is_author: Callable[[str], bool] = lambda cell: False,
) -> list[bool]:
    """Which rejected rows have a cell that is the id or the text of an erased tweet, or an erased author."""
    pairs = [(row, cell) for row, content in enumerate(contents) for cell in set(_cells(content)) if cell]
    gone = [False] * len(contents)
    for source in Source:
        for names in ([(cell, "") for _, cell in pairs], [("", cell) for _, cell in pairs]):
            for place in np.flatnonzero(np.isin(marks_of(dedupe_keys(source, names)), marks)).tolist():
                gone[pairs[place][0]] = True
    for row, cell in pairs:
        gone[row] = gone[row] or is_author(cell)
    return gone


def _cells(content: str) -> list[str]:
    try:
        cells = json.loads(content)
    except ValueError:
        cells = None
    if isinstance(cells, list):
        found = [str(cell) for cell in cells]
        return [*found, *(cell.strip() for cell in found)]
    pieces = re.split(r"[,;\t|]", content) + re.findall(r'"((?:[^"\\]|\\.)*)"', content)
    return [piece.strip(" \"'[]\r\n") for piece in pieces]
