"""File locks, which the kernel drops however their holder ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO


def open_private(path: Path) -> IO[str]:
    """A file that only this user may open: a lock that others could take would stop us."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")


def try_lock(path: Path, kind: int) -> IO[str] | None:
    """The locked file, or None when somebody else holds it. Closing it gives it back."""
    file = open_private(path)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
