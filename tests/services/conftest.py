"""Whole installations in folders of their own, used from processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tagger_site.embedded.layout import CHECKOUT, layout


class Installation:
    """Runs commands as an installation whose var/ is `var`. Holds no server itself."""

    def __init__(self, var: Path, *, as_user: str | None = None) -> None:
        self.var, self.as_user = var, as_user
        settings = {
            "TAGGER_VAR_DIR": str(var),
            "DATABASE_URL": "",
            "REDIS_URL": "",
            "DEBUG": "",
            "TAGGER_DEMO": "0",
        }
        self.environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tagger_site.settings", **settings}

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=CHECKOUT,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **environment: str) -> str:
        process = self.start(*command, **environment)
        output, _ = process.communicate(timeout=180)
        assert process.returncode == 0, output
        return output

    def python(self, code: str) -> str:
        return self.run("-c", code)


def servers_of(var: Path) -> list[psutil.Process]:
    """The keeper and the main processes of the servers of an installation."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            keeper = "tagger_site.embedded.keeper" in process.cmdline()
            mine = keeper and process.environ().get("TAGGER_VAR_DIR") == str(var)
            ours = Path(process.cwd()) in (layout(var).postgres, layout(var).valkey)
            parent = process.parent()
            if mine or (ours and not (parent and parent.cwd() == process.cwd())):  # not PostgreSQL's children
                found.append(process)
        except (psutil.Error, FileNotFoundError):
            continue
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def new_installation() -> Iterator[Installation]:
    """At a path with a space and an umlaut; removed when its servers have stopped."""
    with tempfile.TemporaryDirectory(prefix="tagger tests ü ", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        made = Installation(Path(folder) / "var")
        yield made
        wait_until(lambda: not servers_of(made.var))


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    """One for all tests of a file: each leaves it stopped and whole."""
    with new_installation() as made:
        yield made


@pytest.fixture
def another_installation() -> Iterator[Installation]:
    with new_installation() as made:
        yield made
