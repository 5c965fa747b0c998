"""What makes two rows the same tweet, and what remains of an author's name. Knows nothing of Django."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def dedupe_keys(source: int, names: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
    """Stable 64-bit hashes of (source, id), or of (source, text) where the id is empty. names: (id, text)."""
    hashed = hashlib.blake2b
    digests = b"".join(
        [
            hashed(
                (f"{source}\0id\0{name}" if name else f"{source}\0text\0{text}").encode(), digest_size=8
            ).digest()
            for name, text in names
        ]
    )
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def author_hash(author: str, key: str) -> str:
    """A keyed hash: the same author has the same hash, and without the key nobody can test a name."""
    return hmac.digest(key.encode(), author.encode(), "sha256").hex()[:32]
