"""Starting a server process as the right user, so that it never outlives its keeper."""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from tagger_site.embedded.layout import EmbeddedError, Layout

PR_SET_PDEATHSIG = 1


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """For preexec_fn: Linux sends the signal to the child when its parent dies, however it dies."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)  # loaded here: after the fork nothing may allocate much

    def preexec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, death_signal)

    return preexec


def environment() -> dict[str, str]:
    """A plain environment: the servers need no secret of ours, and no locale."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def start_server(
    layout: Layout, command: list[str], *, log: Path, death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start a server in its own session: a Ctrl-C in the terminal is not meant for it."""
    uid, gid = layout.owner
    other_user = {"user": uid, "group": gid, "extra_groups": []} if layout.user else {}
    with log.open("ab") as output:
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=layout.data,
            env=environment(),
            start_new_session=True,
            preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509  (only calls prctl)
            umask=0o077,
            **other_user,
        )


def own_folder(layout: Layout, folder: Path) -> None:
    """Make a folder that only the servers' user can enter; refuse one that somebody else planted."""
    uid, gid = layout.owner
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, uid, gid)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
            raise EmbeddedError(
                f"{folder} exists and does not belong to the user that the servers run as. Remove it, then start again."
            ) from None
    folder.chmod(0o700)


def open_log(layout: Layout, name: str) -> Path:
    """A log file in var/log; what a start finds above 20 MB is moved aside, once."""
    folder = layout.var / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / name
    if path.exists() and path.stat().st_size > 20_000_000:
        path.replace(path.with_suffix(".log.1"))
    path.touch(mode=0o600)
    return path


def tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop_leftover(pid: int, folder: Path, *, ask: signal.Signals) -> None:
    """End a server whose keeper was killed where Linux's death signal is not known. Leaves other programs alone."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE or Path(process.cwd()) != folder:
            return
        process.send_signal(ask)
        try:
            process.wait(30)
        except psutil.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return


def end(process: subprocess.Popen[bytes], *, ask: signal.Signals, patience: float) -> None:
    """Ask a child to end, wait, and insist."""
    if process.poll() is None:
        process.send_signal(ask)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
