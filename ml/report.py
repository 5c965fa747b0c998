"""What a training reports: the figures of network and baseline on the held-out texts, and where they come from."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml import evaluate
from ml.config import Config

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Figures:
    """Probabilities [n, 1 + tags] of the held-out texts."""

    network: NDArray[np.float32]
    network_masked: NDArray[np.float32]
    baseline: NDArray[np.float32]
    baseline_masked: NDArray[np.float32]

    def at(self, rows: NDArray[Any]) -> Figures:
        return Figures(
            self.network[rows], self.network_masked[rows], self.baseline[rows], self.baseline_masked[rows]
        )


def samples_of(
    *,
    test: pd.DataFrame,
    truth: NDArray[np.float32],
    figures: Figures,
    tags: list[str],
    thresholds: list[float | None],
    baseline_thresholds: list[float | None],
    shift: float,
    config: Config,
) -> dict[str, Any]:
    everything = np.ones(len(test), bool)
    people = (test["sample"] == "people").to_numpy()
    no_rule = ~test["matches_rule"].to_numpy(bool)
    terms = "" if config.term_pattern else " There are no rules, so nothing is masked."
    chosen: list[tuple[str, str, NDArray[np.bool_], bool]] = [
        ("test", "All test tweets: what people judged, what came with the import or from rules, specific tweets "
         "taken for DA, and general tweets drawn as NDA that nobody judged.", everything, False),
        ("people", "The test tweets that a person judged.", people, False),
        ("no_rule", "The test tweets that no rule matches.", no_rule, False),
        ("masked", "All test tweets with the rule terms deleted from their text." + terms, everything, True),
    ]  # fmt: skip

    def sample(description: str, rows: NDArray[np.bool_], masked: bool) -> dict[str, Any]:
        part = figures.at(rows)
        network = part.network_masked if masked else part.network
        baseline = part.baseline_masked if masked else part.baseline
        in_mix = network.astype(np.float64)
        in_mix[:, 0] = _moved(in_mix[:, 0], -shift)
        return {
            "description": description,
            "n": int(rows.sum()),
            "network": evaluate.model_figures(tags, truth[rows], network, thresholds, reliability=in_mix)
            | classes(rows, network),
            "baseline": evaluate.model_figures(tags, truth[rows], baseline, baseline_thresholds)
            | classes(rows, baseline),
        }

    def classes(rows: NDArray[np.bool_], probability: NDArray[np.float32]) -> dict[str, Any]:
        if config.task != "classes":
            return {}
        return {"classes": evaluate.class_figures(tags, truth[rows, 1:], probability[:, 1:])}

    return {name: sample(description, rows, masked) for name, description, rows, masked in chosen}


def _moved(probability: NDArray[np.float64], log_odds: float) -> NDArray[np.float64]:
    clipped = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(1 / (1 + np.exp(-(np.log(clipped / (1 - clipped)) + log_odds))))


def loses(sample: dict[str, Any]) -> dict[str, bool]:
    """Whether the network loses to the baseline: the verdict by average precision, the tags by macro F1."""

    def lower(one: float | None, other: float | None) -> bool:
        return other is not None and (one is None or one < other)

    network, baseline = sample["network"], sample["baseline"]
    verdicts = [(model["verdict"] or {}).get("average_precision") for model in (network, baseline)]
    return {
        "verdict_loses": lower(*verdicts),
        "macro_loses": lower(network["macro"]["f1"], baseline["macro"]["f1"]),
    }


def counts_of(examples: pd.DataFrame, truth: NDArray[np.float32], tags: list[str]) -> dict[str, Any]:
    result = {}
    for name in SPLITS:
        rows = (examples["split"] == name).to_numpy()
        origin = examples.loc[rows, "sample"].value_counts()
        verdict = truth[rows, 0]
        result[name] = {
            "examples": int(rows.sum()),
            "da": int((verdict == 1).sum()),
            "nda": int((verdict == 0).sum()),
            "no_verdict": int(np.isnan(verdict).sum()),
            **{key: int(origin.get(key, 0)) for key in ("people", "import", "rule", "assumed", "negative")},
            "matches_rule": int(examples.loc[rows, "matches_rule"].sum()),
            "tags": {tag: int(np.nansum(truth[rows, 1 + k])) for k, tag in enumerate(tags)},
        }
    return result


def write_holdout(path: Path, rows: pd.DataFrame, figures: Figures) -> None:
    pd.DataFrame({
        "id": rows["id"].to_numpy(),
        "split": rows["split"].to_numpy(),
        "p": list(figures.network),
        "p_masked": list(figures.network_masked),
        "baseline_p": list(figures.baseline),
    }).to_parquet(path, index=False)  # fmt: skip


def environment() -> dict[str, str]:
    packages = ("tensorflow-cpu", "tensorflow", "keras", "scikit-learn", "numpy", "pandas")
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return {"python": platform.python_version(), **found}


def plain(value: Any) -> Any:
    """JSON without surprises: NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
