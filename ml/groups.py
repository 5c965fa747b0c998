"""Near-duplicate groups of texts, and the split that a group's hash decides for ever.

`text_key` is stored with every tweet, so it must never change: it uses nothing that differs between machines
or library versions, and tests/ml/test_groups.py pins values.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml import near_copies

SPLITS = ("train", "validation", "test")
TEXT_LIMIT = 4096  # characters of a text that count: a tweet is far shorter, a broken row may be far longer

_SPACES = re.compile(r"[^\S ]+")  # line breaks, no-break spaces, …
# Links, handles, HTML entities, apostrophes ("don't" is "dont"), everything that is neither ASCII nor a word
# character (emoji, typographic punctuation, joiners), and the second and later of a repeated letter.
_NOISE = re.compile(r"(?:https?://|www\.)\S+|@\w+|&#?\w+;|['’]+|[^\w\s\x00-\x7f]+|(?<=([^\W\d_]))\1+")
_DROPPED = string.punctuation + string.digits + "\0"
_PUNCTUATION = bytes.maketrans(_DROPPED.encode(), b" " * len(_DROPPED))


def normalise(texts: Sequence[str]) -> list[bytes]:
    """Lower-case words alone, in UTF-8: no links, handles, numbers, punctuation or repeated letters.

    A text of which nothing would be left ("100%", "👍") is kept as it is, so that such texts do not all
    become one group. One pass over all texts together: about 120,000 tweets a second on one core.
    """
    lines = [_SPACES.sub(" ", text[:TEXT_LIMIT]) for text in texts]
    if not lines:
        return []
    together = _NOISE.sub("", "\n".join(lines).lower())
    words = together.encode("utf-8", "replace").translate(_PUNCTUATION).split(b"\n")
    return [
        b" ".join(line.split()) or text.strip().lower().encode("utf-8", "replace")
        for line, text in zip(words, lines, strict=True)
    ]


def text_keys(texts: Sequence[str]) -> NDArray[np.int64]:
    """`text_key` of many texts: int64 [n]."""
    hashed = hashlib.blake2b
    digests = b"".join([hashed(line, digest_size=8).digest() for line in normalise(texts)])
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def text_key(text: str) -> int:
    """A signed 64-bit hash that near-identical texts share: BLAKE2b of the normalised text."""
    return int(text_keys([text])[0])


def groups_of(stored: Sequence[int | None], texts: Sequence[str]) -> NDArray[np.int64]:
    """The group of each text: the stored one, else (None: no near copy is known) its own key. int64 [n]."""
    alone = [n for n, group in enumerate(stored) if group is None]
    groups = np.array([0 if group is None else group for group in stored], dtype=np.int64)
    groups[alone] = text_keys([texts[n] for n in alone])
    return groups


def splits_of(group_hashes: NDArray[np.int64]) -> NDArray[np.object_]:
    """`split_of` for many groups: an array of "train", "validation" or "test"."""
    bucket = np.asarray(group_hashes, dtype=np.int64).astype(np.uint64)
    # SplitMix64's finaliser: the split must not follow any other use of the same hash.
    bucket = (bucket ^ (bucket >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bucket = (bucket ^ (bucket >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bucket = (bucket ^ (bucket >> np.uint64(31))) % np.uint64(10)
    return np.array(["train"] * 8 + ["validation", "test"], dtype=object)[bucket.astype(np.int64)]


def split_of(group_hash: int) -> str:
    """The split that a group belongs to in every version: 80 % train, 10 % validation, 10 % test."""
    return str(splits_of(np.array([group_hash], dtype=np.int64))[0])


def near_duplicates(texts: Sequence[str], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The cluster of each text, named by the smallest key in it: int64 [n], to be used in place of `keys`.

    Texts of one key are one cluster. Texts of distinct keys are joined when ml.near_copies finds them alike: an
    estimated Jaccard similarity of .69 of the 5-byte shingles of their normalised texts. Joining is transitive.
    """
    keys = np.asarray(keys, dtype=np.int64)
    if len(texts) != len(keys):
        raise ValueError(f"{len(texts)} texts, but {len(keys)} keys: give one key per text.")
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    signatures = near_copies.sign(normalise([texts[index] for index in first]))
    # `unique` is sorted, so that the first member of a group has its smallest key.
    clusters: NDArray[np.int64] = unique[near_copies.join(list(signatures))][inverse]
    return clusters
