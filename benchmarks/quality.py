"""Tags on public multi-label sets, and classes on a single-label file, beside TF-IDF + logistic regression.

    python benchmarks/quality.py --folder semeval2018_ec --folder goemotions --json quality.json
    python benchmarks/quality.py --folder semeval2018_ec --test semeval_test.csv
    python benchmarks/quality.py --classes t26_labeled.csv --label-column informativeness

A folder holds train.csv and dev.csv: a column `text`, and a column of 0 and 1 per tag. Trains on train, several seeds,
by the library alone (ml.files, ml.train, ml.predict); chooses epochs, calibration and thresholds on dev. The baseline,
in the same run and with thresholds chosen in the same way: TF-IDF of words (1–2) and of characters within words (2–5),
one logistic regression (C = 3) per tag.

Figures on dev flatter where the thresholds were chosen on the same texts ("dev, own thresholds"). So dev is also judged
in five folds, each by thresholds from the other four ("dev, in folds"; epochs were still chosen on all of dev), and
the test file, where there is one, by those from dev. Goals of the thresholds: each tag's best F1, and overall.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ml import calibration, evaluate, files

C = 3.0
FOLDS = 5
GOALS = ("f1", "overall")
Figures = dict[str, dict[str, float]]  # {way of judging: {figure: value}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, action="append", default=[], help="with train.csv and dev.csv")
    parser.add_argument("--test", type=Path, help="the test file of the one folder")
    parser.add_argument("--classes", type=Path, help="a file with one class a text")
    parser.add_argument("--label-column", default="label")
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--unlabelled", type=Path, help="further texts to learn words from")
    parser.add_argument("--architectures", default="accurate")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.test and len(options.folder) != 1:
        parser.error("--test goes with one --folder.")
    if not (options.folder or options.classes):
        parser.error("Name a --folder or a file of --classes.")
    result: dict[str, Any] = {}
    for folder in options.folder:
        train, dev = folder / "train.csv", folder / "dev.csv"
        if not (train.exists() and dev.exists()):
            print(f"{folder}: skipped, it has no train.csv and dev.csv")
            continue
        columns = files.Columns(text=options.text_column)
        judged = files.examples(train, columns, validation=dev, test=options.test)
        result[folder.name] = run(folder.name, judged, options)
    if options.classes:
        if options.classes.exists():
            columns = files.Columns(text=options.text_column, label=options.label_column)
            result[options.classes.stem] = run(
                options.classes.stem, files.examples(options.classes, columns), options
            )
        else:
            print(f"{options.classes}: skipped, it is not there")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


def run(name: str, judged: files.Judged, options: Any) -> dict[str, Any]:
    """Baseline and every seed of every architecture, judged alike; printed as they come."""
    counts = judged.examples["split"].value_counts().to_dict()
    print(f"\n{name}: {len(judged.tags)} {judged.task}; {counts}", flush=True)
    unlabelled = unlabelled_texts(options.unlabelled)
    models: dict[str, Callable[[], Predict]] = {"TF-IDF words + characters": lambda: fit_baseline(judged)}
    for architecture in options.architectures.split(","):
        for seed in map(int, options.seeds.split(",")):
            models[f"{architecture}, seed {seed}"] = lambda a=architecture, s=seed: fit(
                judged, a, s, unlabelled
            )  # type: ignore[misc]
    found: dict[str, Any] = {}
    for model, fitted in models.items():
        wall, cpu = time.perf_counter(), time.process_time()
        predict = fitted()
        spent = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        judge = judge_classes if judged.task == "classes" else judge_tags
        found[model] = {"figures": judge(judged, predict), **spent}
        show(model, found[model]["figures"], spent)
    for architecture in options.architectures.split(","):
        seeds = [one["figures"] for model, one in found.items() if model.startswith(f"{architecture},")]
        found[f"{architecture}, all seeds"] = over_seeds(architecture, seeds)
    return {"counts": counts, "tags": judged.tags, "task": judged.task, "models": found}


def unlabelled_texts(path: Path | None) -> list[str]:
    """Those of ml.train's --unlabelled, or the column `text` of a Parquet file."""
    if path is None:
        return []
    return pd.read_parquet(path)["text"].tolist() if path.suffix == ".parquet" else files.texts(path)


# --- models ----------------------------------------------------------------------------------------------------

Predict = Callable[[list[str]], NDArray[np.float64]]  # texts → probabilities [n, tags]


def fit(judged: files.Judged, architecture: str, seed: int, unlabelled: list[str]) -> Predict:
    from ml import predict, train
    from ml.config import Config

    config = Config(architecture=architecture, task=judged.task, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        train.train(
            judged.examples, tags=judged.tags, config=config, out=Path(folder),
            unlabelled=[*judged.unlabelled, *unlabelled],
        )  # fmt: skip
        predictor = predict.load(Path(folder) / "model.zip")
    return lambda texts: predictor.predict(texts)[:, 1:].astype(np.float64)


def fit_baseline(judged: files.Judged) -> Predict:
    from scipy.special import expit
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_union

    rows = judged.examples[judged.examples["split"] == "train"]
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(ngram_range=(2, 5), sublinear_tf=True, analyzer="char_wb", min_df=2),
    )
    inputs = features.fit_transform(rows["text"]).tocsr()
    known = [~rows[tag].isna().to_numpy() for tag in judged.tags]
    models = [
        LogisticRegression(C=C, solver="liblinear", tol=1e-2).fit(inputs[some], rows[tag].to_numpy()[some])
        for tag, some in zip(judged.tags, known, strict=True)
    ]

    def predict(texts: list[str]) -> NDArray[np.float64]:
        given = features.transform(texts)
        return np.asarray(expit(np.stack([model.decision_function(given) for model in models], axis=1)))

    return predict


# --- figures ---------------------------------------------------------------------------------------------------


def judge_tags(judged: files.Judged, predict: Predict) -> Figures:
    parts = {name: judged.examples[judged.examples["split"] == name] for name in ("validation", "test")}
    dev = parts["validation"]
    p, truth = predict(dev["text"].tolist()), dev[judged.tags].to_numpy(np.float32)
    result: Figures = {}
    for goal in map(calibration.Goal, GOALS):
        thresholds = calibration.tag_thresholds(p, truth, goal)
        result[f"dev, own thresholds ({goal.name})"] = tag_figures(truth, p, decided(p, thresholds))
        result[f"dev, in folds ({goal.name})"] = tag_figures(truth, p, decided_in_folds(p, truth, goal))
        if len(parts["test"]):
            test_p = predict(parts["test"]["text"].tolist())
            test_truth = parts["test"][judged.tags].to_numpy(np.float32)
            result[f"test ({goal.name})"] = tag_figures(test_truth, test_p, decided(test_p, thresholds))
    return result


def decided(p: NDArray[np.float64], thresholds: list[float | None]) -> NDArray[np.bool_]:
    return np.stack([evaluate.decide(p[:, k], limit) for k, limit in enumerate(thresholds)], axis=1)


def decided_in_folds(
    p: NDArray[np.float64], truth: NDArray[np.float32], goal: calibration.Goal
) -> NDArray[np.bool_]:
    fold = np.random.default_rng(0).permutation(len(p)) % FOLDS
    result = np.zeros(p.shape, bool)
    for k in range(FOLDS):
        thresholds = calibration.tag_thresholds(p[fold != k], truth[fold != k], goal)
        result[fold == k] = decided(p[fold == k], thresholds)
    return result


def tag_figures(
    truth: NDArray[np.float32], p: NDArray[np.float64], predicted: NDArray[np.bool_]
) -> dict[str, float]:
    """Micro and macro F1 (a tag without positives and predictions counts as 0), the mean Jaccard similarity of a text's
    tags and those predicted (1 where both have none), and the mean average precision of the tags."""
    from sklearn.metrics import average_precision_score

    has = truth > 0
    both, either = (has & predicted).sum(axis=0), has.sum(axis=0) + predicted.sum(axis=0)
    union = (has | predicted).sum(axis=1)
    jaccard = np.where(union > 0, (has & predicted).sum(axis=1) / np.maximum(union, 1), 1.0)
    scores = [average_precision_score(has[:, k], p[:, k]) for k in range(p.shape[1]) if has[:, k].any()]
    return {
        "micro_f1": float(2 * both.sum() / max(either.sum(), 1)),
        "macro_f1": float((2 * both / np.maximum(either, 1)).mean()),
        "jaccard": float(jaccard.mean()),
        "average_precision": float(np.mean(scores)),
    }


def judge_classes(judged: files.Judged, predict: Predict) -> Figures:
    """On the held-out tenth (near copies kept together): the most probable class, no thresholds."""
    test = judged.examples[judged.examples["split"] == "test"]
    p, truth = predict(test["text"].tolist()), test[judged.tags].to_numpy(np.float32)
    figures = evaluate.class_figures(judged.tags, truth, p)
    if figures is None:
        return {}
    per_class = {f"f1 {name}": one["f1"] for name, one in figures["classes"].items() if one["f1"] is not None}
    return {"test": {"accuracy": figures["accuracy"], "macro_f1": figures["macro_f1"], **per_class}}


def over_seeds(architecture: str, seeds: list[Figures]) -> dict[str, Any]:
    """Mean and standard deviation of every figure over the seeds."""
    result: dict[str, Any] = {}
    for way in seeds[0] if seeds else ():
        table = pd.DataFrame([figures[way] for figures in seeds])
        result[way] = {"mean": table.mean().to_dict(), "spread": table.std(ddof=0).to_dict()}
        line = ", ".join(f"{name} {table[name].mean():.4f} ± {table[name].std(ddof=0):.4f}" for name in table)
        print(f"{architecture}, mean of {len(seeds)} seeds ± standard deviation, {way}: {line}", flush=True)
    return result


def show(model: str, figures: Figures, spent: dict[str, float]) -> None:
    print(f"{model}: trained in {spent['seconds']:.0f} s ({spent['cpu_seconds']:.0f} s of processor time)")
    for way, values in figures.items():
        print(f"  {way:32} " + ", ".join(f"{name} {value:.4f}" for name, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
