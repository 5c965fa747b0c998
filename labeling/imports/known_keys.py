"""Which keys no tweet has, known without a question: nearly all keys of a large file.

Asking the index about each took a third of what PostgreSQL did for an import.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
BITS_A_KEY = 50  # or up to twice as many: of a hundred new keys one or two have to be asked about
FEWEST = 1 << 16  # bits
MOST = 1 << 30  # 128 MiB; beyond 20 million keys more and more have to be asked about
PIECE = 500_000  # ids whose keys are read at once


class KnownKeys(Protocol):
    def may_be_in(self, keys: NDArray[np.int64]) -> Mask:
        """Which of these keys a tweet may have. They count as known from now on."""


class AskAll:
    """For a file that is smaller than what is in: to read all those keys would take longer than to ask."""

    def may_be_in(self, keys: NDArray[np.int64]) -> Mask:
        return np.ones(len(keys), bool)


class Marks:
    """A bit for each key: that of its highest digits, for keys are hashes. A Bloom filter with one hash function."""

    def __init__(self, count: int) -> None:
        bits = min(max(count * BITS_A_KEY, FEWEST), MOST)
        self.digits = (bits - 1).bit_length()
        self.bytes = np.zeros(1 << (self.digits - 3), np.uint8)

    def may_be_in(self, keys: NDArray[np.int64]) -> Mask:
        places = keys.view(np.uint64) >> np.uint64(64 - self.digits)
        bits = np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
        places >>= np.uint64(3)
        found: Mask = (self.bytes[places] & bits) != 0
        np.bitwise_or.at(self.bytes, places, bits)
        return found


def known_keys(cursor: Any, expected: int) -> KnownKeys:
    """Of all tweets that are in, before the batches of a file of about so many rows. Nobody else may add any meanwhile."""
    cursor.execute("SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM labeling_tweet")
    first, last = cursor.fetchone()
    if last - first >= expected:
        return AskAll()
    marks = Marks(last - first + 1 + expected)
    for start in range(first, last + 1, PIECE):
        cursor.execute(
            "SELECT string_agg(int8send(dedupe_key), '') FROM labeling_tweet WHERE id >= %s AND id < %s",
            [start, start + PIECE],
        )
        (found,) = cursor.fetchone()
        marks.may_be_in(np.frombuffer(found or b"", ">i8").astype(np.int64))
    return marks
