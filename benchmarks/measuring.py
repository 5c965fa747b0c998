"""What a command used: seconds, CPU seconds and memory of its processes, those of PostgreSQL apart. Linux only."""

from __future__ import annotations

import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 1.0  # each look at all processes costs some 20 ms
MIB = 1 << 20


@dataclass
class Used:
    """Memory in MiB. `rss` counts pages that processes share once for each of them: more than is really taken."""

    seconds: float
    cpu_seconds: float | None  # of the processes themselves, with their children that have ended
    peak_rss: float  # of all these processes together, at the worst moment
    peak_private: float  # the same without files and shared memory
    processes: int  # most at once
    postgres_cpu_seconds: float | None  # None: the server is on another machine
    postgres_peak_private: float | None  # of all its backends; its shared memory apart

    def as_json(self) -> dict[str, Any]:
        return {name: value if value is None else round(value, 3) for name, value in asdict(self).items()}


class Watch:
    """Samples processes, their descendants, and PostgreSQL while its block runs; `used` says what they took."""

    def __init__(self, roots: list[int], *, postgres: int | None) -> None:
        self.roots, self.postgres = roots, postgres
        self.peak_rss = self.peak_private = self.peak_postgres = 0.0
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, daemon=True)

    def __enter__(self) -> Watch:
        self._began = time.perf_counter()
        self._cpu = _cpu_of_trees(self.roots)
        self._postgres_cpu = _cpu_of_trees([self.postgres]) if self.postgres else 0.0
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        used = self.now()  # the clock stops before the last sample
        self._thread.join()
        self.used = replace(
            used, peak_rss=self.peak_rss / MIB, peak_private=self.peak_private / MIB, processes=self.most,
            postgres_peak_private=self.peak_postgres / MIB if self.postgres else None,
        )  # fmt: skip

    def now(self) -> Used:
        return Used(
            seconds=time.perf_counter() - self._began,
            cpu_seconds=max(0.0, _cpu_of_trees(self.roots) - self._cpu),
            peak_rss=self.peak_rss / MIB,
            peak_private=self.peak_private / MIB,
            processes=self.most,
            postgres_cpu_seconds=_cpu_of_trees([self.postgres]) - self._postgres_cpu
            if self.postgres
            else None,
            postgres_peak_private=self.peak_postgres / MIB if self.postgres else None,
        )

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()
        if not self.most:  # what ends so soon is looked at once, at its end
            self._sample()

    def _sample(self) -> None:
        found = _trees(self.roots)
        memory = [_memory(process) for process in found]
        self.most = max(self.most, len(found))
        self.peak_rss = max(self.peak_rss, sum(rss for rss, _ in memory))
        self.peak_private = max(self.peak_private, sum(private for _, private in memory))
        if self.postgres:
            private = sum(_memory(process)[1] for process in _trees([self.postgres]))
            self.peak_postgres = max(self.peak_postgres, private)


def _trees(roots: list[int]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        try:
            root = psutil.Process(pid)
            found |= {process.pid: process for process in [root, *root.children(recursive=True)]}
        except psutil.Error:
            continue
    return list(found.values())


def _memory(process: psutil.Process) -> tuple[float, float]:
    """Resident bytes; and those of them that belong to no file and to no shared memory."""
    try:
        taken = process.memory_info()
    except psutil.Error:
        return 0.0, 0.0
    return taken.rss, taken.rss - taken.shared


def _cpu_of_trees(roots: list[int]) -> float:
    """User and system seconds of processes and of their children, living and ended."""
    seconds = 0.0
    for process in _trees(roots):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def run(command: list[str], *, environment: dict[str, str], postgres: int | None) -> tuple[str, Used]:
    """What a command prints, and what it used. Raises CommandFailed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    with Watch([process.pid], postgres=postgres) as watch:
        output, _ = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # exact, where samples miss the last moments
    watch.used.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        raise CommandFailed(f"{' '.join(command[-6:])} ended with {process.returncode}: {output[-2_000:]}")
    return output, watch.used


class CommandFailed(Exception):
    """A command of the product did not succeed; the message holds the end of what it printed."""


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit(),
        **{name: _version(name) for name in ("tensorflow", "keras", "django", "pyarrow")},
        "load_before": os.getloadavg()[0],
        "pace": pace(),
    }


def pace() -> dict[str, float]:
    """Seconds of two fixed pieces of work, the best of three: to compare figures of different days and machines.

    A loop in Python, and a sort of four million integers, which goes through memory.
    """

    def best(work: Callable[[], object]) -> float:
        def once() -> float:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began

        return round(min(once() for _ in range(3)), 3)

    numbers = np.random.default_rng(1).integers(1 << 60, size=4_000_000)
    return {
        "python_loop": best(lambda: sum(number * number % 7 for number in range(2_000_000))),
        "sort": best(lambda: np.sort(numbers)),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def end_in_order() -> None:
    """Make SIGTERM end this process like Ctrl-C: what it has started is stopped first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)
