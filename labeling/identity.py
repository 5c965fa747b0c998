"""What makes two rows the same tweet, and what remains of an author's name. Knows nothing of Django."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # bytes of SHA-256


def dedupe_keys(source: int, names: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
    """Stable 64-bit hashes of (source, id), or of (source, text) where the id is empty. names: (id, text)."""
    by_id, by_text = key_prefixes(source)
    return hashed([by_id + name.encode() if name else by_text + text.encode() for name, text in names])


def key_prefixes(source: int) -> tuple[bytes, bytes]:
    """What is hashed before an id, and before a text. Stored keys depend on it: it never changes."""
    return f"{source}\0id\0".encode(), f"{source}\0text\0".encode()


def hashed(names: Iterable[bytes | memoryview]) -> NDArray[np.int64]:
    blake = hashlib.blake2b
    digests = b"".join([blake(name, digest_size=8).digest() for name in names])
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def keyed_marks(keys: NDArray[np.int64], secret: bytes) -> NDArray[np.int64]:
    """SipHash-2-4 of 64-bit keys under a secret of 16 bytes (Aumasson and Bernstein 2012): without the secret nobody
    can tell which key a mark is of.

    By whole columns: an import looks at every row of every file, and hashlib takes a call for each.
    """
    first, second = np.frombuffer(secret, dtype="<u8").astype(np.uint64)
    words = keys.astype(np.int64).view(np.uint64)
    state = [
        np.full(len(words), word) ^ np.uint64(start)
        for word, start in zip([first, second] * 2, SIP, strict=True)
    ]
    for word, rounds in ((words, 2), (np.uint64(8 << 56), 2), (None, 4)):
        if word is None:
            state[2] ^= np.uint64(0xFF)
        else:
            state[3] ^= word
        for _ in range(rounds):
            _sip_round(*state)
        if word is not None:
            state[0] ^= word
    marks: NDArray[np.int64] = (state[0] ^ state[1] ^ state[2] ^ state[3]).view(np.int64)
    return marks


SIP = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def _sip_round(
    a: NDArray[np.uint64], b: NDArray[np.uint64], c: NDArray[np.uint64], d: NDArray[np.uint64]
) -> None:
    """In place, modulo 2^64."""
    a += b
    c += d
    _rotate(b, 13)
    _rotate(d, 16)
    b ^= a
    d ^= c
    _rotate(a, 32)
    c += b
    a += d
    _rotate(b, 17)
    _rotate(d, 21)
    b ^= c
    d ^= a
    _rotate(c, 32)


def _rotate(values: NDArray[np.uint64], bits: int) -> None:
    high = values >> np.uint64(64 - bits)
    values <<= np.uint64(bits)
    values |= high


class AuthorHasher:
    """A keyed hash (HMAC-SHA-256): the same author has the same hash, and without the key nobody can test a name.

    What HMAC does with the key is done once: three times as fast as hmac.digest for each name.
    """

    def __init__(self, key: str) -> None:
        padded = (hashlib.sha256(key.encode()).digest() if len(key.encode()) > BLOCK else key.encode()).ljust(
            BLOCK, b"\0"
        )
        self.inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
        self.outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def hash(self, author: str) -> bytes:
        """16 bytes."""
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(author.strip().encode())
        outer.update(inner.digest())
        return outer.digest()[:16]
