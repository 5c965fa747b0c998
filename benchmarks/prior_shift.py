"""Probabilities that hold where DA is rare: train on half DA, score a corpus with 0.3 %, and count.

    python benchmarks/prior_shift.py --json prior.json
    python benchmarks/prior_shift.py --keywords --training 1500 --json keywords.json
    python benchmarks/prior_shift.py --specific specific.csv --general general.parquet --needles needles.csv

Without files: the invented tweets of the demo, whose truth is known. With the files of the needle test: specific posts as
DA, general ones without the needles as NDA. Train and corpus share no text and no near copy of one. For each seed prints
the expected number of DA posts in the corpus, Σ P(DA), as a share of the true number, and the expected calibration error
(ten equal bins of the probability) five times over:

  uncorrected   calibrated for the half-and-half mix of training
  estimated     moved to the share of DA that expectation maximisation finds on a sample without labels (Saerens,
                Latinne and Decaestecker 2002): what training does by itself
  audited       moved to the share that an audit of 1,000 judged posts finds, as the page of estimates does, which
                assumes nothing
  flagged       moved to the share that 1,000 judged posts from the flagged half percent give together with the recall
                on held-out posts, as the product has it, which assumes that DA posts are alike in both places
  true          moved to the true share: what is left is the error of the sample and of the scale

With --keywords the DA posts to learn from, and so those held out, are only such as have a keyword of the starter rules, as
where they were collected by keyword; those of the corpus are as they come, and the assumption of `flagged` does not hold.

Moving sets the mean probability on a sample of 60,000 posts of the corpus to the share.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from benchmarks.needles import read
from ml import calibration, estimates, groups, predict, train
from ml.config import ARCHITECTURES, PRIOR_SAMPLE, Config

INVENTED = 600_000  # general tweets of the demo, about 1 % of them DA
TRAINING = 3_000  # posts of each class
PRIOR = 0.003
CORPUS = 400_000
LABELS = 1_000
HEAD = 0.005  # of the corpus: taken for flagged
BINS = 10


@dataclasses.dataclass(frozen=True)
class Posts:
    texts: np.ndarray
    is_da: np.ndarray
    keys: np.ndarray  # equal for copies


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("specific", "general", "needles"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--architecture", default="fast", choices=ARCHITECTURES)
    parser.add_argument("--training", type=int, default=TRAINING, help="posts of each class")
    parser.add_argument("--corpus", type=int, default=CORPUS, help="posts")
    parser.add_argument("--keywords", action="store_true", help="learn from DA with a keyword alone")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    files = [options.specific, options.general, options.needles]
    for path in files:
        if path is not None and not path.exists():
            sys.exit(f"{path} does not exist: name all three files of the needle test, or none.")
    if options.keywords and any(files):
        sys.exit("--keywords is for the demo's tweets: the starter rules are about what these say.")
    posts = needle_posts(*files) if all(files) else None
    runs = []
    for seed in map(int, options.seeds.split(",")):
        runs.append(run(posts or invented_posts(seed), options, seed))
        print(runs[-1], flush=True)
    result = {
        "prior": PRIOR,
        "architecture": options.architecture,
        "training": options.training,
        "runs": runs,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print_result(result)


def posts_of(texts: list[str], is_da: np.ndarray) -> Posts:
    return Posts(np.array(texts, dtype=object), is_da, groups.text_keys(texts))


def invented_posts(seed: int) -> Posts:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
    import django

    django.setup()  # no database is opened
    from labeling.demo.corpus import Generator

    tweets = list(Generator(seed).general(INVENTED))
    return posts_of([tweet.text for tweet in tweets], np.array([tweet.verdict == "DA" for tweet in tweets]))


def needle_posts(specific: Path, general: Path, needles: Path) -> Posts:
    da, others = read(specific), read(general)
    nda = others[~others["id"].isin(set(read(needles)["id"]))]
    return posts_of([*da["text"], *nda["text"]], np.arange(len(da) + len(nda)) < len(da))


# --- one run ---------------------------------------------------------------------------------------------------


def run(posts: Posts, options: Any, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    learnt, corpus = divide(
        posts, rng, training=options.training, corpus=options.corpus, keywords=options.keywords
    )
    texts, truth = posts.texts[corpus].tolist(), posts.is_da[corpus]
    with tempfile.TemporaryDirectory() as folder:
        config = Config(architecture=options.architecture, seed=seed)
        unlabelled = texts[: len(texts) // 2] if options.architecture != "fast" else []
        report = train.train(
            examples_of(posts, learnt), tags=[], config=config, out=Path(folder), unlabelled=unlabelled,
            prior_sample=texts,
        )  # fmt: skip
        probability = predict.load(Path(folder) / "model.zip").predict(texts)[:, 0].astype(np.float64)
        held_out = pd.read_parquet(Path(folder) / "holdout.parquet")
    prior = report["prior"]
    in_mix = log_odds_of(probability) - prior["shift"]
    test_da = (held_out["split"] == "test").to_numpy() & posts.is_da[held_out["id"].to_numpy(dtype=np.int64)]
    held_da = np.array([p[0] for p in held_out["p"]], dtype=np.float64)[test_da]
    estimated = expit(in_mix + prior["shift"])
    audit, head = audited(estimated, truth, rng), flagged(estimated, truth, held_da, rng)
    shares = {
        "estimated": prior["corpus"], "audited": audit["share"], "flagged": head["share"], "true": float(truth.mean())
    }  # fmt: skip
    sample = in_mix[:PRIOR_SAMPLE]
    moved = {name: expit(in_mix + calibration.shift_to(sample, share)) for name, share in shares.items()}
    return {
        "seed": seed, "corpus": len(truth), "da": int(truth.sum()), "keywords": options.keywords, "audit": audit, "head": head, "prior": prior,
        "uncorrected": figures(expit(in_mix), truth, prior["train"]),
        **{name: figures(p, truth, shares[name]) for name, p in moved.items()},
        "da_with_keyword": float(has_keyword(posts.texts[corpus[truth]]).mean()) if options.keywords else None,
    }  # fmt: skip


def divide(
    posts: Posts, rng: np.random.Generator, *, training: int, corpus: int, keywords: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, half of them DA, and rows of the corpus, PRIOR of them; both in random order."""
    order = rng.permutation(len(posts.texts))
    da, nda = order[posts.is_da[order]], order[~posts.is_da[order]]
    taught = da
    if keywords:  # from one half of the DA posts, so that the other keeps its mix
        taught, da = np.split(da, [len(da) // 2])
        taught = taught[has_keyword(posts.texts[taught])]
    learnt = np.concatenate([taught[:training], nda[:training]])
    da, nda = (rows[~np.isin(posts.keys[rows], posts.keys[learnt])] for rows in (da, nda))
    total = min(corpus, int(len(da) / PRIOR), int(len(nda) / (1 - PRIOR)))
    wanted = round(total * PRIOR)
    return rng.permutation(learnt), rng.permutation(np.concatenate([da[:wanted], nda[: total - wanted]]))


def has_keyword(texts: np.ndarray) -> np.ndarray:
    """Of the starter rules."""
    from labeling.demo.corpus import starter_rules

    return np.asarray(starter_rules().matches_any(texts.tolist()))


def examples_of(posts: Posts, rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({
        "id": rows, "text": posts.texts[rows], "verdict": posts.is_da[rows].astype(float), "verdict_weight": 1.0,
        "tags_weight": 1.0, "split": groups.splits_of(posts.keys[rows]), "sample": "people", "matches_rule": False,
    })  # fmt: skip


def log_odds_of(probability: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(probability, 1e-12, 1 - 1e-12)))


def flagged(
    probability: np.ndarray, truth: np.ndarray, held_da: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """The share of DA by LABELS posts judged among the flagged ones, the HEAD of the corpus, and the recall on held-out DA."""
    threshold = float(np.quantile(probability, 1 - HEAD))
    judged = judge(probability, truth, rng, threshold=threshold, only_flagged=True)
    recalled = int((held_da >= threshold).sum())
    found = estimates.estimate_from_flagged(judged, held_out=len(held_da), found=recalled)
    return {
        **share_of(found.prevalence, judged), "precision": found.precision.value,
        "recall": recalled / len(held_da), "held_out": len(held_da),
    }  # fmt: skip


def audited(probability: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """The share of DA by an audit of LABELS posts of the whole corpus."""
    judged = judge(probability, truth, rng, threshold=float(np.quantile(probability, 0.99)))
    return share_of(estimates.estimate(judged).prevalence, judged)


def share_of(found: estimates.Interval, judged: estimates.Cells) -> dict[str, float]:
    return {
        "share": found.value, "low": found.low, "high": found.high, "found": float(judged.positive.sum())
    }  # fmt: skip


def judge(
    probability: np.ndarray,
    truth: np.ndarray,
    rng: np.random.Generator,
    *,
    threshold: float,
    only_flagged: bool = False,
) -> estimates.Cells:
    """LABELS posts judged, drawn by strata of the score as the product draws them."""
    edges = np.unique(np.r_[0.0, expit(np.linspace(-14, 5, 60)), threshold, 1.0])
    bin_of = np.searchsorted(edges[1:-1], probability, side="right")
    count = len(edges) - 1
    size = np.bincount(bin_of, minlength=count)
    expected = np.bincount(bin_of, probability, minlength=count) / np.maximum(size, 1)
    bins = estimates.Bins(size, expected, edges[:-1] >= threshold)
    strata = estimates.cut(bins)
    cells = estimates.merge(bins, strata)
    taken = estimates.allocate(cells, LABELS, only_flagged=only_flagged)
    positive = []
    for part, wanted in zip(strata, taken, strict=True):
        rows = np.flatnonzero((bin_of >= part.start) & (bin_of < part.stop))
        positive.append(truth[rng.choice(rows, wanted, replace=False)].sum())
    return dataclasses.replace(cells, labelled=taken.astype(float), positive=np.array(positive, float))


def figures(probability: np.ndarray, truth: np.ndarray, share: float) -> dict[str, float]:
    bin_of = np.minimum((probability * BINS).astype(int), BINS - 1)
    gap = np.bincount(bin_of, probability - truth, minlength=BINS)
    return {
        "share": share,
        "expected": float(probability.sum()),
        "ratio": float(probability.sum() / truth.sum()),
        "ece": float(np.abs(gap).sum() / len(truth)),
    }


def print_result(result: dict[str, Any]) -> None:
    for one in result["runs"]:
        print(f"\nseed {one['seed']}: {one['da']:,} DA among {one['corpus']:,} posts, trained on half DA")
        print(f"{'':14}{'share':>10}{'expected':>12}{'of the true':>13}{'ECE':>9}")
        for name in ("uncorrected", "estimated", "audited", "flagged", "true"):
            found = one[name]
            print(
                f"{name:14}{found['share']:10.3%}{found['expected']:12,.0f}{found['ratio']:13.2f}{found['ece']:9.4f}"
            )
        for name in ("audit", "head"):
            found = one[name]
            print(
                f"{name}: {found['found']:.0f} DA among {LABELS:,} judged; {found['low']:.3%} to {found['high']:.3%}"
            )
        print(f"head: recall {one['head']['recall']:.3f} on {one['head']['held_out']:,} held-out DA")
    print()
    for name in ("estimated", "audited", "flagged"):
        errors = [abs(one[name]["ratio"] - 1) for one in result["runs"]]
        worst = max(one[name]["ece"] for one in result["runs"])
        verdict = "kept" if max(errors) <= 0.15 and worst <= 0.01 else "MISSED"
        print(
            f"{name}: off by {statistics.mean(errors):.0%} on average, {max(errors):.0%} at most (wanted ≤ 15 %); "
            f"ECE at most {worst:.4f} (wanted ≤ .01): {verdict}"
        )


if __name__ == "__main__":
    main()
