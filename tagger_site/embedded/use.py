"""Using the embedded servers: start them unless they run, and keep them up for as long as this process lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from tagger_site.embedded.layout import CHECKOUT, EmbeddedError, make_folder, var_dir
from tagger_site.embedded.locks import open_private, try_lock


def needed() -> list[str]:
    """The servers that no setting replaces by one of your own."""
    return [
        name
        for name, setting in (("postgres", "DATABASE_URL"), ("valkey", "REDIS_URL"))
        if not os.environ.get(setting)
    ]


class Use:
    """A share in the running servers. They stop when the last share is given back or its process ends."""

    def __init__(self, var: Path, lock: IO[str]) -> None:
        self._var, self._lock = var, lock

    def give_back(self, *, wait: float = 0) -> bool:
        """End this use; wait up to so many seconds for the servers' stop. False when others keep them up."""
        self._lock.close()
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if free := try_lock(self._var / "keeper.lock", fcntl.LOCK_SH):
                free.close()
                return True
            if _others(self._var / "users.lock"):
                return False
            time.sleep(0.05)
        return not wait


def use(
    names: Iterable[str] | None = None,
    *,
    durable: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> Use | None:
    """Start the servers unless they run. None when settings name servers for everything."""
    names = needed() if names is None else list(names)
    if not names:
        return None
    var = var_dir()
    make_folder(var)
    try:
        lock = open_private(var / "users.lock")
    except PermissionError as error:
        raise EmbeddedError(
            f"{var} belongs to another user: start as that user, or set TAGGER_VAR_DIR."
        ) from error
    fcntl.flock(lock, fcntl.LOCK_SH)  # waits while a keeper is stopping its servers
    while (running := _running(var)) is None:
        _start_keeper(var, names, durable=durable, say=say)
    if missing := set(names) - set(running):
        lock.close()
        raise EmbeddedError(
            f"The embedded servers run without {', '.join(sorted(missing))}. End what uses them, then start again."
        )
    return Use(var, lock)


def _running(var: Path) -> list[str] | None:
    """The servers that a keeper runs, as soon as they are ready; None when there is no keeper."""
    while (free := try_lock(var / "keeper.lock", fcntl.LOCK_SH)) is None:
        with contextlib.suppress(FileNotFoundError, ValueError):
            servers: list[str] = json.loads((var / "keeper.json").read_text())["servers"]
            return servers
        time.sleep(0.05)  # another process is starting them
    free.close()
    return None


def _start_keeper(var: Path, names: list[str], *, durable: bool, say: Callable[[str], None]) -> None:
    """Returns when the keeper says that the servers answer, or raises with its last words."""
    options = [] if durable else ["--not-durable"]
    keeper = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "tagger_site.embedded.keeper", *names, *options],
        cwd=CHECKOUT,
        env={**os.environ, "TAGGER_VAR_DIR": str(var)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert keeper.stdout
    words = []
    for line in keeper.stdout:
        words.append(line)
        say(line.rstrip())
    if (var / "keeper.json").exists():
        return
    if keeper.wait():
        raise EmbeddedError("The embedded servers do not start:\n" + "".join(words).strip())


def _others(users: Path) -> bool:
    """Whether anyone but a stopping keeper holds the users' lock."""
    for kind, means in ((fcntl.LOCK_EX, False), (fcntl.LOCK_SH, True)):
        if free := try_lock(users, kind):
            free.close()
            return means
    return False
