"""`make run`'s launcher, as a process."""

from __future__ import annotations

import http.cookiejar
import re
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.services.conftest import Installation, servers_of, wait_until

pytestmark = pytest.mark.services


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def launched(installation: Installation, port: int) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The launcher, ready, with what it has printed."""
    process = installation.start("-m", "tagger_site.launch", PORT=str(port))
    assert process.stdout
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C stops everything" in line:
                break
        assert process.poll() is None, "".join(lines)
        yield process, lines
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: not servers_of(installation.var))


def log_in(port: int, name: str, password: str) -> tuple[str, Callable[[str], str]]:
    """Log in over plain HTTP with a cookie jar, as a browser on this machine does; returns where it led to."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(jar)

    def get(path: str) -> str:
        return str(opener.open(f"http://127.0.0.1:{port}{path}").read().decode())

    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', get("/log-in/"))
    assert token
    form = {"username": name, "password": password, "csrfmiddlewaretoken": token[1]}
    answer = opener.open(f"http://127.0.0.1:{port}/log-in/", urllib.parse.urlencode(form).encode())
    return answer.url, get


def test_it_starts_everything_and_ctrl_c_ends_everything(installation: Installation) -> None:
    port = free_port()
    with launched(installation, port) as (process, lines):
        children = psutil.Process(process.pid).children(recursive=True)
        log_ins = installation.var / "log-in.txt"
        assert stat.S_IMODE(log_ins.stat().st_mode) == 0o600
        name, password = log_ins.read_text().splitlines()[0].split()
        assert any(password in line for line in lines)
        url, get = log_in(port, name, password)
        assert url == f"http://127.0.0.1:{port}/"
        assert name in get("/")

        second = installation.run("-m", "tagger_site.launch", PORT=str(port))
        assert f"already runs at http://127.0.0.1:{port}/" in second

        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert servers_of(installation.var) == []


def test_a_taken_port_is_said_before_anything_starts(installation: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = installation.start("-m", "tagger_site.launch", PORT=str(port))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Port {port} is taken" in output
    assert servers_of(installation.var) == []


def test_a_killed_launcher_takes_all_along_and_the_next_start_recovers(installation: Installation) -> None:
    port = free_port()
    with launched(installation, port) as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
    assert "Ready after" in installation.run("-m", "tagger_site.launch", "--check", PORT=str(port))


def test_a_killed_worker_is_started_again(installation: Installation) -> None:
    with launched(installation, free_port()) as (process, _):

        def workers() -> list[psutil.Process]:
            children = psutil.Process(process.pid).children()
            alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
            return [child for child in alive if "jobs@%h" in child.cmdline()]

        killed = workers()[0]
        killed.kill()
        wait_until(lambda: any(worker.pid != killed.pid for worker in workers()))
