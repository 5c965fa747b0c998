"""Training: what it writes, what it refuses, and that it repeats itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.ml.conftest import TAGS, TERMS, invented_examples

pytestmark = pytest.mark.tensorflow
ARCHITECTURES = ["fast", "accurate", "cascade"]


def small_config(**changes):
    from ml.config import Config

    return Config(**({"epochs": 1, "batch": 64} | changes))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_learns_the_verdict_and_the_tags(trained, architecture):
    _, report = trained[architecture]
    network = report["samples"]["test"]["network"]
    assert network["verdict"]["average_precision"] > 0.95
    assert network["tags"]["opioids"]["f1"] > 0.8
    assert network["tags"]["alcohol"]["f1"] > 0.8


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_report_holds_every_part_and_is_plain_json(trained, architecture):
    out, report = trained[architecture]
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(report, allow_nan=False))
    assert set(report["samples"]) == {"test", "people", "no_rule", "masked"}
    test = report["samples"]["test"]
    assert test["n"] == 90
    assert test["network"]["verdict"]["n"] == test["baseline"]["verdict"]["n"] == 90
    assert report["samples"]["people"]["n"] == 60
    assert len(test["network"]["tag_against_tag"]) == len(TAGS) + 1
    assert isinstance(report["verdict_loses"], bool)
    assert isinstance(report["macro_loses"], bool)
    assert report["counts"]["train"]["negative"] == 240
    epochs = 12 if architecture == "cascade" else 6  # two networks, one after the other
    assert [epoch["epoch"] for epoch in report["epochs"]] == list(range(1, epochs + 1))
    assert 0 < report["prior"]["corpus"] < report["prior"]["train"] < 1


def test_a_tag_nobody_has_gets_no_threshold_and_no_invented_figures(trained):
    _, report = trained["fast"]
    assert report["thresholds"]["tags"]["unheard-of"] is None
    assert "Label more tweets" in report["threshold_notes"]["unheard-of"]
    figures = report["samples"]["test"]["network"]["tags"]["unheard-of"]
    assert figures["positives"] == 0
    assert figures["precision"] is figures["recall"] is figures["f1"] is figures["average_precision"] is None


def test_the_report_says_what_each_threshold_reached_on_validation(trained):
    _, report = trained["fast"]
    figures = report["threshold_figures"]
    assert figures["unheard-of"] is None
    assert report["goal"]["name"] == "f1"
    for name in ("DA", "opioids"):
        assert figures[name]["figure"] == "F1"
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]


def test_a_wanted_precision_is_the_tags_goal_alone(tmp_path: Path):
    from ml.train import train

    thresholds = {}
    for goal, precision in (("f1", 0.8), ("precision", 0.999)):
        config = small_config(epochs=3, goal=goal, precision=precision)
        examples = invented_examples(900).assign(
            alcohol=lambda rows: rows["alcohol"].where(rows.index % 7 > 0, 1.0)
        )
        report = train(examples, tags=TAGS, config=config, out=tmp_path)
        thresholds[goal] = report["thresholds"]
    assert thresholds["f1"]["DA"] == thresholds["precision"]["DA"]
    assert report["goal"] == {"name": "precision", "precision": 0.999}
    assert "No threshold reaches a precision of 0.999" in report["threshold_notes"]["alcohol"]
    assert "Only 0 of" in report["threshold_notes"]["unheard-of"]


def test_the_holdout_has_the_probabilities_of_validation_and_test(trained):
    out, _ = trained["fast"]
    holdout = pd.read_parquet(out / "holdout.parquet")
    assert list(holdout.columns) == ["id", "split", "p", "p_masked", "baseline_p"]
    assert holdout["split"].value_counts().to_dict() == {"validation": 90, "test": 90}
    assert all(len(p) == 1 + len(TAGS) for p in holdout["p"])
    texts = invented_examples().set_index("id")["text"].loc[holdout["id"]]
    masked = texts.str.contains(r"\b(?:oxy|percs)\b").to_numpy()
    differs = np.array(
        [not np.array_equal(a, b) for a, b in zip(holdout["p"], holdout["p_masked"], strict=True)]
    )
    assert np.array_equal(masked, differs)


@pytest.mark.parametrize("architecture", ["fast", "accurate"])
def test_the_same_data_config_and_seed_give_the_same_model(tmp_path: Path, architecture):
    from ml.train import train

    digests = []
    for name in ("one", "two"):
        config = small_config(architecture=architecture, term_pattern=TERMS, filters=8, word_dims=8)
        report = train(invented_examples(300), tags=TAGS, config=config, out=tmp_path / name)
        digests.append(hashlib.sha256((tmp_path / name / "model.zip").read_bytes()).hexdigest())
        samples = report["samples"]
    assert digests[0] == digests[1]
    first = json.loads((tmp_path / "one" / "report.json").read_text())
    assert first["samples"] == samples


def test_another_seed_gives_another_model(tmp_path: Path):
    from ml.train import train

    digests = set()
    for seed in (1, 2):
        train(invented_examples(300), tags=TAGS, config=small_config(seed=seed), out=tmp_path / str(seed))
        digests.add((tmp_path / str(seed) / "model.zip").read_bytes())
    assert len(digests) == 2


def test_fifty_examples_are_enough_to_train_on(tmp_path: Path):
    from ml.train import train

    report = train(invented_examples(50), tags=TAGS, config=small_config(), out=tmp_path)
    assert "DA" in report["threshold_notes"]
    assert 0 < report["thresholds"]["DA"] < 1


def test_no_tags_at_all_is_a_model_of_the_verdict(tmp_path: Path):
    from ml import predict
    from ml.train import train

    report = train(invented_examples(120), tags=[], config=small_config(), out=tmp_path)
    network = report["samples"]["test"]["network"]
    assert network["tags"] == {}
    assert network["micro"]["f1"] is network["macro"]["f1"] is None
    assert predict.load(tmp_path / "model.zip").predict(["x"]).shape == (1, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": np.nan}, "No tweet has a verdict"),
        ({"verdict": 1.0}, "is DA: nothing to tell apart. Import general tweets"),
        ({"verdict": 0.0}, "is NDA: nothing to tell apart. Label some tweets as DA"),
        ({"split": "test"}, "Only 0 tweets with a verdict fall into the train split"),
    ],
)
def test_examples_that_cannot_teach_a_verdict_are_refused_with_advice(tmp_path: Path, change, message):
    from ml.train import train

    with pytest.raises(ValueError, match=message):
        train(invented_examples(120).assign(**change), tags=TAGS, config=small_config(), out=tmp_path)


def test_an_empty_test_split_gives_nulls(tmp_path: Path):
    from ml.train import train

    examples = invented_examples(120).assign(split="train")
    report = train(examples, tags=TAGS, config=small_config(), out=tmp_path)
    assert report["samples"]["test"]["n"] == 0
    assert report["samples"]["test"]["network"]["verdict"] is None


def test_progress_reports_and_may_cancel(tmp_path: Path):
    from ml.train import train

    events: list[dict] = []
    train(invented_examples(120), tags=TAGS, config=small_config(), out=tmp_path, progress=events.append)
    assert {"Reading texts", "Training", "Calibrating", "Training the baseline"} <= {
        e["stage"] for e in events
    }
    assert any("validation_loss" in event for event in events)

    def cancel(event):
        if event["stage"] == "Training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(invented_examples(120), tags=TAGS, config=small_config(), out=tmp_path / "no", progress=cancel)
    assert not (tmp_path / "no" / "model.zip").exists()


def test_rule_terms_are_masked_in_any_script():
    from ml.targets import mask

    assert mask(["Some OXY 💊 now", "nothing"], TERMS) == ["Some   💊 now", "nothing"]
    assert mask(["as it is"], "") == ["as it is"]
    assert mask(["\ud800 oxy"], TERMS) == ["?  "]


def test_the_command_trains_and_scores_a_plain_file(tmp_path: Path, capsys):
    from ml import predict, train_command

    rows = invented_examples(300)
    lines = [
        json.dumps({"id": f"t{row.id}", "text": row.text, "verdict": "DA" if row.verdict else "NDA",
                    "tags": ["opioids"] if row.opioids == 1 else []})
        for row in rows.itertuples()
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    assert (
        train_command.main([str(tmp_path / "train.jsonl"), "--out", str(tmp_path / "m"), "--epochs", "2"])
        == 0
    )
    assert "test texts: network DA average precision" in capsys.readouterr().out
    assert predict.main([str(tmp_path / "m"), str(tmp_path / "train.jsonl"), "--words"]) == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(scored) == 300
    assert set(scored[0]) == {"id", "text", "da", "tags", "predicted", "words"}
    assert scored[0]["id"] == "t0"


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path, capsys):
    from ml import train_command

    (tmp_path / "train.csv").write_text("text,verdict\nsome text,MAYBE\n")
    assert train_command.main([str(tmp_path / "train.csv"), "--out", str(tmp_path)]) == 2
    assert "verdict 'MAYBE'; it must be DA, NDA" in capsys.readouterr().err
    assert train_command.main([str(tmp_path / "absent.csv"), "--out", str(tmp_path)]) == 2


def test_the_command_learns_tags_without_a_verdict_and_validates_on_the_file_given(tmp_path: Path, capsys):
    from ml import predict, train_command

    rows = invented_examples(600).dropna(subset="opioids")
    rows = rows.rename(columns={"text": "body"})[["id", "body", "split", "opioids", "alcohol"]].astype(
        {"opioids": int, "alcohol": int}
    )
    for name in ("train", "validation"):
        rows[rows["split"] == name].drop(columns="split").to_csv(tmp_path / f"{name}.csv", index=False)
    out = tmp_path / "m"
    arguments = [
        str(tmp_path / "train.csv"), "--validation", str(tmp_path / "validation.csv"), "--text-column", "body",
        "--out", str(out), "--epochs", "2",
    ]  # fmt: skip
    assert train_command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "tags: opioids, alcohol\n320 train, 40 validation, 0 test" in printed
    assert "40 validation texts (which chose epochs and thresholds: these figures flatter)" in printed
    report = json.loads((out / "report.json").read_text())
    assert report["task"] == "tags"
    assert report["thresholds"]["DA"] is report["prior"]["corpus"] is None
    assert report["samples"]["test"]["n"] == 0
    assert report["samples"]["validation"]["network"]["tags"]["opioids"]["f1"] > 0.8
    assert report["samples"]["validation"]["network"]["verdict"] is None
    command = [str(out), str(tmp_path / "validation.csv"), "--text-column", "body"]
    assert predict.main(command) == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(scored[0]) == {"id", "text", "tags", "predicted"}
    assert np.isnan(predict.load(out / "model.zip").predict(["i took percs"])[:, 0]).all()
    assert predict.main([*command, "--words"]) == 2
    assert "this model has no verdict" in capsys.readouterr().err


def test_the_command_learns_any_number_of_classes(tmp_path: Path, capsys):
    from ml import predict, train_command

    rows = invented_examples(300)
    rows["label"] = np.select(
        [rows["opioids"] == 1, rows["alcohol"] == 1, rows["sample"] == "negative"], ["use", "drink", "other"], "news"
    )  # fmt: skip
    rows[["text", "label", "split"]].to_csv(tmp_path / "a.csv", index=False)
    assert train_command.main([str(tmp_path / "a.csv"), "--out", str(tmp_path), "--epochs", "3"]) == 0
    assert "30 test texts: network accuracy 0." in capsys.readouterr().out
    classes = json.loads((tmp_path / "report.json").read_text())["samples"]["test"]["network"]["classes"]
    assert set(classes["classes"]) == {"drink", "news", "other", "use"}
    assert classes["classes"]["use"]["f1"] > 0.8
    assert sum(map(sum, classes["confusion"])) == classes["n"] == 30
    assert predict.main([str(tmp_path), str(tmp_path / "a.csv")]) == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["label"] == max(row["tags"], key=row["tags"].get) for row in scored)


@pytest.mark.parametrize(
    ("label", "message"), [("one", "at least 20 are needed"), ("", "nothing to learn from")]
)
def test_too_little_to_learn_from_is_said(tmp_path: Path, capsys, label, message):
    from ml import train_command

    header = "text,label\n" if label else "text,words\n"
    (tmp_path / "a.csv").write_text(header + "some words,one\nother words,two\n")
    assert train_command.main([str(tmp_path / "a.csv"), "--out", str(tmp_path / "m")]) == 2
    assert message in capsys.readouterr().err


def test_word_vectors_of_an_earlier_training_take_the_place_of_learning_them(tmp_path):
    from ml import pretraining
    from ml.train import train

    config = small_config(architecture="accurate", word_dims=8, filters=4, corpus_prior=0.1)
    examples = invented_examples()
    first = train(examples, tags=TAGS, config=config, out=tmp_path / "a", unlabelled=["we took oxy"] * 50)
    origin = first["pretraining"]
    assert origin["texts"] == 50 + (examples["split"] == "train").sum()
    kept = pretraining.WordVectors.load(tmp_path / "a" / "word_vectors.npz", origin)
    second = train(examples, tags=TAGS, config=config, out=tmp_path / "b", word_vectors=kept)
    assert second["pretraining"] == origin
    assert (tmp_path / "a" / "model.zip").read_bytes() == (tmp_path / "b" / "model.zip").read_bytes()
