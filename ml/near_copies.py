"""Near copies among any number of texts, by MinHash: a signature for each text, then groups of alike signatures.

Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3. 1.8 µs a text to sign, 2 µs to join; only
one band of signatures (8 bytes a text) and the parents (8 bytes) are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# A signature is 12 bands of 4 values. Two texts meet when all values of one band agree: at a Jaccard similarity of
# .7 with a probability of 96 %, of .8 with 99.8 %, of .4 with 27 %. Those that meet are compared on all 48 values.
BANDS = 12
ROWS = 4
VALUES = BANDS * ROWS
SHINGLE = 5  # bytes: one changed word leaves most shingles of a short text alike
ALIKE = 33  # values of 48 that agree in near copies: a Jaccard similarity of .69, give or take .07

_BLOCK = 4_000  # texts signed at a time: their shingles (4 bytes each) stay in the processor's cache
_PART = 1 << 21  # keys sorted at a time: 50 MB
_PAIRS = 100_000  # pairs compared at a time: 2 * 96 bytes each
_GAP = b"\0" * (SHINGLE - 1)  # between two texts, so that no shingle holds parts of both

# The permutations of 32-bit numbers, x → a x + c with odd a, are part of what a signature means.
_RANDOM = np.random.Generator(np.random.PCG64(20))
_FACTORS = _RANDOM.integers(0, 2**31, VALUES, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_ADDENDS = _RANDOM.integers(0, 2**32, VALUES, dtype=np.uint32)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads a shingle's 40 bits over 64


def sign(lines: Sequence[bytes]) -> NDArray[np.uint64]:
    """Signatures of texts that ml.groups.normalise made: uint64 [BANDS, n], a row for each band.

    A band is four values of 16 bits: the low halves of the smallest permuted shingles.
    """
    blocks = [_sign(lines[start : start + _BLOCK]) for start in range(0, len(lines), _BLOCK)]
    return np.concatenate(blocks, axis=1) if blocks else np.empty((BANDS, 0), dtype=np.uint64)


def _sign(lines: Sequence[bytes]) -> NDArray[np.uint64]:
    """1. the block as one run of bytes, each of which begins a shingle, hashed to 32 bits
    2. the shingles that reach into a gap stand for nothing: the text's first one takes their place
    3. for each permutation, the smallest value within each text
    """
    lines = [line or b"\0" for line in lines]
    together = _GAP.join([*lines, b"\0" * 8])
    lengths = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
    ends = np.cumsum(lengths + len(_GAP))
    starts = ends - lengths - len(_GAP)
    words = np.ndarray(int(ends[-1]), dtype="<u8", buffer=together, strides=(1,))  # one begins at every byte
    shingles = (words & np.uint64(2 ** (8 * SHINGLE) - 1)) * _SPREAD
    hashes = (shingles >> np.uint64(32)).astype(np.uint32)
    for before_end in range(1, 2 * len(_GAP) + 1):
        hashes[np.maximum(ends - before_end, starts)] = hashes[starts]
    values = np.empty((len(lines), VALUES), dtype="<u2")
    for n in range(VALUES):
        smallest = np.minimum.reduceat(hashes * _FACTORS[n] + _ADDENDS[n], starts)
        values[:, n] = smallest.astype(np.uint16)
    return np.ascontiguousarray(values.view("<u8").T)


def join(
    signatures: Sequence[NDArray[np.uint64]],
    *,
    joined: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    tick: Callable[[int], None] | None = None,
) -> NDArray[np.int64]:
    """The group of each text, named by its first member's number: int64 [n]. A text without a near copy is alone.

    `signatures` are the BANDS rows of [BANDS, n], in memory or mapped from files when they are asked for; `joined` are pairs of numbers that
    belong together anyhow; `tick` is called often, with the number of bands done. For each band, texts that meet
    are compared with the one before them and with the first of those that meet, which is linear however many they
    are; those alike are joined (transitively).
    """
    parents = np.arange(len(signatures[0]), dtype=np.int64)
    if joined is not None:
        _join_pairs(parents, *joined)
        _flatten(parents)
    for number, band in enumerate(signatures):
        for left, right in _meetings(np.asarray(band)):
            apart = parents[left] != parents[right]
            for a, b in _alike(signatures, left[apart], right[apart]):
                _join_pairs(parents, a, b)
            if tick:
                tick(number)
        _flatten(parents)
    return parents


def _meetings(keys: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (earlier, later) of numbers with equal keys; by ranges of keys, so that little is in memory."""
    parts = -(-len(keys) // _PART)
    part_of = keys.view("<u2")[::ROWS] % np.uint16(parts or 1)  # by the first of a key's values
    for part in range(parts):
        rows = np.flatnonzero(part_of == part)
        rows = rows[np.argsort(keys[rows], kind="stable")]
        ordered = keys[rows]
        again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        is_first = np.ones(len(ordered), dtype=bool)
        is_first[again] = False
        firsts = np.flatnonzero(is_first)
        first = firsts[np.searchsorted(firsts, again, side="right") - 1]
        yield np.concatenate([rows[first], rows[again - 1]]), np.concatenate([rows[again], rows[again]])


def _alike(
    signatures: Sequence[NDArray[np.uint64]], left: NDArray[np.int64], right: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Those of the pairs that are near copies."""
    for start in range(0, len(left), _PAIRS):
        a, b = left[start : start + _PAIRS], right[start : start + _PAIRS]
        alike = agreement(signatures, a, b) >= ALIKE
        yield a[alike], b[alike]


def agreement(
    signatures: Sequence[NDArray[np.uint64]], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of the 48 values agree, for pairs of texts: 48 times their estimated Jaccard similarity."""
    agree = np.zeros(len(left), dtype=np.int64)
    for band in signatures:
        same = np.asarray(band[left]).view(np.uint16) == np.asarray(band[right]).view(np.uint16)
        agree += same.reshape(-1, ROWS).sum(axis=1)
    return agree


def _join_pairs(parents: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    for one, other in zip(left.tolist(), right.tolist(), strict=True):
        root, leaf = sorted((_root(parents, one), _root(parents, other)))
        parents[leaf] = root


def _root(parents: NDArray[np.int64], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = int(parents[number])
    return number


def _flatten(parents: NDArray[np.int64]) -> None:
    """Point every text at its root."""
    below = joined_texts(parents)
    while True:
        higher = parents[parents[below]]
        if np.array_equal(higher, parents[below]):
            return
        parents[below] = higher


def joined_texts(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of the texts that were joined to another. In blocks: there may be very many texts."""
    blocks = [
        start
        + np.flatnonzero(parents[start : start + _PART] != np.arange(start, min(start + _PART, len(parents))))
        for start in range(0, len(parents), _PART)
    ]
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.int64)
