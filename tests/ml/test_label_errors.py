"""Labels that are probably wrong: found out of sample, one output at a time."""

from __future__ import annotations

import numpy as np
import pytest

from ml import label_errors

ABOUT = ["pills", "tea"]


def world(count=400, wrong=12, seed=3):
    """Texts about pills or tea, an output for each; some judgements turned round. (texts, targets, turned)"""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, count)
    filler = ["today", "again", "with friends", "at home", "since monday", "because", "really", "maybe"]
    texts = [
        f"{' '.join(rng.choice(filler, 3))} {ABOUT[k]} {rng.choice(filler)} {n % 7}"
        for n, k in enumerate(kind)
    ]
    targets = np.stack([kind == 0, kind == 1], axis=1).astype(np.float32)
    turned = rng.choice(count, wrong, replace=False)
    targets[turned, 0] = 1 - targets[turned, 0]
    return texts, targets, set(turned.tolist())


def test_turned_judgements_are_found_and_others_left_alone():
    texts, targets, turned = world()
    p = label_errors.out_of_sample(texts, targets, np.arange(len(texts)))
    found = label_errors.suspects(targets, p)
    rows = {suspect.row for suspect in found if suspect.output == 0}
    assert len(rows & turned) >= 10
    assert len(rows - turned) <= 3
    assert not [suspect for suspect in found if suspect.output == 1]
    assert [suspect.quality for suspect in found] == sorted(suspect.quality for suspect in found)


def test_what_nobody_judged_is_neither_learnt_nor_suspected():
    texts, targets, _ = world()
    targets[:200, 0] = np.nan
    p = label_errors.out_of_sample(texts, targets, np.arange(len(texts)))
    assert not np.isnan(p).any()
    assert all(suspect.row >= 200 for suspect in label_errors.suspects(targets, p) if suspect.output == 0)


def test_a_text_is_judged_by_models_that_have_not_seen_its_copies():
    """All texts are unique but for a copy of each with the same judgement, which has nothing else to go by."""
    rng = np.random.default_rng(1)
    words = [f"word{n}" for n in range(200)]
    texts = [word for word in words for _ in range(2)]
    targets = np.repeat(rng.integers(0, 2, 200), 2).astype(np.float32)[:, None]
    groups = np.repeat(np.arange(200), 2)
    apart = label_errors.out_of_sample(texts, targets, groups)[:, 0]
    leaking = label_errors.out_of_sample(texts, targets, np.arange(400))[:, 0]
    assert ((apart > 0.5) == (targets[:, 0] > 0)).mean() < 0.7
    assert ((leaking > 0.5) == (targets[:, 0] > 0)).mean() > 0.75


def test_an_output_with_few_examples_is_left_out():
    texts, targets, _ = world()
    targets[:, 1] = 0
    targets[:5, 1] = 1
    p = label_errors.out_of_sample(texts, targets, np.arange(len(texts)))
    assert {suspect.output for suspect in label_errors.suspects(targets, p)} == {0}


def test_it_can_be_stopped():
    texts, targets, _ = world(60)

    def stop(fold):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_errors.out_of_sample(texts, targets, np.arange(60), tick=stop)
