"""How long an analyst waits for the next tweet: from the key Enter to the next tweet painted, in a real browser.

    python benchmarks/label.py [--tweets 100] [--chromium /usr/bin/chromium] [--json FILE]

Measures the configured database as it is: fill one first, for example with benchmarks/pages.py --fill 1200000. Makes a
random queue and a benchmark account, labels by keyboard through gunicorn as it runs in production, then closes both.
The judgements stay, as every judgement does: do not run it on a database that is in use.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright keeps an event loop in this thread
import django

from tagger_site import embedded

SERVERS = embedded.use()  # held until the process ends; None where DATABASE_URL and REDIS_URL name others
django.setup()

from django.contrib.auth.models import Group, User
from django.test import Client
from playwright.sync_api import sync_playwright

from labeling import queues
from labeling.models import Queue, Tweet

PORT = 8765

# The clock starts at the key and stops in the frame after the swap, when the next tweet has been laid out.
WAIT_FOR_NEXT = """() => { window.__next = new Promise((done) => {
    let began;
    const key = (event) => { if (event.code === "Enter") began = performance.now(); };
    document.addEventListener("keydown", key, { capture: true });
    document.body.addEventListener("htmx:afterSwap", () => requestAnimationFrame(() => {
        document.removeEventListener("keydown", key, { capture: true });
        done(performance.now() - began);
    }), { once: true });
}); }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tweets", type=int, default=100)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    user = User.objects.create_user(f"benchmark-{secrets.token_hex(4)}")
    user.groups.add(Group.objects.get(name="analyst"))
    client = Client()
    client.force_login(user)
    queue = queues.create_queue(
        name=f"Benchmark {user.username}", strategy=Queue.Strategy.RANDOM, size=options.tweets + 5, user=None
    )
    server = serve()
    try:
        waits = label(options, queue, client.cookies["sessionid"].value)
    finally:
        server.terminate()
        server.wait()
        Queue.objects.filter(pk=queue.pk).update(is_open=False)
        User.objects.filter(pk=user.pk).update(is_active=False)
    result = {
        "tweets_in_database": Tweet.objects.count(),
        "labelled": len(waits),
        "median_ms": statistics.median(waits),
        "p95_ms": sorted(waits)[round(0.95 * len(waits)) - 1],
    }
    print(
        "{labelled} tweets labelled among {tweets_in_database:,}: next tweet after {median_ms:.0f} ms (median), "
        "{p95_ms:.0f} ms (95th percentile)".format(**result)
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))


def serve() -> subprocess.Popen[bytes]:
    """gunicorn, as `make run` starts it, on a port of its own."""
    command = ["-m", "gunicorn", "tagger_site.wsgi", "-b", f"127.0.0.1:{PORT}", "-k", "gthread", "-w", "1"]
    server = subprocess.Popen(
        [sys.executable, *command, "--threads", "4", "--log-level", "warning"], cwd=ROOT
    )
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=1)
        except OSError:
            time.sleep(0.2)
        else:
            return server
    sys.exit("The web server did not start.")


def label(options: argparse.Namespace, queue: Queue, session: str) -> list[float]:
    """Milliseconds for each tweet; the first three warm the caches and are left out."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    waits: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=flags)
        context = browser.new_context()
        context.add_cookies([{"name": "sessionid", "value": session, "url": f"http://127.0.0.1:{PORT}"}])
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{PORT}/queues/{queue.pk}/label/")
        for number in range(options.tweets + 3):
            page.evaluate(WAIT_FOR_NEXT)
            for key in ("n", str(1 + number % 9), "Enter"):
                page.keyboard.press(key)
            waits.append(page.evaluate("window.__next"))
        browser.close()
    return waits[3:]


if __name__ == "__main__":
    main()
