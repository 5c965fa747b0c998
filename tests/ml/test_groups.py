"""Near-duplicate groups and splits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ml import groups

KEYS = [6047931126825994448, -5426141060434712860, 1158514305544329307]
PINNED_SPLITS = ["train", "test", "train", "train", "train"]


def test_the_key_of_a_text_never_changes():
    # These values are stored with every tweet of every installation: a change here loses all splits.
    assert groups.text_key("Took two 💊 from @someone, feel greaaaat https://t.co/x1") == KEYS[0]
    assert groups.text_key("") == KEYS[1]
    assert groups.text_key("Ça va très bien, 100%!") == KEYS[2]


@pytest.mark.parametrize(
    "other",
    [
        "need some OXY tonight",
        "Need some oxy tonight!!! https://t.co/AbC123",
        "@friend need some #oxy tonight",
        "neeeed some oxy   tonight 😀",
        "need some oxy\ntonight 123",
        "need\u00a0some oxy\u2028tonight",
    ],
)
def test_near_identical_texts_share_a_key(other: str):
    assert groups.text_key(other) == groups.text_key("need some oxy tonight")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("need some oxy tonight", "need some oxy today"),
        ("👍", "👎"),
        ("100%", "50%"),
        ("薬が必要", "薬は不要"),
        ("", "a"),
    ],
)
def test_different_texts_have_different_keys(one: str, other: str):
    assert groups.text_key(one) != groups.text_key(other)


def test_apostrophes_do_not_split_words():
    assert groups.text_key("don't") == groups.text_key("don’t") == groups.text_key("dont")


def test_keys_of_many_are_the_keys_of_each():
    texts = ["one", "two\nlines", "", "\x00", "\ud800 broken", "x" * 10_000, "İstanbul"]
    keys = groups.text_keys(texts)
    assert keys.dtype == np.int64
    assert keys.tolist() == [groups.text_key(text) for text in texts]
    assert len(groups.text_keys([])) == 0


def test_keys_are_quick_enough_for_an_import():
    texts = [
        f"Word{i} some tweet of ordinary length, @handle{i} https://t.co/{i} sooo cool" for i in range(20_000)
    ]
    started = time.process_time()
    groups.text_keys(texts)
    assert len(texts) / (time.process_time() - started) > 50_000


def test_a_hostile_text_does_not_slow_normalisation():
    started = time.process_time()
    groups.text_keys(["a" * 1_000_000, "@" * 1_000_000, "&" * 1_000_000, "http://" * 100_000, "'’" * 100_000])
    assert time.process_time() - started < 1


def test_splits_are_80_10_10_and_stable():
    hashes = groups.text_keys(
        [f"tweet number {chr(97 + i % 26)} {i:x} word{chr(97 + i // 26 % 26)}" for i in range(676)]
    )
    many = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 100_000)
    splits = groups.splits_of(many)
    shares = [float((splits == name).mean()) for name in groups.SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    assert [groups.split_of(int(h)) for h in hashes[:50]] == groups.splits_of(hashes[:50]).tolist()
    assert [groups.split_of(h) for h in (0, 1, 2, -1, 2**63 - 1)] == PINNED_SPLITS


def test_near_copies_become_one_cluster_and_others_do_not():
    texts = [
        "the city council announced a new grant to fight the opioid crisis in the county today",
        "the city council announced a new grant to fight the opioid crisis in the county tonight",
        "the city council announces a new grant to fight the opioid crisis in the county tonight",
        "who else is going to the concert in the park on saturday evening",
        "The city council announced a new grant to fight the opioid crisis in the county today!!",
    ]
    keys = groups.text_keys(texts)
    clusters = groups.near_duplicates(texts, keys)
    assert clusters[0] == clusters[1] == clusters[2] == clusters[4] == keys[[0, 1, 2, 4]].min()
    assert clusters[3] == keys[3]


def test_planted_near_copies_are_found():
    rng = np.random.default_rng(3)
    words = np.array(["".join(rng.choice(list("abcdefghijklmnop"), 6)) for _ in range(3000)])
    originals = [" ".join(rng.choice(words, 14)) for _ in range(500)]
    copies = [text.rsplit(" ", 1)[0] + " changed" for text in originals]
    texts = originals + copies
    clusters = groups.near_duplicates(texts, groups.text_keys(texts))
    assert (clusters[:500] == clusters[500:]).mean() > 0.97
    assert len(np.unique(clusters)) >= 490


def test_clusters_of_nothing_and_of_wrong_lengths():
    assert len(groups.near_duplicates([], np.array([], dtype=np.int64))) == 0
    with pytest.raises(ValueError, match="one key per text"):
        groups.near_duplicates(["a"], np.array([1, 2]))


def test_a_text_without_a_known_near_copy_is_a_group_by_itself():
    kept = 2**62 + 1
    assert groups.groups_of([kept, None], ["one", "two"]).tolist() == [kept, groups.text_key("two")]
