"""Signatures and groups of near copies, on invented texts."""

from __future__ import annotations

import numpy as np
import pytest

from ml import near_copies
from ml.groups import normalise

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def invented(count: int, *, words: int = 12, seed: int = 1) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    known = np.array(["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(20_000)])
    return [rng.choice(known, words).tolist() for _ in range(count)]


def joined(texts: list[str]) -> np.ndarray:
    return near_copies.join(list(near_copies.sign(normalise(texts))))


def retweeted(words: list[str]) -> str:
    return "RT @somebody: " + " ".join(words)


def linked(words: list[str]) -> str:
    return " ".join(words) + " 😂 https://t.co/AbC123 24"


def changed(words: list[str]) -> str:
    return " ".join([*words[:5], "another", *words[6:]])


def shortened(words: list[str]) -> str:
    return " ".join(words)[: int(0.85 * len(" ".join(words)))] + "…"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("copy", "found"), [(retweeted, 0.99), (linked, 0.99), (changed, 0.75), (shortened, 0.9)]
)
def test_planted_copies_are_found(copy, found):
    texts = invented(1_000)
    originals, copies = [" ".join(words) for words in texts], [copy(words) for words in texts]
    group = joined(originals + copies)
    assert (group[1_000:] == np.arange(1_000)).mean() >= found
    assert (group[:1_000] == np.arange(1_000)).all()  # and no original is joined to another


@pytest.mark.slow
def test_texts_about_the_same_are_not_near_copies():
    rng = np.random.default_rng(2)
    texts = [" ".join([*words[:6], *rng.permutation(words[6:])]) for words in invented(1, words=12) * 2]
    texts += ["the game tonight was so good", "that game last night was really bad"]
    assert len(np.unique(joined(texts)[2:])) == 2


@pytest.mark.slow
def test_a_signature_does_not_depend_on_the_texts_around_it():
    lines = normalise([" ".join(words) for words in invented(50)] + ["a", "", "ok", "100%"])
    together = near_copies.sign(lines)
    for number, line in enumerate(lines):
        assert (near_copies.sign([line])[:, 0] == together[:, number]).all()


@pytest.mark.slow
def test_agreement_estimates_the_jaccard_similarity():
    texts = invented(400)
    a = [" ".join(words) for words in texts]
    b = [" ".join([*words[:8], "x", *words[8:]]) for words in texts]
    signatures = list(near_copies.sign(normalise(a + b)))
    left = np.arange(400)
    estimate = near_copies.agreement(signatures, left, left + 400) / near_copies.VALUES

    def shingles(line: bytes) -> set[bytes]:
        return {line[i : i + 5] for i in range(len(line) - 4)}

    pairs = zip(normalise(a), normalise(b), strict=True)
    truth = [len(shingles(x) & shingles(y)) / len(shingles(x) | shingles(y)) for x, y in pairs]
    assert abs(float((estimate - truth).mean())) < 0.01
    assert float(np.abs(estimate - truth).max()) < 0.3


@pytest.mark.slow
def test_one_text_fifty_thousand_times_is_one_group_in_linear_time():
    lines = [b"good morning everybody"] * 50_000 + normalise([" ".join(words) for words in invented(100)])
    compared = 0

    def count(pairs):
        nonlocal compared
        compared += len(pairs[0])
        return pairs

    meetings = near_copies._meetings
    signatures = list(near_copies.sign(lines))
    for band in signatures:
        for pairs in meetings(band):
            count(pairs)
    assert compared <= 2 * len(lines) * near_copies.BANDS
    group = near_copies.join(signatures)
    assert (group[:50_000] == 0).all()
    assert (group[50_000:] == np.arange(50_000, 50_100)).all()


@pytest.mark.slow
def test_the_result_is_the_same_in_parts(monkeypatch):
    texts = [" ".join(words) for words in invented(500)]
    texts += [changed(words) for words in invented(500)]
    whole = joined(texts)
    monkeypatch.setattr(near_copies, "_PART", 64)
    monkeypatch.setattr(near_copies, "_PAIRS", 7)
    monkeypatch.setattr(near_copies, "_BLOCK", 13)
    assert (joined(texts) == whole).all()


def test_pairs_known_before_are_joined_whatever_their_texts():
    signatures = list(near_copies.sign(normalise(["one thing", "quite another", "a third"])))
    group = near_copies.join(signatures, joined=(np.array([2]), np.array([1])))
    assert group.tolist() == [0, 1, 1]


def test_nothing_has_no_groups():
    assert near_copies.join(list(near_copies.sign([]))).tolist() == []
