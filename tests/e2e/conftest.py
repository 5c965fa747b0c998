"""A real browser against a live server, and a real Celery worker on the real broker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connection

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = Path(__file__).resolve().parents[2]

# Playwright's synchronous API keeps an event loop in this thread; Django's guard against that is for servers.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    quiet = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": quiet}


@pytest.fixture(autouse=True)
def no_request_outlives_its_test(transactional_db: None, live_server: Any) -> Iterator[None]:
    """The page's last request, sent as it closes, and the emptying of the tables between tests would block each other.

    Set up before the page, so it ends after it. The answer to one more connection says that all earlier ones have
    their thread.
    """
    yield
    urllib.request.urlopen(f"{live_server.url}/static/labeling/icon.svg", timeout=10).close()
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(10)
            assert not thread.is_alive(), "a request takes longer than its test"


def database_url() -> str:
    """The test database, as a URL for another process."""
    db = connection.settings_dict
    auth = f"{quote(db['USER'])}:{quote(db['PASSWORD'])}@" if db["USER"] else ""
    host = quote(db["HOST"], safe="") if db["HOST"].startswith("/") else db["HOST"]
    port = f":{db['PORT']}" if db["PORT"] else ""
    return f"postgres://{auth}{host}{port}/{db['NAME']}"


@pytest.fixture
def worker(transactional_db: None, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One Celery worker process that takes both queues and works on the test database."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "TAGGER_MEDIA_ROOT": str(settings.MEDIA_ROOT),
    }
    log = (tmp_path / "worker.log").open("wb")
    command = [sys.executable, "-m", "celery", "-A", "tagger_site", "worker", "-Q", "jobs,score", "-c", "1"]
    process = subprocess.Popen(
        [*command, "--without-gossip", "--without-mingle", "-l", "INFO"],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    yield process
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    log.close()
