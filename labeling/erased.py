"""The marks of what was erased, and who asks for them: imports, so that nothing comes back with a later file.

The erasing itself is in labeling.erasing. Both marks are keyed with the installation's SECRET_KEY.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from labeling.models import ErasedAuthor


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
