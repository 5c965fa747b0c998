"""Run a command against Debian's PostgreSQL and Redis: throw-away servers of our own, on free ports.

    python scripts/with_external_servers.py COMMAND …

With DATABASE_URL and REDIS_URL set, those are used. As root, missing packages are installed with apt-get.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> int:
    command = sys.argv[1:]
    if not command:
        raise SystemExit(__doc__)
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return subprocess.call(command)
    require_packages()
    with tempfile.TemporaryDirectory(prefix="tagger-external-") as folder:
        Path(folder).chmod(0o755)
        with postgres(Path(folder)) as database_url, redis(Path(folder)) as redis_url:
            print(
                f"tagger | External servers: {database_url.split('@')[1]}, {redis_url.split('@')[1]}",
                flush=True,
            )
            return subprocess.call(
                command, env={**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
            )


def require_packages() -> None:
    if postgres_programs() and shutil.which("redis-server"):
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql", "redis-server"]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SystemExit(f"PostgreSQL or Redis is missing. As root: {' '.join(install)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, stdout=subprocess.DEVNULL)
    subprocess.run(install, check=True, env=quiet, stdout=subprocess.DEVNULL)


def postgres_programs() -> Path | None:
    """The newest PostgreSQL of the distribution."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    programs, port, password = postgres_programs(), free_port(), secrets.token_urlsafe(16)
    assert programs
    who = service_user("postgres")
    home = folder / "postgres"
    home.mkdir()
    (home / "password").write_text(password)
    if who:
        for path in (home, home / "password"):
            shutil.chown(path, "postgres", "postgres")
    data = home / "data"
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        data,
        "-U",
        "tagger",
        "-A",
        "scram-sha-256",
        "--pwfile",
        home / "password",
    ]
    subprocess.run(
        [*initdb, "-E", "UTF8", "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, cwd="/", **who
    )
    server: list[str | Path] = [
        programs / "postgres",
        "-D",
        data,
        "-p",
        str(port),
        "-k",
        home,
        "-h",
        "127.0.0.1",
        "-c",
        "fsync=off",
    ]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(server, stdout=log, stderr=log, cwd="/", **who)
    try:
        wait_for(port, process, folder / "postgres.log")
        create: list[str | Path] = [
            programs / "createdb",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "tagger",
            "tagger",
        ]
        subprocess.run(create, check=True, env={**os.environ, "PGPASSWORD": password})
        yield f"postgres://tagger:{password}@127.0.0.1:{port}/tagger"
    finally:
        process.send_signal(2)
        process.wait()


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    port, password = free_port(), secrets.token_urlsafe(16)
    configuration = folder / "redis.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\nappendonly no\n"
    )
    program = shutil.which("redis-server")
    assert program
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([program, str(configuration)], stdout=log, stderr=log)
    try:
        wait_for(port, process, folder / "redis.log")
        yield f"redis://:{password}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def service_user(name: str) -> dict[str, Any]:
    """As root: run as the distribution's service user. Otherwise as whoever we are."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            time.sleep(0.5)
            return
        time.sleep(0.1)
    raise SystemExit(f"A server ended at once:\n{log.read_text()}")


if __name__ == "__main__":
    sys.exit(main())
