"""Words and buckets, inside the graph."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BUCKETS_OF_WORDS = [2392022, 1278241, 2181551, 2490339]
BUCKETS_OF_PAIRS = [2013762, 2780269]

pytestmark = pytest.mark.tensorflow


def words_of(*texts: str) -> list[list[str]]:
    from ml import text

    found = text.words(text.joined(text.strings(texts)))[0].to_list()
    return [[word.decode() for word in words] for words in found]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Took TWO pills!", ["took", "two", "pills"]),
        ("need💊💊now", ["need", "💊", "💊", "now"]),
        ("see https://t.co/AbC?x=1 or www.x.org/y @some_one: #oxy", ["see", "or", "oxy"]),
        ("ÄRGER Ünd МОСКВА", ["ärger", "ünd", "москва"]),
        ("don’t “quote” … don't", ["don", "t", "quote", "don", "t"]),
        ("fish &amp; chips & salt", ["fish", "chips", "salt"]),
        ("a@b", ["a"]),
        ("tabs\tand\nlines", ["tabs", "and", "lines"]),
        ("", []),
        ("!!! ... @x", []),
        ("one\x1etwo\x00three", ["one", "two", "three"]),
        ("https://x.y💊 www.x.y\x1ez", ["💊", "z"]),
    ],
)
def test_words_of_a_text(value: str, words: list[str]):
    assert words_of(value) == [words]


def test_plain_and_unicode_texts_in_one_batch_do_not_disturb_each_other():
    texts = ["plain ASCII", "ÉTÉ 🎉 Ok", "Another Plain"]
    assert words_of(*texts) == [words_of(value)[0] for value in texts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_can_be_read_and_its_words_found_again(texts: list[str]):
    from ml import text

    for value, words in zip(texts, words_of(*texts), strict=True) if texts else ():
        for start, end in text.spans(value, words):
            assert 0 <= start <= end <= len(value)


TWEETISH = st.lists(
    st.sampled_from([
        "Oxy", "ÉTÉ", "ΣΊΣΥΦΟΣ", "İ", "💊", "👍🏽", "➡", "ﬀ", "don’t", "and/or", "@Me_2", "@", "&amp;", "&", "\x1e", "\x00",
        "https://t.co/AbC", "www.x.y", "http", "#tag", "_a_", "…", "\ufe0f", "\n", "日本", "Ａ", "\u3000", " ", "."
    ]) | st.text(max_size=8),
    max_size=12,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(TWEETISH, min_size=1, max_size=6))
def test_the_fast_graph_finds_the_same_words_as_a_plain_reading(texts: list[str]):
    assert words_of(*texts) == [plainly(value) for value in texts]


def plainly(value: str) -> list[str]:
    """The words of one text by definition, one step after the other, in Python."""
    lowered = value.encode("utf-8", "replace").decode().replace("\x00", " ")
    lowered = lowered.lower() if lowered.isascii() else icu_lower(lowered)
    apart = re.sub(r"([\u2190-\u2bff\U0001f000-\U0001faff])", r" \1 ", lowered)
    # What Python's \s takes beyond RE2's: \v, \x1c to \x1f, Unicode's spaces.
    kept = re.sub(r"(?:https?://|www\.)[^ \t\n\f\r\x1e]+|@[a-z0-9_A-Z]+|&[a-z0-9_A-Z]+;", " ", apart)
    between = r"[\x00-/:-@\[-`{-\xbf\u2000-\u206f\u3000-\u303f\ufe00-\ufe0f\uff01-\uff0f\ufffd]+"
    return [word for word in re.split(between, kept) if word]


def icu_lower(value: str) -> str:
    """Lower case as Unicode defines it, from the library that the graph links."""
    import tensorflow as tf

    return str(tf.strings.lower(value, encoding="utf-8").numpy().decode())


def test_spans_count_characters_not_bytes():
    from ml import text

    value = "😀😀 Ünder @me the Bridge https://x.y 💊"
    found = words_of(value)[0]
    assert [value[start:end] for start, end in text.spans(value, found)] == [
        "😀", "😀", "Ünder", "the", "Bridge", "💊",
    ]  # fmt: skip


def test_buckets_never_change():
    # Saved models name their words by these numbers.
    import tensorflow as tf

    from ml import text

    hashed, rows, count = text.buckets(text.join(tf.constant(["need some oxy", "💊"])))
    assert hashed.numpy().tolist() == BUCKETS_OF_WORDS
    assert rows.numpy().tolist() == [0, 0, 0, 1]
    assert count == 2
    pairs, first = text.pair_buckets(hashed, rows)
    assert pairs.numpy().tolist() == BUCKETS_OF_PAIRS
    assert first.numpy().tolist() == [0, 1]


def test_pairs_know_the_order_of_their_words():
    import tensorflow as tf

    from ml import text

    one, _ = text.pair_buckets(tf.constant([3, 5]), tf.constant([0, 0]))
    other, _ = text.pair_buckets(tf.constant([5, 3]), tf.constant([0, 0]))
    assert one.numpy() != other.numpy()


def test_bags_give_the_texts_that_were_asked_for():
    from ml.text import Bags

    bags = Bags.of(["a b c", "", "d", "a"])
    flat, lengths = bags.take(np.array([3, 1, 0]))
    assert lengths.tolist() == [1, 0, 3]
    assert flat[0] == flat[1]
    assert len(bags.joined(Bags.of(["x"]))) == 5
    assert bags.rows().tolist() == [0, 0, 0, 2, 3]
    assert len(Bags.of([])) == 0


def test_words_are_spelled_with_their_ends_and_no_further_than_twenty_bytes():
    from ml import text

    pill_alone = text.Bags.of(["💊"]).flat
    names, subwords = text.spellings(["oxy oxy oxycontin", "a" * 30 + "b", "💊"])
    assert (np.diff(names) > 0).all()
    by_word = dict(zip(names.tolist(), (set(row[row >= 0].tolist()) for row in subwords), strict=True))
    assert len(by_word) == 4
    oxy, longer, pill, endless = (
        by_word[int(text.Bags.of([word]).flat[0])] for word in ("oxy", "oxycontin", "💊", "a" * 30 + "b")
    )
    assert len(oxy) == 4 + 3 + 2 + 1
    assert len(oxy & longer) == 3 + 2 + 1  # ^o ox xy, ^ox oxy, ^oxy: all but those with the end
    assert pill
    assert not pill & oxy
    assert len(endless) == 4 * 2  # "a" alone and with the beginning; the rest is cut off
    assert text.spellings(["many other words 💊"], among=pill_alone)[0].tolist() == pill_alone.tolist()
    assert text.spellings([])[1].shape == (0, 70)
