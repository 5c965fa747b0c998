"""What each part of *accurate* adds to the tags of public multi-label sets: variants trained and judged alike.

    python benchmarks/tag_ablation.py --folder semeval2018_ec --folder goemotions --unlabelled general.parquet \
        --seeds 1,2,3 --json tag_ablation.json
    python benchmarks/tag_ablation.py … --only "accurate,accurate: no subwords"     # some of the variants
    python benchmarks/tag_ablation.py --list

Folders and figures as in benchmarks/quality.py, beside the same baseline; of the goals, *overall*. Each line: micro and
macro F1 on dev in folds and the mean average precision of the tags, mean and standard deviation over the seeds; CPU seconds
of a training, word vectors included, which all seeds have in common. *cascade* is not among the variants: it reads again by the verdict, which these sets
do not have.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks import measuring, quality
from benchmarks.ablation import chosen_of
from ml import calibration, files, fitting, pretraining, solving, targets, text, train
from ml.config import Config
from ml.network import Shape, Tagger

JUDGED = "dev, in folds (overall)"
FIGURES = ("micro_f1", "macro_f1", "average_precision")
BASELINE = "TF-IDF words + characters"


@dataclass(frozen=True)
class Variant:
    """A training that differs from the library's own in one thing."""

    architecture: str = "accurate"
    unlabelled: bool = True  # word vectors from the texts of --unlabelled too; else from those of train alone
    averaging: bool = False  # the mean of the weights over the later epochs
    subwords: bool = True
    shares: tuple[float, ...] = solving.SHARES  # of the convolution, of which validation chooses
    members: int = 1  # networks whose logits are averaged


VARIANTS = {
    "accurate": Variant(),
    "accurate: no unlabelled texts": Variant(unlabelled=False),
    "accurate: no subwords": Variant(subwords=False),
    "accurate: no convolution": Variant(shares=(0.0,)),
    "accurate: the convolution alone": Variant(shares=(1.0,)),
    "accurate: mean of the weights": Variant(averaging=True),
    "accurate: mean of two networks": Variant(members=2),
    "fast": Variant("fast"),
}


class Vectors:
    """The word vectors of one set, learned once for all seeds, as the product keeps them for the next trainings."""

    def __init__(self, judged: files.Judged, unlabelled: list[str]) -> None:
        self.judged = judged
        self.unlabelled = unlabelled
        self.known: dict[bool, tuple[pretraining.WordVectors, float]] = {}

    def of(self, variant: Variant) -> tuple[pretraining.WordVectors | None, float]:
        """Those that the variant begins with, and the CPU seconds that they took."""
        if variant.architecture == "fast":
            return None, 0.0
        if variant.unlabelled not in self.known:
            started = time.process_time()
            further = self.unlabelled if variant.unlabelled else []
            learned = train._pretrain(self.judged.examples, [*self.judged.unlabelled, *further], Config())
            self.known[variant.unlabelled] = learned, time.process_time() - started
        return self.known[variant.unlabelled]


class Run:
    """What the variants of one seed share: networks after their epochs."""

    def __init__(self, judged: files.Judged, vectors: Vectors, seed: int) -> None:
        self.judged = judged
        self.vectors = vectors
        self.seed = seed
        self.learned: dict[tuple[Any, ...], tuple[Shape, dict[str, NDArray[Any]], float]] = {}
        config = Config(architecture="accurate", task=judged.task, seed=seed)
        truth = targets.truth_of(judged.examples, judged.tags)
        wanted, weights = targets.targets_of(judged.examples, truth, judged.tags, config)
        rows = {name: np.flatnonzero(judged.examples["split"] == name) for name in ("train", "validation")}
        self.texts = {name: judged.examples["text"].iloc[part].tolist() for name, part in rows.items()}
        self.train = targets.training_examples(
            self.texts["train"], wanted[rows["train"]], weights[rows["train"]], config
        )
        self.validation = fitting.Examples(
            text.Bags.of(self.texts["validation"]), wanted[rows["validation"]], weights[rows["validation"]]
        )  # fmt: skip

    def variant(self, variant: Variant) -> dict[str, Any]:
        parts = [self._member(variant, self.seed + 1000 * member) for member in range(variant.members)]
        models = [model for model, _ in parts]

        def logits_of(texts: list[str]) -> NDArray[np.float32]:
            return np.asarray(np.mean([fitting.logits_of_texts(m, texts)[:, 1:] for m in models], axis=0))

        on_dev, truth = logits_of(self.texts["validation"]), self.validation.targets[:, 1:]
        scales = [calibration.platt(on_dev[:, k], truth[:, k]) for k in range(truth.shape[1])]
        figures = quality.judge_tags(
            self.judged, lambda texts: expit(calibration.log_odds(scales, logits_of(texts)))
        )
        return {"figures": figures, "cpu_seconds": sum(spent for _, spent in parts)}

    def _member(self, variant: Variant, seed: int) -> tuple[Tagger, float]:
        """One network as train._network makes it, and the CPU seconds that it took with all it shares."""
        vectors, spent = self.vectors.of(variant)
        shape, state, spent_on_epochs = self._after_epochs(variant, vectors, seed)
        started = time.process_time()
        model = Tagger.restore(shape, state)
        if variant.shares == (1.0,):  # nothing of what is solved for would be left
            return model, spent + spent_on_epochs
        with changed(variant):
            solving.solve_tags(
                model, self.train, self.train.weights, texts=self.texts["train"], word_vectors=vectors,
                validation=self.validation, validation_texts=self.texts["validation"], seed=seed,
                report=lambda _: None,
            )  # fmt: skip
        model.round_to_half()
        return model, spent + spent_on_epochs + time.process_time() - started

    def _after_epochs(
        self, variant: Variant, vectors: pretraining.WordVectors | None, seed: int
    ) -> tuple[Shape, dict[str, NDArray[Any]], float]:
        key = variant.architecture, variant.unlabelled, variant.averaging, seed
        if key not in self.learned:
            started = time.process_time()
            config = Config(architecture=variant.architecture, task=self.judged.task, seed=seed)
            with changed(variant):
                model, _ = train._fit(
                    training=self.train, validation=self.validation, word_vectors=vectors, config=config,
                    report_progress=lambda _: None,
                )  # fmt: skip
            self.learned[key] = model.shape_, model.state(), time.process_time() - started
        return self.learned[key]


@contextmanager
def changed(variant: Variant) -> Iterator[None]:
    """The library without what the variant lacks, while this is open. For these parts it has no setting of its own."""
    fit = fitting.fit

    def fit_with_mean(model: Any, some: Any, held: Any, schedule: fitting.Schedule, report: Any) -> Any:
        return fit(model, some, held, replace(schedule, averaging=True), report)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(solving, "SHARES", variant.shares))
        if not variant.subwords:
            stack.enter_context(mock.patch.object(solving, "LEAST_TEXTS", sys.maxsize))
        if variant.averaging:
            stack.enter_context(mock.patch.object(fitting, "fit", fit_with_mean))
        yield


# --- the whole -------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, action="append", default=[], help="with train.csv and dev.csv")
    parser.add_argument("--unlabelled", type=Path, help="further texts to learn words from")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--only", help="variants, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the variants")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    if options.list:
        print("\n".join(VARIANTS))
        return
    unlabelled = quality.unlabelled_texts(options.unlabelled)
    chosen = chosen_of(options.only, VARIANTS)
    if not unlabelled:
        chosen = [name for name in chosen if VARIANTS[name].unlabelled]
    result: dict[str, Any] = {
        "machine": measuring.machine(), "commit": measuring.commit(), "unlabelled": len(unlabelled),
        "variants": {name: asdict(VARIANTS[name]) for name in chosen}, "sets": {},
    }  # fmt: skip
    for folder in options.folder:
        found = result["sets"].setdefault(folder.name, {})
        judged = files.examples(folder / "train.csv", files.Columns(), validation=folder / "dev.csv")
        baseline = quality.judge_tags(judged, quality.fit_baseline(judged))
        print(f"{folder.name}, {BASELINE}: {baseline[JUDGED]}", flush=True)
        vectors = Vectors(judged, unlabelled)
        for seed in map(int, options.seeds.split(",")):
            run = Run(judged, vectors, seed)
            for name in chosen:
                one = run.variant(VARIANTS[name])
                found.setdefault(name, []).append({"seed": seed, **one})
                print(f"{folder.name}, seed {seed}, {name}: {one['figures'][JUDGED]}", flush=True)
                if options.json:
                    options.json.write_text(json.dumps(result, indent=1))
        print_result(folder.name, baseline, found)


def print_result(folder: str, baseline: quality.Figures, found: dict[str, list[dict[str, Any]]]) -> None:
    print(f"\n{folder}, {JUDGED}: mean ± standard deviation over the seeds")
    print(f"{'variant':36}" + "".join(f"{name:>20}" for name in FIGURES) + f"{'CPU s':>8}")
    print(f"{BASELINE:36}" + "".join(f"{baseline[JUDGED][name]:20.4f}" for name in FIGURES))
    for name, seeds in found.items():
        values = {kind: [one["figures"][JUDGED][kind] for one in seeds] for kind in FIGURES}
        cells = [f"{np.mean(some):.4f} ± {np.std(some):.4f}" for some in values.values()]
        spent = np.mean([one["cpu_seconds"] for one in seeds])
        print(f"{name:36}" + "".join(f"{cell:>20}" for cell in cells) + f"{spent:8.0f}")


if __name__ == "__main__":
    main()
