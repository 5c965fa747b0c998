"""What a cascade keeps of *accurate*, and what it costs beside *fast*.

    python benchmarks/cascade.py --specific specific.csv --general general.parquet --needles needles.csv \
        --seeds 1,2,3 --json cascade.json

For each seed trains one cascade as the product does (specific posts, general ones drawn as negatives, all tags), and
ranks all general posts three times: by its fast network, by its accurate network on everything, and by the cascade.
The networks in a cascade are those that would be trained alone (a test holds this). Cost: CPU seconds of one thread
from Arrow texts to probabilities, the three in turn, the best of --repeats. Then the share of the corpus that is
read again is varied, and what the version's page says of the loss is held against the truth.

specific: id, text, tags. general: id, text. needles: id. CSV or Parquet.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import pandas as pd
import pyarrow as pa
import tensorflow as tf
from sklearn.metrics import average_precision_score

from benchmarks.needles import UNLABELLED, library_examples, read
from ml import groups, predict, train
from ml.config import PRIOR_SAMPLE, Config

NEGATIVES = 150_000
SPEED_SAMPLE = 300_000  # texts on which the cost is measured
SHARES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
FLAGGED = 0.02  # of the corpus: the head of the list, where nothing is stated


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("specific", "general", "needles"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    for path in (options.specific, options.general, options.needles):
        if not path.exists():
            sys.exit(f"{path} does not exist: the needle test needs it.")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    specific, general = read(options.specific), read(options.general)
    is_needle = general["id"].isin(set(read(options.needles)["id"])).to_numpy()
    runs = [
        run(specific, general, is_needle, seed=int(seed), repeats=options.repeats)
        for seed in options.seeds.split(",")
    ]
    result = {"general": len(general), "needles": int(is_needle.sum()), "negatives": NEGATIVES, "runs": runs}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print_result(result)


def run(
    specific: pd.DataFrame, general: pd.DataFrame, is_needle: np.ndarray, *, seed: int, repeats: int
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    examples, tags = library_examples(specific, general, NEGATIVES, rng)
    splits = groups.splits_of(groups.text_keys(general["text"].tolist()))

    def sample(split: str, count: int) -> list[str]:
        chosen = np.flatnonzero(splits == split)
        rows = np.sort(rng.choice(chosen, min(count, len(chosen)), replace=False))
        return list(general["text"].iloc[rows])

    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        report = train.train(
            examples, tags=tags, config=Config(architecture="cascade", seed=seed), out=Path(folder),
            unlabelled=sample("train", UNLABELLED), prior_sample=sample("validation", PRIOR_SAMPLE),
        )  # fmt: skip
        spent = time.process_time() - started
        predictor = predict.load(Path(folder) / "model.zip")
    assert isinstance(predictor, predict.CascadePredictor)
    texts = pa.array(general["text"].tolist(), pa.string())
    networks: dict[str, Any] = {"fast": predictor.fast, "accurate": predictor.accurate, "cascade": predictor}
    scores = {name: one.predict(texts)[:, 0].astype(np.float64) for name, one in networks.items()}
    precision = {name: float(average_precision_score(is_needle, p)) for name, p in scores.items()}
    cost = costs(networks, texts, repeats)
    again = scores["fast"] >= predictor.cut
    found = {
        "seed": seed, "train_cpu_seconds": spent, "average_precision": precision, "cpu_seconds_per_million": cost,
        "read_again": float(again.mean()), "kept": precision["cascade"] / precision["accurate"],
        "cost_to_fast": cost["cascade"] / cost["fast"], "stated": report["cascade"],
        "of_the_head": head_kept(again, scores["accurate"], stated_share(report["cascade"])),
        "shares": by_share(scores, is_needle, cost),
    }  # fmt: skip
    print({name: value for name, value in found.items() if name != "shares"}, flush=True)
    return found


def costs(networks: dict[str, Any], texts: pa.Array, repeats: int) -> dict[str, float]:
    """CPU seconds per million texts, the best of `repeats`, all in turn. Random texts, as chunks have them."""
    rows = np.random.default_rng(0).choice(len(texts), min(SPEED_SAMPLE, len(texts)), replace=False)
    some = texts.take(pa.array(np.sort(rows)))
    best = dict.fromkeys(networks, float("inf"))
    for _ in range(repeats):
        for name, one in networks.items():
            started = time.process_time()
            one.predict(some)
            best[name] = min(best[name], time.process_time() - started)
    return {name: seconds / len(some) * 1e6 for name, seconds in best.items()}


def head_kept(again: np.ndarray, accurate: np.ndarray, share: float) -> float:
    """Of the head of accurate's own list of the whole corpus, the share that the cascade reads."""
    head = np.argsort(-accurate, kind="stable")[: int(share * len(accurate))]
    return float(again[head].mean())


def stated_share(stated: dict[str, Any]) -> float:
    """How much of the corpus the head is whose loss the version's page states."""
    sample = stated["sample"]
    return float(sample["listed"] / sample["sample"]) if sample else FLAGGED


def by_share(
    scores: dict[str, np.ndarray], is_needle: np.ndarray, cost: dict[str, float]
) -> list[dict[str, float]]:
    """What would be kept and spent if another share of the corpus were read again."""
    whole = average_precision_score(is_needle, scores["accurate"])
    rows = []
    for share in SHARES:
        again = scores["fast"] >= np.quantile(scores["fast"], 1 - share)
        joined = np.where(again, scores["accurate"], scores["fast"])
        rows.append({
            "share": share,
            "kept": float(average_precision_score(is_needle, joined) / whole),
            "cost_to_fast": 1 + share * cost["accurate"] / cost["fast"],
            "of_the_head": head_kept(again, scores["accurate"], FLAGGED),
        })  # fmt: skip
    return rows


def print_result(result: dict[str, Any]) -> None:
    runs = result["runs"]
    print(f"\n{result['needles']:,} needles among {result['general']:,} general posts, {len(runs)} seeds")
    print(
        f"{'seed':>4}{'fast':>9}{'accurate':>10}{'cascade':>9}{'kept':>8}{'read again':>12}{'cost to fast':>14}"
    )
    for one in runs:
        found = one["average_precision"]
        print(
            f"{one['seed']:>4}{found['fast']:9.4f}{found['accurate']:10.4f}{found['cascade']:9.4f}{one['kept']:8.1%}"
            f"{one['read_again']:12.1%}{one['cost_to_fast']:14.2f}"
        )
    for name, limit, least in (("kept", 0.97, True), ("cost_to_fast", 1.5, False)):
        mean = statistics.mean(one[name] for one in runs)
        verdict = "kept" if (mean >= limit if least else mean <= limit) else "MISSED"
        print(f"{name}: mean {mean:.3f}, wanted {'≥' if least else '≤'} {limit}: {verdict}")
    for one in runs:
        cost = ", ".join(f"{name} {value:.2f}" for name, value in one["cpu_seconds_per_million"].items())
        print(f"seed {one['seed']}: CPU seconds per million posts: {cost}")
        stated = one["stated"]["sample"]
        if stated:
            print(
                f"  stated on {stated['sample']:,} random posts: keeps {stated['share']:.1%} ({stated['low']:.1%} to "
                f"{stated['high']:.1%}) of the first {stated['listed']}; in the whole corpus {one['of_the_head']:.1%} "
                "of as large a head"
            )
        for row in one["shares"]:
            print(
                f"  {row['share']:4.0%} read again: {row['kept']:.1%} of the average precision, about "
                f"{row['cost_to_fast']:.2f} × the cost, {row['of_the_head']:.1%} of the head"
            )


if __name__ == "__main__":
    main()
