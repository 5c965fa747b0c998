"""One tiny model per architecture and run, trained on invented texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

TAGS = ["opioids", "alcohol", "unheard-of"]
TERMS = r"(?i)\b(?:oxy|percs)\b"

_USERS = ["i", "me and my mate", "we", "my dumb self", "your girl"]
_DID = ["took", "popped", "need", "ran out of", "am craving", "just scored", "did too many", "hid"]
_WHEN = ["tonight", "again", "before work", "at the party", "since monday", "and cannot sleep", "lol"]
_OPIOIDS = ["oxy", "percs", "the blue ones", "some blues"]
_ALCOHOL = ["vodka", "a six pack", "the bottle"]
_NEWS = ["council", "hospital", "teacher", "museum", "weather", "striker", "recipe", "bus line", "festival"]
_DOES = ["announces", "opens", "loses", "reports", "needs", "changes", "wins", "plans"]
_WHAT = ["a new plan", "the game", "a grant for clinics", "two prizes", "more rain", "its garden", "the menu"]


def invented_examples(count: int = 900, seed: int = 1) -> pd.DataFrame:
    """A third DA with tags, a third NDA judged by people, a third drawn negatives. Clearly synthetic."""
    rng = np.random.default_rng(seed)

    def pick(words: list[str]) -> str:
        return str(rng.choice(words))

    rows = []
    for number in range(count):
        kind = number % 3
        opioid = kind == 0 and rng.random() < 0.5
        if kind == 0:
            text = (
                f"{pick(_USERS)} {pick(_DID)} {pick(_OPIOIDS if opioid else _ALCOHOL)} {pick(_WHEN)} {number}"
            )
        else:
            text = f"{pick(_NEWS)} {pick(_DOES)} {pick(_WHAT)} {pick(_WHEN)} {number}"
        judged = kind != 2
        rows.append({
            "id": number, "text": text, "verdict": float(kind == 0), "verdict_weight": 1.0, "tags_weight": 1.0,
            "split": (("train",) * 8 + ("validation", "test"))[(number // 3) % 10],
            "sample": ("people", "people", "negative")[kind],
            "matches_rule": "oxy" in text or "percs" in text,
            "opioids": float(opioid) if judged else np.nan,
            "alcohol": float(kind == 0 and not opioid) if judged else np.nan,
            "unheard-of": 0.0 if judged else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """For each architecture the folder that a training wrote, and its report."""
    from ml.config import Config
    from ml.train import train

    result = {}
    for architecture in ("fast", "accurate", "cascade"):
        out = tmp_path_factory.mktemp(architecture)
        config = Config(
            architecture=architecture,
            epochs=6,
            batch=32,
            rate=0.01,
            term_pattern=TERMS,
            filters=16,
            word_dims=20,
        )
        result[architecture] = out, train(invented_examples(), tags=TAGS, config=config, out=out)
    return result
