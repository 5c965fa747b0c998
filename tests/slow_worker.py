"""A scoring worker in a process of its own, slow and impatient enough to be killed or cut off in a test.

python -m tests.slow_worker PAUSE TAG…      PAUSE: seconds that each chunk takes
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tests.fake_predictor import FakePredictor


def start(
    address: str, *, pause: float, tags: Sequence[str], within: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Score the database at `address`; `within` stands before the command."""
    return subprocess.Popen(
        [*within, sys.executable, "-m", "tests.slow_worker", str(pause), *tags],
        env={**os.environ, "DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "tagger_site.settings"},
        cwd=Path(__file__).resolve().parent.parent,
    )


class SlowPredictor(FakePredictor):
    def __init__(self, tags: list[str], pause: float) -> None:
        super().__init__(tags)
        self.pause = pause

    def predict(self, texts: Any) -> np.ndarray:
        time.sleep(self.pause)
        return super().predict(texts)


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from labeling import score_tables, scoring
    from labeling.models import jobs

    pause, *tags = sys.argv[1:]
    vars(scoring)["predictor_of"] = lambda version: SlowPredictor(tags, float(pause))
    scoring.SMALLEST_CHUNK, scoring.IDLE_SECONDS = 10, 0.05
    scoring.CLAIM_STALE_AFTER = timedelta(seconds=4)
    score_tables.SILENCE_SECONDS = scoring.WRITE_SECONDS = 3
    jobs.STALE_AFTER = timedelta(seconds=12)
    call_command("score", workers=1)


if __name__ == "__main__":
    main()
