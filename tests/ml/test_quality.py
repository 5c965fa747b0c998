"""benchmarks/quality.py: its figures by hand, and a run on invented texts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality
from ml import calibration
from tests.ml.conftest import invented_examples


def test_the_figures_of_tags_by_hand():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32)
    predicted = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 0]], bool)
    p = np.array([[0.9, 0.4, 0], [0.2, 0.8, 0], [0.1, 0.1, 0], [0.3, 0.6, 0]])
    figures = quality.tag_figures(truth, p, predicted)
    assert figures["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert figures["jaccard"] == pytest.approx((1 / 2 + 1 + 1 + 0) / 4)
    assert figures["average_precision"] == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)


def test_in_folds_no_text_helps_to_choose_its_own_threshold():
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 1)) < 0.3).astype(np.float32)
    p = np.clip(truth * 0.4 + rng.random((400, 1)) * 0.6, 0, 1)
    whole = quality.decided_in_folds(p, truth, calibration.Goal())
    fold = np.random.default_rng(0).permutation(400) % quality.FOLDS
    turned = np.where((fold == 0)[:, None], 1 - truth, truth)
    assert np.array_equal(
        quality.decided_in_folds(p, turned, calibration.Goal())[fold == 0], whole[fold == 0]
    )


@pytest.mark.tensorflow
def test_a_run_prints_both_models_and_skips_what_is_absent(tmp_path: Path, capsys, monkeypatch):
    rows = invented_examples(600).dropna(subset="opioids")
    (tmp_path / "set").mkdir()
    for name, split in (("train", "train"), ("dev", "validation")):
        part = rows[rows["split"] == split][["text", "opioids", "alcohol"]].astype(
            {"opioids": int, "alcohol": int}
        )
        part.to_csv(tmp_path / "set" / f"{name}.csv", index=False)
    command = f"--folder {tmp_path}/set --folder {tmp_path}/absent --architectures fast --seeds 1,2"
    monkeypatch.setattr(sys, "argv", ["quality.py", *command.split(), "--json", str(tmp_path / "out.json")])
    quality.main()
    printed = capsys.readouterr().out
    assert "absent: skipped" in printed
    assert "fast, mean of 2 seeds" in printed
    found = json.loads((tmp_path / "out.json").read_text())["set"]["models"]
    assert set(found) == {"TF-IDF words + characters", "fast, seed 1", "fast, seed 2", "fast, all seeds"}
    for model in ("TF-IDF words + characters", "fast, seed 1"):
        assert found[model]["figures"]["dev, in folds (overall)"]["micro_f1"] > 0.9
