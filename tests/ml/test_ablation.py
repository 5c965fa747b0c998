"""benchmarks/ablation.py and benchmarks/tag_ablation.py: their own loss by hand, and a run on invented texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.ml.conftest import invented_examples

pytestmark = pytest.mark.tensorflow
LOGITS = np.array([2.0, -1.0, 0.5, 3.0], np.float32)
POSITIVE = np.array([1, 0, 0, 1], np.float32)
JUDGED = np.array([1, 1, 1, 0], np.float32)  # the last has no verdict


def risk(logits: np.ndarray, prior: float, *, keep_mix: bool) -> float:
    import tensorflow as tf

    from benchmarks import ablation

    logits, positive, judged = map(tf.constant, (logits, POSITIVE, JUDGED))
    return float(ablation.non_negative_risk(logits, positive, judged, prior, keep_mix=keep_mix))


def test_the_non_negative_risk_by_hand():
    softplus = np.logaddexp(0, [-2.0, -1.0, 0.5, 2.0])
    rest = softplus[1:3].mean() - 0.1 * softplus[3]
    assert risk(LOGITS, 0.1, keep_mix=False) == pytest.approx(0.1 * softplus[0] + rest, rel=1e-5)
    assert risk(LOGITS, 0.1, keep_mix=True) == pytest.approx(softplus[0] / 3 + 2 / 3 / 0.9 * rest, rel=1e-5)
    by_heart = LOGITS - np.array([0, 9, 9, 0], np.float32)
    rest = np.logaddexp(0, [-10.0, -8.5]).mean() - 0.1 * softplus[3]
    assert risk(by_heart, 0.1, keep_mix=False) == pytest.approx(-rest, rel=1e-5)


def test_without_a_prior_it_is_the_usual_loss():
    from ml import fitting

    logits, positive, judged = (np.stack([one, one], axis=1) for one in (LOGITS, POSITIVE, JUDGED))
    usual = float(fitting.masked_loss(logits, positive, judged, 0.0))
    assert risk(LOGITS, 1e-9, keep_mix=True) == pytest.approx(usual * 4 / 3, rel=1e-5)


def test_each_variant_of_the_tags_lacks_one_part(tmp_path: Path, capsys, monkeypatch):
    from benchmarks import tag_ablation

    rows = invented_examples(600).dropna(subset="opioids")
    for name, split in (("train", "train"), ("dev", "validation")):
        part = rows[rows["split"] == split][["text", "opioids", "alcohol"]]
        part.astype({"opioids": int, "alcohol": int}).to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "more.txt").write_text("\n".join(invented_examples(300, seed=2)["text"]))
    command = f"--folder {tmp_path} --unlabelled {tmp_path}/more.txt --seeds 1 --json {tmp_path}/out.json"
    chosen = [
        "accurate: no subwords",
        "accurate: the convolution alone",
        "accurate: mean of the weights",
        "fast",
    ]
    monkeypatch.setattr(sys, "argv", ["tag_ablation.py", *command.split(), "--only", ",".join(chosen)])
    tag_ablation.main()
    result = json.loads((tmp_path / "out.json").read_text())
    (found,) = result["sets"].values()
    assert set(found) == set(chosen)
    for name, seeds in found.items():
        assert seeds[0]["figures"][tag_ablation.JUDGED]["micro_f1"] > 0.9, name
    assert "mean ± standard deviation" in capsys.readouterr().out
