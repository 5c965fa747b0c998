"""A scoring worker on a machine of its own is cut off from the network in the middle of a chunk.

The machines are network namespaces with addresses of their own; a small proxy makes the tests' database reachable there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from django.db import connection

from labeling import scoring
from labeling.models import Job, Score, ScoringChunk
from tests import slow_worker
from tests.factories import make_tag, make_tweet, make_version
from tests.services.conftest import wait_until

NAMES = ("tagger-a", "tagger-b")

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="needs root and iproute2"),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def machines() -> Iterator[None]:
    """Two namespaces, each at the end of a cable of its own: 10.98.1.2 and 10.98.2.2; we are 10.98.n.1."""
    try:
        for number, name in enumerate(NAMES, start=1):
            ip("netns", "add", name)
            ip("link", "add", f"{name}-here", "type", "veth", "peer", "name", "there", "netns", name)
            ip("addr", "add", f"10.98.{number}.1/24", "dev", f"{name}-here")
            ip("link", "set", f"{name}-here", "up")
            ip("-n", name, "addr", "add", f"10.98.{number}.2/24", "dev", "there")
            ip("-n", name, "link", "set", "there", "up")
    except subprocess.CalledProcessError as error:
        _remove()
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield
    _remove()


def _remove() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{name}-here"], check=False, capture_output=True)


@pytest.fixture
def port() -> Iterator[int]:
    """Of a proxy to the tests' database, on all our addresses."""
    with socket.create_server(("", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def _serve(server: socket.socket) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:
            return  # closed
        far = _database()
        for a, b in ((near, far), (far, near)):
            threading.Thread(target=_copy, args=(a, b), daemon=True).start()


def _database() -> socket.socket:
    host, port = connection.settings_dict["HOST"] or "localhost", connection.settings_dict["PORT"] or 5432
    if not host.startswith("/"):
        return socket.create_connection((host, int(port)))
    far = socket.socket(socket.AF_UNIX)
    far.connect(f"{host}/.s.PGSQL.{port}")
    return far


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def start_worker(number: int, port: int, *, pause: float) -> subprocess.Popen[bytes]:
    database = connection.settings_dict
    address = (
        f"postgres://{database['USER']}:{quote(database['PASSWORD'] or '', safe='')}"
        f"@10.98.{number}.1:{port}/{database['NAME']}"
    )
    within = ("ip", "netns", "exec", NAMES[number - 1])
    return slow_worker.start(address, pause=pause, tags=["opioids"], within=within)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_cut_off_loses_its_chunk_and_writes_nothing_when_it_is_back(
    machines: None, port: int
) -> None:
    version = make_version(tag_ids=[make_tag("opioids").pk], threshold=0.5)
    for number in range(200):
        make_tweet(f"risk=0.9 opioids {number}")
    leader = start_worker(1, port, pause=0.3)
    cut = None
    try:
        wait_until(lambda: ScoringChunk.objects.filter(state="done").exists())
        cut = start_worker(2, port, pause=2)
        wait_until(lambda: ScoringChunk.objects.filter(state="claimed").count() == 2)
        ip("link", "set", "tagger-b-here", "down")
        assert leader.wait(timeout=60) == 0
        ip("link", "set", "tagger-b-here", "up")
        assert cut.wait(timeout=30) == 0  # sees that the run is done
    finally:
        for process in (leader, cut):
            if process:
                process.kill()
    assert Job.objects.get().state == Job.State.DONE
    assert ScoringChunk.objects.filter(attempt__gt=1).count() == 1
    scored = list(Score.objects.filter(version=version).values_list("tweet_id", flat=True))
    assert (len(scored), len(set(scored))) == (200, 200)
    version.refresh_from_db()
    assert version.score_summary["n"] == 200
    scoring.drop_scores(version)
