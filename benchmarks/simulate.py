"""What each strategy for queues finds among the needles, label by label, beside random; and how soon a rare tag is found.

    python benchmarks/simulate.py --specific specific.csv --general general.parquet --needles needles.csv --json out.json

The files are those of benchmarks/needles.py; needles.csv also names each needle's community, which is its tag. The
strategies are the product's own (ml.choosing), the model of each round is TF-IDF + logistic regression.

1. DA: the pool is a random sample of the general posts, the needles among them as rare as they are. The start is 250
   specific posts and 250 random general ones from outside the pool. What counts are needles.
2. A rare tag. The pool is all needles, a sample of the other general posts, and of the posts with the tag 20 at random and
   no more. The start is 500 specific posts, 5 of them with the tag. What counts is how many labels it takes until 10 of
   the 20 are found. Uncertainty is stopped at --most labels, or at ten times what the rare tag's own strategy took.
   A tag is a subject of the starter lexicon (a post has it that holds one of its single words; no strategy sees
   them), where at least 25 posts have it; with --by community, one of the 23 communities, most of whose
   titles do not say where they come from.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.needles import read
from ml import simulation
from ml.choosing import words_of
from ml.simulation import Features, Replay

HIDDEN, ANCHORS, WANTED = 20, 5, 10
DA_STRATEGIES = ("risk", "uncertain", "diverse", "random")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specific", required=True, type=Path)
    parser.add_argument("--general", required=True, type=Path)
    parser.add_argument("--needles", required=True, type=Path)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--chart", type=Path, help="draw part 1 as SVG")
    parser.add_argument("--pool", type=int, default=150_000, help="general posts of part 1 (150000)")
    parser.add_argument("--rare-pool", type=int, default=30_000, help="general posts of part 2 (30000)")
    parser.add_argument("--labels", type=int, default=1_000)
    parser.add_argument("--most", type=int, default=3_000, help="labels of part 2 at most (3000)")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by", choices=("subject", "community"), default="subject", help="tags of part 2")
    parser.add_argument("--tags", help="some of them, by commas (all)")
    parser.add_argument("--parts", default="da,rare")
    options = parser.parse_args()
    for path in (options.specific, options.general, options.needles):
        if not path.exists():
            sys.exit(f"{path} does not exist: this benchmark needs it.")
    corpus = Corpus(options)
    result: dict[str, Any] = {}
    started = time.process_time()
    if "da" in options.parts:
        result["da"] = find_da(corpus, options)
        if options.chart:
            options.chart.write_text(simulation.chart(result["da"]))
    if "rare" in options.parts:
        result["rare"] = find_rare(corpus, options)
    result["cpu_seconds"] = time.process_time() - started
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


class Corpus:
    """Specific posts, needles and other general posts with their truth: DA, then a column for each community."""

    def __init__(self, options: Any) -> None:
        specific, general, needles = (read(p) for p in (options.specific, options.general, options.needles))
        community = dict(zip(needles["id"], needles["subreddit"], strict=True))
        self.tags = sorted(set(specific["tags"]))
        self.texts = np.array([*specific["text"], *general["text"]], dtype=object)
        self.tag_of = np.array([*specific["tags"], *general["id"].map(community).fillna("")], dtype=object)
        self.specific = np.arange(len(specific))
        self.general = np.arange(len(specific), len(self.texts))
        self.needles = self.general[self.tag_of[self.general] != ""]

    def truth(self, rows: np.ndarray) -> np.ndarray:
        truth = np.zeros((len(rows), 1 + len(self.tags)), np.float32)
        has = np.flatnonzero(self.tag_of[rows] != "")
        truth[has, 0] = 1
        truth[has, [1 + self.tags.index(tag) for tag in self.tag_of[rows[has]]]] = 1
        return truth

    def replay(self, rows: np.ndarray, known: np.ndarray) -> Replay:
        """Of some rows, of which some are known at the start: both are numbers of rows of the corpus."""
        is_known = np.isin(rows, known)
        return Replay(self.texts[rows].tolist(), self.truth(rows), self.tags, is_known, ~is_known)


# --- 1: DA -----------------------------------------------------------------------------------------------------


def find_da(corpus: Corpus, options: Any) -> dict[str, Any]:
    """Means over seeds of pool, start and draws; each seed has its own."""
    results = []
    for seed in range(1, options.seeds + 1):
        rng = np.random.default_rng(seed)
        general = rng.choice(corpus.general, min(options.pool + 250, len(corpus.general)), replace=False)
        known = np.concatenate([rng.choice(corpus.specific, 250, replace=False), general[-250:]])
        replay = corpus.replay(np.concatenate([known[:250], general]), known)
        results.append(
            simulation.compare([replay], DA_STRATEGIES, labels=options.labels, batch=options.batch)
        )
        print(f"seed {seed}\n{simulation.table(results[-1])}", flush=True)
    merged = results[0]
    for name, given in merged["strategies"].items():
        each = [result["strategies"][name] for result in results]
        given["each"] = [one["each"][0] for one in each]
        given["found"] = np.mean(given["each"], axis=0).round(2).tolist()
    merged["positives_each"] = [result["positives"] for result in results]
    merged["positives"] = round(float(np.mean(merged["positives_each"])))
    print(f"mean of {options.seeds} seeds\n{simulation.table(merged)}")
    found = {name: given["found"][-1] for name, given in merged["strategies"].items()}
    best = max(found, key=lambda name: found[name])
    chance = options.labels * merged["positives"] / merged["texts"]
    ratio = found[best] / max(found["random"], chance)
    print(
        f"best: {best}, {ratio:.1f} × random after {options.labels:,} labels (limit 5 ×;"
        f" chance expects {chance:.1f}) {'kept' if ratio >= 5 else 'MISSED'}\n"
    )
    return {**merged, "best": best, "ratio": ratio}


# --- 2: a rare tag ---------------------------------------------------------------------------------------------


def find_rare(corpus: Corpus, options: Any) -> dict[str, Any]:
    rows = []
    print(
        f"labels until {WANTED} of {HIDDEN} are found, of {options.most:,} at most ({ANCHORS} examples at the start)"
    )
    print(f"{'tag':24}{'seed':>5}{'rare_tag':>10}{'uncertain':>11}{'ratio':>8}   found by each")
    for seed in range(1, options.seeds + 1):
        rng = np.random.default_rng(seed)
        others = np.setdiff1d(corpus.general, corpus.needles)
        pool = rng.choice(others, min(options.rare_pool, len(others)), replace=False)
        everything = np.concatenate([corpus.specific, corpus.needles, pool])
        texts = corpus.texts[everything].tolist()
        truth, tags = corpus.truth(everything), corpus.tags
        if options.by == "subject":
            has, tags = subjects(texts)
            truth = np.concatenate([truth[:, :1], has], axis=1)
        features = Features.of(texts)
        for tag in options.tags.split(",") if options.tags else tags:
            number = tags.index(tag)
            replay = rare_replay(texts, truth, tags, number, specific=len(corpus.specific), seed=seed)
            rows.append(time_to_find(replay, number, options, features) | {"tag": tag, "seed": seed})
            print(_line(rows[-1]), flush=True)
    summary = summarise(rows)
    print(summary["says"])
    return {"by": options.by, "most": options.most, "rows": rows, **summary}


def subjects(texts: list[str]) -> tuple[np.ndarray, list[str]]:
    """Which texts have which tag of the starter lexicon, by its single words; those tags that enough of them have."""
    tag_of: dict[str, set[str]] = {}
    for line in (ROOT / "labeling/lexicon/opioid_monitoring.jsonl").read_text(encoding="utf-8").splitlines():
        rule = json.loads(line)
        if rule.get("kind") == "term" and not rule["exclusion"]:
            tag_of.setdefault(rule["pattern"].lower(), set()).add(rule["tag"])
    given = [{tag for word in words_of(text) & tag_of.keys() for tag in tag_of[word]} for text in texts]
    tags = sorted({tag for tags in given for tag in tags})
    has = np.array([[tag in tags_of for tag in tags] for tags_of in given], np.float32)
    enough = has.sum(axis=0) >= HIDDEN + ANCHORS
    return has[:, enough], [tag for tag, is_enough in zip(tags, enough, strict=True) if is_enough]


def rare_replay(
    texts: list[str], truth: np.ndarray, tags: list[str], tag: int, *, specific: int, seed: int
) -> Replay:  # fmt: skip
    """The first `specific` texts are the specific ones."""
    rng = np.random.default_rng([seed, tag])
    is_specific, has = np.arange(len(texts)) < specific, truth[:, 1 + tag] > 0
    known = np.zeros(len(texts), bool)
    of_start = (
        np.flatnonzero(has & is_specific) if (has & is_specific).sum() > ANCHORS else np.flatnonzero(has)
    )
    known[rng.choice(of_start, ANCHORS, replace=False)] = True
    known[rng.choice(np.flatnonzero(is_specific & ~has), 500 - ANCHORS, replace=False)] = True
    free = ~is_specific & ~has
    left = np.flatnonzero(has & ~known)
    free[rng.choice(left, min(HIDDEN, len(left)), replace=False)] = True
    return Replay(texts, truth, tags, known, free)


def time_to_find(replay: Replay, tag: int, options: Any, features: Features) -> dict[str, Any]:
    common: dict[str, Any] = {"batch": options.batch, "tag": tag, "until": WANTED, "features": features}
    own = simulation.simulate(replay, "rare_tag", labels=options.most, **common)
    took = simulation.labels_until(own, WANTED)
    enough = options.most if took is None else min(options.most, 10 * took)
    other = simulation.simulate(replay, "uncertain", labels=enough, **common)
    other_took = simulation.labels_until(other, WANTED)
    return {
        "rare_tag": took, "rare_tag_found": int(own[-1]) if len(own) else 0,
        "uncertain": other_took, "uncertain_found": int(other[-1]), "uncertain_labels": len(other),
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    own, other, spent = row["rare_tag"], row["uncertain"], row["uncertain_labels"]
    ratio = "" if own is None else f"{(other or spent) / own:.1f}" if other else f"≥ {spent / own:.1f}"
    return (
        f"{row['tag']:24}{row['seed']:5}{own or '–':>10}{other or f'> {spent}':>11}{ratio:>8}"
        f"   {row['rare_tag_found']} and {row['uncertain_found']}"
    )


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Where a strategy did not come to it, the ratio has a bound at best; both missing is no ratio."""
    reached = [row for row in rows if row["rare_tag"] is not None]
    sooner = [row for row in reached if (row["uncertain"] or row["uncertain_labels"]) >= 3 * row["rare_tag"]]
    worse = [row for row in rows if row["rare_tag"] is None and row["uncertain"] is not None]
    says = (
        f"rare_tag came to {WANTED} in {len(reached)} of {len(rows)} runs; three times sooner than uncertainty, or more,"
        f" in {len(sooner)} of these; uncertainty alone came to it in {len(worse)} runs where rare_tag did not"
    )
    return {
        "reached": len(reached),
        "three_times_sooner": len(sooner),
        "only_uncertain": len(worse),
        "says": says,
    }


if __name__ == "__main__":
    main()
