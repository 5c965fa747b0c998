"""The needle benchmark: which posts are beyond the keywords."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import needles


def test_keywords_are_words_that_tell_and_the_communities_names():
    specific = pd.DataFrame(
        {"text": ["my oxy today"] * 60 + ["my day"] * 20, "tags": ["Painkillers;trees"] * 80}
    )
    general = pd.DataFrame({"text": ["my cat today", "my day"] * 200})
    words = needles.keywords(specific, general)
    assert words[0] == "oxy"
    assert {"painkillers", "trees"} <= set(words)
    assert not {"my", "day", "cat"} & set(words[:1])


def test_a_post_is_beyond_the_keywords_when_none_stands_in_it():
    texts = pd.Series(["OXY again", "oxygen", "C++ (oxy)", "trees", "nothing"])
    assert needles.without(["oxy", "trees", "c++"], texts).tolist() == [False, True, False, False, True]


def test_the_order_is_also_judged_beyond_the_keywords():
    truth = needles.Needles(np.array([True, False, True, False]), np.array([True, True, False, False]))
    found = truth.judge(np.array([0.1, 0.9, 0.8, 0.2]))
    assert found["average_precision"] == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert found["beyond_keywords"] == pytest.approx(1 / 2)
