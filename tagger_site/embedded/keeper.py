"""The keeper: one background process that runs the embedded servers for as long as anyone uses them.

Everyone who uses the servers holds a shared lock on one file, which the kernel drops however a process ends.
When the keeper gets the exclusive lock, nobody is left, and it stops the servers.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO

from tagger_site.embedded.layout import LAYOUT_FILE, EmbeddedError, Layout, layout, save_layout, var_dir
from tagger_site.embedded.locks import try_lock
from tagger_site.embedded.postgres import Postgres
from tagger_site.embedded.processes import open_log
from tagger_site.embedded.valkey import Valkey

Server = Postgres | Valkey
SERVERS: dict[str, type[Server]] = {"postgres": Postgres, "valkey": Valkey}
POLL_SECONDS = 0.2


def keep(var: Path, names: list[str], *, durable: bool) -> None:
    """Start the servers, restart what dies, stop when nobody uses them any more."""
    lock = try_lock(var / "keeper.lock", fcntl.LOCK_EX)
    if lock is None:
        return  # another keeper was faster
    state = var / "keeper.json"
    state.unlink(missing_ok=True)
    found = layout(var)
    _set_aside_what_was_abandoned(found, durable=durable)
    found.data.mkdir(parents=True, exist_ok=True)
    save_layout(found)
    servers = [SERVERS[name](found, durable=durable, say=_say) for name in names]
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        for server in servers:
            server.start()
        state.write_text(json.dumps({"pid": os.getpid(), "servers": names}))
        _fall_silent(open_log(found, "keeper.log"))
        # Held until this process ends: a newcomer waits for the stop, then starts a keeper of its own.
        unused = _watch(servers, var / "users.lock", state=state)  # noqa: F841
    finally:
        state.unlink(missing_ok=True)
        for server in servers:
            server.stop()


def _watch(servers: list[Server], users: Path, *, state: Path) -> IO[str]:
    """Returns the lock when the last user has gone."""
    crashes: list[float] = []
    while (unused := try_lock(users, fcntl.LOCK_EX)) is None:
        for server in servers:
            if server.process and server.process.poll() is not None:
                crashes = [moment for moment in crashes if time.monotonic() - moment < 60]
                crashes.append(time.monotonic())
                _say(f"{server.name} ended with code {server.process.returncode}")
                if len(crashes) > 5:
                    raise EmbeddedError(f"{server.name} keeps ending; see {server.log}")
                announcement = state.read_text()
                state.unlink()  # newcomers wait until it answers again
                server.start()
                state.write_text(announcement)
        time.sleep(POLL_SECONDS)
    return unused


def _set_aside_what_was_abandoned(found: Layout, *, durable: bool) -> None:
    """Data outside var/ outlives a removed checkout; a new one at the same path has other passwords."""
    if found.data == found.var or (found.var / LAYOUT_FILE).exists() or not found.data.exists():
        return
    Postgres(found).stop_leftover()
    Valkey(found).stop_leftover()
    if not durable:
        shutil.rmtree(found.data)
        return
    aside = found.data.with_name(f"{found.data.name}-{time.strftime('%Y%m%d%H%M%S')}")
    found.data.rename(aside)
    _say(f"{found.data} was left by an installation that is gone; it is now {aside}")


def _leave(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)
    raise SystemExit(0)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  (read by the process that started the keeper)


def _fall_silent(log: Path) -> None:
    """Let go of the pipe to the process that started us; its end of file means: ready."""
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)


def main() -> None:
    # Whoever starts a keeper may block signals for itself; a server that inherits that cannot be asked to end.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    names = [name for name in sys.argv[1:] if name in SERVERS]
    try:
        keep(var_dir(), names, durable="--not-durable" not in sys.argv)
    except EmbeddedError as error:
        _say(str(error))
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
