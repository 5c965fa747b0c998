"""What the steps of benchmarks/scale.py share: the run itself, and how to wait for its jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.installation import Installation, Site
from benchmarks.measuring import CommandFailed, Watch
from benchmarks.scale_table import Figures

POLL_SECONDS = 0.1


@dataclass
class Run:
    """What the steps share."""

    folder: Path
    rows: int
    specific: int
    seed: int
    requests: int
    installation: Installation
    figures: dict[str, Figures]

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    @property
    def total(self) -> int:
        return int(self.installation.value("SELECT count(*) FROM labeling_tweet"))


class CannotMeasure(Exception):
    """This figure cannot be had here; the message says why."""


def ask_now(installation: Installation, task: str) -> None:
    """What the clock does every 15 or 60 seconds, at once."""
    installation.python(f"from labeling import tasks; tasks.{task}()")


def active_jobs(installation: Installation, kind: str = "%") -> int:
    sql = "SELECT count(*) FROM labeling_job WHERE state IN ('queued', 'running') AND kind LIKE %s"
    return int(installation.value(sql, [kind]))


def watching(site: Site) -> Watch:
    return Watch([site.process.pid], postgres=site.installation.postgres)


def wait_until(
    condition: Callable[[], Any], *, seconds: float, every: float = POLL_SECONDS, site: Site | None = None
) -> float:
    """How long it took. Raises CommandFailed, at once when the site has ended."""
    began = time.perf_counter()
    while not condition():
        if site and site.process.poll() is not None:
            raise CommandFailed(f"The installation has ended: see {site.installation.var}/launch.log")
        if time.perf_counter() - began > seconds:
            raise CommandFailed(f"Waited {seconds:,.0f} s in vain")
        time.sleep(every)
    return time.perf_counter() - began
