"""An installation to measure: its servers, its commands, its database, and its pages as people reach them."""

from __future__ import annotations

import http.cookiejar
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from benchmarks import measuring
from benchmarks.measuring import ROOT, Used, say
from tagger_site import embedded
from tagger_site.embedded.layout import layout, secret

START_SECONDS = 180


class Installation:
    """The product with a folder of its own; its servers embedded there, unless DATABASE_URL names another."""

    def __init__(self, var: Path, *, database_url: str = "") -> None:
        self.var = var
        self.is_embedded = not database_url
        self.environment = {
            **os.environ,
            "TAGGER_VAR_DIR": str(var),
            "TAGGER_DEMO": "0",
            "DATABASE_URL": database_url,
            "REDIS_URL": "" if self.is_embedded else os.environ.get("REDIS_URL", ""),
            "DJANGO_SETTINGS_MODULE": "tagger_site.settings",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "DEBUG": "",
        }
        self.postgres: int | None = None  # the main process of the server, where it is on this machine
        self._connection: Any = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """With its servers up and its tables made."""
        self.var.mkdir(parents=True, exist_ok=True)
        servers = self._start_servers() if self.is_embedded else None
        try:
            for arguments in (
                ["migrate", "-v", "0"],
                ["create_team", "-v", "0"],
                ["collectstatic", "--no-input", "-v", "0"],
            ):
                self.manage(*arguments)
            self.postgres = self._postmaster()
            yield
        finally:
            self.disconnect()
            if servers:
                servers.send_signal(signal.SIGINT)
                servers.wait(120)

    def _start_servers(self) -> subprocess.Popen[str]:
        servers = subprocess.Popen(
            [sys.executable, "-m", "tagger_site.embedded"],
            cwd=ROOT, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        assert servers.stdout
        said = []
        for line in servers.stdout:
            said.append(line)
            if " are up: " in line:
                return servers
        raise measuring.CommandFailed("".join(said))

    def remove(self) -> None:
        """Delete its folder. The servers must have stopped."""
        if not self.is_embedded:
            raise ValueError("Only an installation with servers of its own can be deleted.")
        data = layout(self.var).data
        shutil.rmtree(self.var, ignore_errors=True)
        if data != self.var:
            shutil.rmtree(data, ignore_errors=True)

    # Commands ----------------------------------------------------------------------------------------------

    def manage(self, *arguments: str) -> tuple[str, Used]:
        """Run a command of the product to its end: its last line, and what it used."""
        if arguments[0] not in ("migrate", "create_team", "collectstatic"):
            say("manage.py", *arguments)
        output, used = self.run("manage.py", *arguments)
        lines = output.strip().splitlines()
        return lines[-1].strip() if lines else "", used

    def run(self, script: str, *arguments: str) -> tuple[str, Used]:
        command = [sys.executable, str(ROOT / script), *arguments]
        return measuring.run(command, environment=self.environment, postgres=self.postgres)

    def python(self, code: str) -> str:
        """Run a few lines inside Django."""
        return self.manage("shell", "-v", "0", "-c", code)[0]

    # The database ------------------------------------------------------------------------------------------

    def rows(self, sql: str, values: Any = None) -> list[tuple[Any, ...]]:
        with self._connected().cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []

    def value(self, sql: str, values: Any = None) -> Any:
        found = self.rows(sql, values)
        return found[0][0] if found else None

    def checkpoint(self) -> None:
        """Write everything to the disk; needs the embedded server's own superuser."""
        where = layout(self.var)
        connection = psycopg2.connect(
            host=str(where.sockets), port=5432, user="postgres", dbname="tagger",
            password=secret(self.var, "postgres_password"),
        )  # fmt: skip
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        connection.close()

    def cluster_bytes(self) -> dict[str, int]:
        """Bytes on the disk of the whole cluster, and of its log of changes."""
        folder = layout(self.var).postgres
        return {"cluster": _size(folder), "wal": _size(folder / "pg_wal")}

    def _connected(self) -> Any:
        if self._connection is None or self._connection.closed:
            url = self.environment["DATABASE_URL"] or embedded.database_url(self.var)
            self._connection = psycopg2.connect(url)
            self._connection.autocommit = True
        return self._connection

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _postmaster(self) -> int | None:
        """The server's main process; None when it runs on another machine."""
        try:
            parent = psutil.Process(self.value("SELECT pg_backend_pid()")).parent()
        except psutil.Error:
            return None
        return parent.pid if parent and "postgres" in parent.name() else None

    # Web and workers ---------------------------------------------------------------------------------------

    @contextmanager
    def launched(self, **environment: str) -> Iterator[Site]:
        """Web server and workers as `make run` starts them."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = (self.var / "launch.log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "tagger_site.launch"],
            cwd=ROOT, env={**self.environment, "PORT": str(port), **environment},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        site = Site(self, process, f"http://127.0.0.1:{port}")
        try:
            site.wait_until_ready()
            yield site
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)
            log.close()


class Site:
    """A running installation, as a person with a browser reaches it."""

    def __init__(self, installation: Installation, process: subprocess.Popen[bytes], address: str) -> None:
        self.installation, self.process, self.address = installation, process, address
        self._cookies = http.cookiejar.CookieJar()
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/readyz")
                return
            except OSError:
                time.sleep(0.2)
        raise measuring.CommandFailed(
            f"The installation does not start: see {self.installation.var}/launch.log"
        )

    def log_in(self, name: str) -> None:
        """As one of the first accounts, by the password in log-in.txt."""
        lines = (self.installation.var / "log-in.txt").read_text().splitlines()
        password = dict(line.split() for line in lines)[name]
        self.get("/log-in/")
        self.post("/log-in/", {"username": name, "password": password})

    def get(self, path: str) -> str:
        with self._browser.open(f"{self.address}{path}", timeout=120) as answer:
            return str(answer.read().decode())

    def post(self, path: str, fields: dict[str, str], *, file: Path | None = None) -> str:
        """Submit a form, with a file or without; the address that it leads to."""
        token = next((cookie.value for cookie in self._cookies if cookie.name == "csrftoken"), "") or ""
        body, kind = multipart({**fields, "csrfmiddlewaretoken": token}, file)
        request = urllib.request.Request(f"{self.address}{path}", body, {"Content-Type": kind})
        with self._browser.open(request, timeout=600) as answer:
            return str(answer.url).removeprefix(self.address)

    def workers(self) -> list[psutil.Process]:
        """The processes of the workers: each celery worker and the processes that it has started."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                command = " ".join(process.cmdline())
                parents = " ".join(" ".join(parent.cmdline()) for parent in process.parents()[:2])
            except psutil.Error:
                continue
            if re.search(r"celery .*worker", command) or re.search(r"celery .*worker", parents):
                found.append(process)
        return found


def multipart(fields: dict[str, str], file: Path | None, *, field: str = "file") -> tuple[bytes, str]:
    mark = secrets.token_hex(16)
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{field}"; filename="{file.name}"\r\n\r\n'
        parts.append(head.encode() + file.read_bytes() + b"\r\n")
    return b"".join([*parts, f"--{mark}--\r\n".encode()]), f"multipart/form-data; boundary={mark}"


def _size(folder: Path) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:  # a file of the server's, gone in between
                continue
    return total
