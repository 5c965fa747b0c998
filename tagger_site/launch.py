"""`make run`: services, database, first-time demo, web and workers as one foreground process.

python -m tagger_site.launch [--check]     --check: start everything, see that it answers, stop
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tagger_site import embedded, inline_pool
from tagger_site.embedded.layout import CHECKOUT, make_folder
from tagger_site.embedded.locks import try_lock
from tagger_site.supervisor import Program, Supervisor, show

DEMO_STEPS = {
    "make_demo": ["make_demo"],
    "train": ["train", "--architecture", "fast", "--activate"],  # scores everything, too
    "queues": ["make_demo", "--queues"],  # the most uncertain tweets are known only now
}
SCORE_MEMORY_KB = 1_500_000  # a scoring process that has grown beyond it is replaced after its task
MANAGE = [sys.executable, str(CHECKOUT / "manage.py")]


class LaunchError(Exception):
    """The installation cannot start; the message says why and what to do."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--check", action="store_true", help="start everything, see that it answers, stop")
    check = options.parse_args().check
    try:
        return launch(check=check)
    except (LaunchError, embedded.EmbeddedError) as error:
        say(str(error))
        return 1


def launch(*, check: bool) -> int:
    os.umask(0o077)  # what the programs write is nobody else's to read
    began = time.monotonic()
    var, host, port = embedded.var_dir(), os.environ.get("BIND", "127.0.0.1"), _port()
    make_folder(var)
    lock = try_lock(var / "launch.lock", fcntl.LOCK_EX)
    if lock is None:
        _say_that_it_runs(var)
        return 0
    _require_free(host, port)
    (var / "launch.json").write_text(json.dumps({"pid": os.getpid(), "address": _address(host, port)}))
    supervisor = Supervisor(folder=CHECKOUT, environment=_environment())
    share = None
    try:
        share = _start_services()
        _prepare(supervisor, var)
        if not supervisor.is_stopping():
            _start_programs(supervisor, var, host=host, port=port)
            _wait_until_ready(supervisor, port)
        if not supervisor.is_stopping():
            _say_welcome(var, _address(host, port), began)
            supervisor.watch(3 if check else None)
    finally:
        say("Stopping …")
        supervisor.stop()
        (var / "launch.json").unlink(missing_ok=True)
        if share and not share.give_back(wait=90):
            say("Another command still uses the database; it stops when that command ends.")
        lock.close()
        say("Stopped.")
    return 0


def say(text: str) -> None:
    for line in text.splitlines() or [""]:
        show("tagger", line, colour=1)


# Before anything starts ----------------------------------------------------------------------------------


def _port() -> int:
    text = os.environ.get("PORT") or "8000"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise LaunchError(f"PORT={text} is not a port; it must be a number from 1 to 65535.")
    return int(text)


def _address(host: str, port: int) -> str:
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/"  # noqa: S104


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchError(
                    f"Port {port} is taken by another program. Choose another: make run PORT={port + 1}"
                ) from error
            raise LaunchError(f"Cannot listen on {host}:{port}: {error.strerror}.") from error


def _say_that_it_runs(var: Path) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        running = json.loads((var / "launch.json").read_text())
        say(f"Tagger already runs at {running['address']} (process {running['pid']}). Ctrl-C there stops it.")
        return
    say("Tagger is already starting in another terminal.")


def _environment() -> dict[str, str]:
    """What the programs get. A value that you set yourself wins."""
    return {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONUNBUFFERED": "1",
        "CELERY_CUSTOM_WORKER_POOL": inline_pool.POOL,  # of the worker "background"
        "REMAP_SIGTERM": "SIGQUIT",  # a worker does not finish an hour of training before it stops
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges",  # it takes JSON only
        **os.environ,
    }


# Step by step --------------------------------------------------------------------------------------------


def _start_services() -> embedded.Use | None:
    if not embedded.needed():
        say("Using the database and the broker of DATABASE_URL and REDIS_URL")
        return None
    began = time.monotonic()
    share = embedded.use(say=lambda text: say(f"  {text}"))
    names = {"postgres": "PostgreSQL", "valkey": "Valkey"}
    place = embedded.describe(embedded.var_dir())
    say(f"{' and '.join(names[name] for name in embedded.needed())} up in {_since(began)}: {place}")
    return share


def _prepare(supervisor: Supervisor, var: Path) -> None:
    for title, arguments in (
        ("Database tables", ["migrate", "--no-input", "-v", "0"]),
        ("Static files", ["collectstatic", "--no-input", "-v", "0"]),
        ("Accounts", ["create_team", "-v", "0"]),
    ):
        if not _step(supervisor, title, arguments):
            raise LaunchError(f"{title}: failed, see above.")
    _prepare_demo(supervisor, var)


def _step(supervisor: Supervisor, title: str, arguments: list[str]) -> bool:
    if supervisor.is_stopping():
        return True
    began = time.monotonic()
    code = supervisor.run(arguments[0][:7], [*MANAGE, *arguments])
    if supervisor.is_stopping():
        return True
    say(f"{title}: {'ready' if code == 0 else 'failed'} after {_since(began)}")
    return code == 0


def _prepare_demo(supervisor: Supervisor, var: Path) -> None:
    """The first start of an empty installation imports, trains and scores a demo; the next goes on where it broke off."""
    progress = var / "demo.json"
    done: list[str] = json.loads(progress.read_text()) if progress.exists() else []
    if os.environ.get("TAGGER_DEMO", "1").lower() in ("0", "false", "no") or supervisor.is_stopping():
        return
    if not progress.exists() and not (_has_command("make_demo") and _is_empty()):
        return
    progress.write_text(json.dumps(done))
    for name, arguments in DEMO_STEPS.items():
        if name in done:
            continue
        if not _step(supervisor, f"Demo, {name}", arguments):
            say("The demo is not complete; everything else works. The next start tries it again.")
            return
        if supervisor.is_stopping():
            return
        done.append(name)
        progress.write_text(json.dumps(done))


def _is_empty() -> bool:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
    django.setup()
    from django.db import connections

    from labeling.models import Tweet

    empty = not Tweet.objects.exists()
    connections.close_all()
    return empty


def _has_command(name: str) -> bool:
    return (CHECKOUT / "labeling" / "management" / "commands" / f"{name}.py").exists()


# Web and workers -----------------------------------------------------------------------------------------


def programs(var: Path, *, host: str, port: int) -> list[Program]:
    """The processes of an installation. docs/deploying.md runs the same ones in containers."""
    cores = os.cpu_count() or 1
    celery = [sys.executable, "-m", "celery", "--quiet", "-A", "tagger_site"]
    worker = [*celery, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    return [
        Program(
            "web",
            [
                *(sys.executable, "-m", "gunicorn", "tagger_site.wsgi", "--bind", f"{host}:{port}"),
                *("--worker-class", "gthread", "--workers", "2", "--threads", "6"),
                *("--graceful-timeout", "5", "--log-level", "warning"),
            ],
        ),
        Program(
            "jobs", [*worker, "--queues", "jobs", "--hostname", "jobs@%h", "--concurrency", "1"], niceness=5
        ),
        Program(
            "score",
            [
                *(*worker, "--queues", "score", "--hostname", "score@%h", "--concurrency", str(cores)),
                *("--max-memory-per-child", str(SCORE_MEMORY_KB)),
            ],
            niceness=10,
        ),
        Program(  # waits for PostgreSQL most of its time: one process is enough
            "background",
            [*worker, "--queues", "background", "--hostname", "background@%h", "--pool", "custom"],
            niceness=10,
        ),
        Program(
            "beat",
            [
                *celery,
                "beat",
                "--loglevel",
                "WARNING",
                "--schedule",
                str(var / "beat-schedule"),
                "--pidfile=",
            ],
        ),
    ]


def _start_programs(supervisor: Supervisor, var: Path, *, host: str, port: int) -> None:
    say("Starting web server and workers")
    for program in programs(var, host=host, port=port):
        supervisor.start(program)


def _wait_until_ready(supervisor: Supervisor, port: int) -> None:
    """/readyz answers: the pages work, the database and the broker are there."""
    bind = os.environ.get("BIND", "127.0.0.1")
    host = "127.0.0.1" if bind == "0.0.0.0" else bind  # noqa: S104
    request = urllib.request.Request(f"http://{host}:{port}/readyz", headers={"Host": "localhost"})
    deadline = time.monotonic() + 120
    while not supervisor.is_stopping():
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):  # noqa: S310
            return
        if time.monotonic() > deadline:
            raise LaunchError("The web server does not answer after two minutes; its messages are above.")
        supervisor.watch(0.2)


def _say_welcome(var: Path, address: str, began: float) -> None:
    log_ins = var / "log-in.txt"
    say("")
    say(f"Ready after {_since(began)}:  {address}")
    if log_ins.exists():
        say(f"Log in as ({log_ins}):")
        for line in log_ins.read_text().splitlines():
            say(f"    {line}")
    if os.environ.get("BIND", "127.0.0.1") not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(
        "HTTPS"
    ):
        say(
            "Others can reach this address, and passwords travel in the clear: docs/deploying.md shows how to add TLS."
        )
    say("Ctrl-C stops everything.")
    say("")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
