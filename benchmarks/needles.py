"""The needle test: specific posts to learn from, general posts to search, and the ids of the needles among them.

    python benchmarks/needles.py --specific specific.csv --general general.parquet --needles needles.csv --json out.json

Goes through the product's own commands (manage.py import_tweets, train, score) against the configured database,
which must be empty of tweets. Then, in the same run, trains TF-IDF + logistic regression on the very tweets that
the version was trained on, ranks the same general posts with it, and prints both. --library-only does the same with
ml.train and ml.predict alone, without a database.

specific: id, text, tags. general: id, text. needles: id. CSV or Parquet. A needle is a general post like any other:
it stays in the ranking, and it may be drawn as a negative; both models meet the same ones.

Beyond the keywords: the same over the general posts, needles and others, that hold none of the 25 words that tell the
specific posts best from the general ones, nor the name of a community. The words are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

FIRST = (1_000, 20_000)
UNLABELLED = 1_000_000  # general texts to learn words from, as in the product
KEYWORDS = 25
SPEED_SAMPLE = 200_000  # texts on which the speed of scikit-learn is measured


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specific", required=True, type=Path)
    parser.add_argument("--general", required=True, type=Path)
    parser.add_argument("--needles", required=True, type=Path)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--architectures", default="fast,accurate")
    parser.add_argument("--negatives", type=int, default=150_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--library-only", action="store_true", help="no database: ml.train and ml.predict alone"
    )
    parser.add_argument(
        "--keep", action="store_true", help="the tweets are imported already: skip the import"
    )
    options = parser.parse_args()
    for path in (options.specific, options.general, options.needles):
        if not path.exists():
            sys.exit(f"{path} does not exist: the needle test needs it.")

    specific, general = read(options.specific), read(options.general)
    needles = set(read(options.needles)["id"])
    is_needle = general["id"].isin(needles).to_numpy()
    result: dict[str, Any] = {
        "specific": len(specific), "general": len(general), "needles": int(is_needle.sum()),
        "negatives": options.negatives, "seed": options.seed, "product": not options.library_only, "models": {},
    }  # fmt: skip
    words = keywords(specific, general)
    beyond = without(words, general["text"])
    result["keywords"] = {
        "words": words,
        "needles": int(is_needle[beyond].sum()),
        "general": int(beyond.sum()),
    }
    run = library_only if options.library_only else product
    run(options, specific, general, Needles(is_needle, beyond), result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print_result(result)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


# --- judging a ranking -----------------------------------------------------------------------------------------


def keywords(specific: pd.DataFrame, general: pd.DataFrame) -> list[str]:
    """The words with the largest chi-square between specific and general posts, and the communities' names."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.feature_selection import chi2

    sample = general["text"].sample(min(len(general), 10 * len(specific)), random_state=1)
    vectorizer = CountVectorizer(binary=True, min_df=20)
    counts = vectorizer.fit_transform([*specific["text"], *sample])
    is_specific = np.arange(counts.shape[0]) < len(specific)
    share = [np.asarray(counts[rows].mean(axis=0)).ravel() for rows in (is_specific, ~is_specific)]
    worth = np.where(share[0] > share[1], chi2(counts, is_specific)[0], 0)
    best = vectorizer.get_feature_names_out()[np.argsort(-worth)[:KEYWORDS]]
    names = {tag.lower() for cell in specific["tags"] for tag in cell.split(";") if tag}
    return [*best, *sorted(names - set(best))]


def without(words: list[str], texts: pd.Series) -> np.ndarray:
    """bool [n]: none of the words stands in the text."""
    return ~texts.str.contains(rf"(?i)\b(?:{'|'.join(map(re.escape, words))})\b").to_numpy(bool)


@dataclass(frozen=True)
class Needles:
    """bool [general posts] each: is it a needle, and has it none of the keywords?"""

    which: np.ndarray
    beyond: np.ndarray

    def judge(self, score: np.ndarray) -> dict[str, Any]:
        from sklearn.metrics import average_precision_score

        rest = average_precision_score(self.which[self.beyond], score[self.beyond])
        return {**judge(self.which, score), "beyond_keywords": float(rest)}


def judge(is_needle: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """Average precision, needles in the first 1,000, share of all needles in the first 20,000."""
    from sklearn.metrics import average_precision_score

    order = np.argsort(-score, kind="stable")
    return {
        "average_precision": float(average_precision_score(is_needle, score)),
        f"in_first_{FIRST[0]}": int(is_needle[order[: FIRST[0]]].sum()),
        f"share_in_first_{FIRST[1]}": float(is_needle[order[: FIRST[1]]].sum() / is_needle.sum()),
    }


def fit_baseline(texts: list[str], truth: np.ndarray, general: list[str]) -> tuple[np.ndarray, float]:
    """Scores of TF-IDF (1–2-grams, sublinear) + logistic regression (C = 3), and the seconds it took to train."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    started = time.perf_counter()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(C=3, max_iter=1000).fit(vectorizer.fit_transform(texts), truth)
    seconds = time.perf_counter() - started
    return np.asarray(model.decision_function(vectorizer.transform(general))), seconds


def baselines(
    texts: list[str],
    truth: np.ndarray,
    in_train: np.ndarray,
    general: pd.DataFrame,
    needles: Needles,
) -> dict[str, Any]:
    """On all tweets of the sample, which is the stricter yardstick, and on its train split alone."""
    result = {}
    everything = general["text"].tolist()
    for name, rows in (("whole_sample", np.ones(len(truth), bool)), ("train_split", in_train)):
        chosen = [text for text, wanted in zip(texts, rows, strict=True) if wanted]
        scores, seconds = fit_baseline(chosen, truth[rows], everything)
        result[name] = {
            "examples": int(rows.sum()),
            "train_seconds": seconds,
            **needles.judge(scores),
        }
        print(f"baseline on {name}: {result[name]}", flush=True)
    return result


def add_ratios(model: dict[str, Any]) -> None:
    for name, baseline in model["baseline"].items():
        model[f"ratio_to_{name}"] = model["average_precision"] / baseline["average_precision"]
        model[f"beyond_to_{name}"] = model["beyond_keywords"] / baseline["beyond_keywords"]


def hashing_speed(texts: list[str], truth: np.ndarray, general: list[str]) -> dict[str, Any]:
    """scikit-learn's HashingVectorizer + linear model, texts in memory, one process."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDClassifier

    vectorizer = HashingVectorizer(ngram_range=(1, 2), n_features=2**20)
    model = SGDClassifier(loss="log_loss", max_iter=3, tol=None).fit(vectorizer.transform(texts), truth)
    sample = general[:SPEED_SAMPLE]
    started = time.perf_counter()
    for start in range(0, len(sample), 10_000):
        model.predict_proba(vectorizer.transform(sample[start : start + 10_000]))
    return {"texts_per_second": len(sample) / (time.perf_counter() - started), "processes": 1}


# --- the library alone -----------------------------------------------------------------------------------------


def library_examples(
    specific: pd.DataFrame, general: pd.DataFrame, negatives: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[str]]:
    """What ml.train.train takes, and the tags: specific posts as DA, drawn general ones as NDA without judged tags."""
    from ml import groups

    drawn = np.sort(rng.choice(len(general), min(negatives, len(general)), replace=False))
    both = pd.concat([specific, general.iloc[drawn]], ignore_index=True)
    is_specific = np.arange(len(both)) < len(specific)
    tags = sorted({tag for cell in specific["tags"] for tag in cell.split(";") if tag})
    cells = [set(str(cell).split(";")) for cell in both["tags"]]
    columns = {tag: np.where(is_specific, [float(tag in cell) for cell in cells], np.nan) for tag in tags}
    examples = pd.DataFrame({
        "id": both["id"], "text": both["text"], "verdict": is_specific.astype(float), "verdict_weight": 1.0,
        "tags_weight": 1.0, "matches_rule": False, "sample": np.where(is_specific, "assumed", "negative"),
        "split": groups.splits_of(groups.text_keys(both["text"].tolist())), **columns,
    })  # fmt: skip
    return examples, tags


def sample_of(general: pd.DataFrame, chosen: np.ndarray, count: int, rng: np.random.Generator) -> list[str]:
    """At most `count` random texts among the chosen ones."""
    rows = np.flatnonzero(chosen)
    rows = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    return list(general["text"].iloc[rows])


def library_only(
    options: Any,
    specific: pd.DataFrame,
    general: pd.DataFrame,
    needles: Needles,
    result: dict[str, Any],
) -> None:
    from ml import groups, predict, train, train_command
    from ml.config import PRIOR_SAMPLE, Config

    rng = np.random.default_rng(options.seed)
    examples, tags = library_examples(specific, general, options.negatives, rng)
    splits = groups.splits_of(groups.text_keys(general["text"].tolist()))
    unlabelled = sample_of(general, splits == "train", UNLABELLED, rng)
    prior_sample = sample_of(general, splits == "validation", PRIOR_SAMPLE, rng)
    texts, truth = examples["text"].tolist(), examples["verdict"].to_numpy()
    baseline = baselines(texts, truth, (examples["split"] == "train").to_numpy(), general, needles)
    for architecture in options.architectures.split(","):
        with tempfile.TemporaryDirectory() as folder:
            started, cpu = time.perf_counter(), time.process_time()
            config = Config(architecture=architecture, seed=options.seed)
            report = train.train(
                examples, tags=tags, config=config, out=Path(folder), unlabelled=unlabelled,
                prior_sample=prior_sample,
            )  # fmt: skip
            spent = {
                "train_seconds": time.perf_counter() - started,
                "train_cpu_seconds": time.process_time() - cpu,
            }
            predictor = predict.load(Path(folder) / "model.zip")
            started = time.perf_counter()
            scores = predictor.predict(general["text"].tolist())[:, 0]
            spent["texts_per_second"] = len(general) / (time.perf_counter() - started)
            model = {
                **needles.judge(scores),
                **spent,
                "report": train_command.summary(report),
                "baseline": baseline,
            }
        add_ratios(model)
        result["models"][architecture] = model
        print(f"{architecture}: {model}", flush=True)
    result["hashing_vectorizer"] = hashing_speed(texts, truth, general["text"].tolist())


# --- the product -----------------------------------------------------------------------------------------------


def product(
    options: Any,
    specific: pd.DataFrame,
    general: pd.DataFrame,
    needles: Needles,
    result: dict[str, Any],
) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
    import django

    from tagger_site import embedded

    servers = embedded.use()  # kept until the end; None where DATABASE_URL and REDIS_URL name others
    django.setup()
    from django.core.management import call_command

    from labeling.models import Tweet

    call_command("migrate", verbosity=0)

    if not options.keep:
        if Tweet.objects.exists():
            sys.exit("The database holds tweets already. Use an empty one, or --keep if they are these.")
        result["import"] = {
            "specific": import_file(options.specific, "specific", len(specific)),
            "general": import_file(options.general, "general", len(general)),
        }
    for architecture in options.architectures.split(","):
        result["models"][architecture] = through_the_product(options, architecture, general, needles)
    texts = specific["text"].tolist() + general["text"].tolist()[: len(specific)]
    truth = np.r_[np.ones(len(specific)), np.zeros(len(texts) - len(specific))]
    result["hashing_vectorizer"] = hashing_speed(texts, truth, general["text"].tolist())
    if servers:
        servers.give_back()


def manage(*arguments: str) -> tuple[str, float]:
    """Run one of the product's commands; its last line and the seconds it took."""
    print("$ manage.py", *arguments, flush=True)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    print(done.stdout, flush=True)
    if done.returncode:
        sys.exit(f"manage.py {arguments[0]} failed.")
    return done.stdout.strip().splitlines()[-1], seconds


def import_file(path: Path, source: str, rows: int) -> dict[str, Any]:
    """Every row must be imported, a duplicate, or rejected: the command's last line says how many."""
    line, seconds = manage("import_tweets", str(path.resolve()), "--source", source)
    counts = {
        name: int(match[1].replace(",", ""))
        for name in ("imported", "duplicates", "rejected")
        if (match := re.search(rf"{name} ([\d,]+)", line))
    }
    if sum(counts.values()) != rows:
        sys.exit(f"{rows} rows in {path.name}, but {counts} accounted for.")
    return {**counts, "seconds": seconds, "rows_per_second": rows / seconds, "line": line}


def through_the_product(
    options: Any, architecture: str, general: pd.DataFrame, needles: Needles
) -> dict[str, Any]:
    from labeling.models import ModelVersion

    train_line, train_seconds = manage(
        "train",
        "--architecture",
        architecture,
        "--seed",
        str(options.seed),
        "--negatives",
        str(options.negatives),
    )
    version = ModelVersion.objects.ready().order_by("-number").first()
    assert version is not None
    score_line, score_seconds = manage("score", "--version", str(version.number))
    scores, scored = scores_of(version.pk, general)
    model = {
        "version": version.number, "examples": len(general), "train_line": train_line, "train_seconds": train_seconds,
        "score_line": score_line, "score_seconds": score_seconds, "tweets_per_second": scored / score_seconds,
        **needles.judge(scores),
    }  # fmt: skip
    texts, truth, in_train = examples_of(version.pk)
    model["baseline"] = baselines(texts, truth, in_train, general, needles)
    add_ratios(model)
    print(f"{architecture}: {model}", flush=True)
    return model


def scores_of(version_id: int, general: pd.DataFrame) -> tuple[np.ndarray, int]:
    """P(DA) of each general post, from the version's published scores; and how many tweets it scored.

    A post that import took for a duplicate has the score of the tweet that it duplicates; the rest comes last.
    """
    from django.db import connection

    from labeling.models import Source

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM labeling_score_v{version_id}")
        scored = cursor.fetchone()[0]
        cursor.execute(
            f"SELECT t.external_id, s.risk FROM labeling_score_v{version_id} s "
            "JOIN labeling_tweet t ON t.id = s.tweet_id WHERE t.source = %s",
            [Source.GENERAL],
        )
        risk = dict(cursor.fetchall())
    found = general["id"].map(risk)
    missing = int(found.isna().sum())
    if missing:
        print(f"{missing} general posts have no score of their own (duplicates or rejected): ranked last.")
    return found.fillna(-1.0).to_numpy(), scored


def examples_of(version_id: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The tweets with a verdict in the version's snapshot: text, DA or not, whether in the train split."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.text, e.verdict, e.split FROM labeling_example e JOIN labeling_tweet t ON t.id = e.tweet_id "
            "WHERE e.version_id = %s AND e.verdict IN (0, 1) ORDER BY e.tweet_id",
            [version_id],
        )
        rows = cursor.fetchall()
    texts, verdicts, splits = zip(*rows, strict=True)
    return list(texts), np.array(verdicts), np.array(splits) == 0


def print_result(result: dict[str, Any]) -> None:
    print(f"\n{result['needles']:,} needles among {result['general']:,} general posts, seed {result['seed']}")
    for name, imported in result.get("import", {}).items():
        print(f"import of {name}: {imported['rows_per_second']:,.0f} rows/s ({imported['line']})")
    rest = result["keywords"]
    print(
        f"Beyond the keywords: {rest['needles']:,} needles among the {rest['general']:,} posts without any of: "
        + ", ".join(rest["words"])
    )
    head = f"{'model':24}{'average precision':>18}{'beyond keywords':>17}{'in first 1,000':>16}{'in first 20,000':>17}"
    print(head)
    for name, model in result["models"].items():
        rows = [(name, model)] + [(f"  TF-IDF + LR, {which}", b) for which, b in model["baseline"].items()]
        for label, figures in rows:
            print(
                f"{label:24}{figures['average_precision']:18.4f}{figures['beyond_keywords']:17.4f}"
                f"{figures['in_first_1000']:16,d}"
                f"{figures['share_in_first_20000']:16.1%}"
            )
        ratios = ", ".join(
            f"{model[f'ratio_to_{which}']:.2f} × {which} ({model[f'beyond_to_{which}']:.2f} × beyond the keywords)"
            for which in model["baseline"]
        )
        speed = model.get("tweets_per_second") or model["texts_per_second"]
        print(
            f"  {name} has {ratios}; scored {speed:,.0f} tweets/s; trained in {model['train_seconds']:.0f} s"
        )
    print(
        f"HashingVectorizer + linear model: {result['hashing_vectorizer']['texts_per_second']:,.0f} texts/s"
    )


if __name__ == "__main__":
    main()
