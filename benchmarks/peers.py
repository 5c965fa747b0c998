"""The same steps on the same tweets, one product after the other: this one, Label Studio and doccano.

    python benchmarks/peers.py [--rows 100000] [--rounds 3] [--dir FOLDER] [--json FILE] [--only tagger,label-studio]

Installs the peers from PyPI into virtual environments of their own below FOLDER, runs each as its documentation
starts it, and asks it over HTTP, as a browser does: import (from the file's first byte to the last tweet in the
database), the next tweet to label, a list, a list filtered by a word. Each round imports new rows into every product,
in turn; before the first, each imports two small files, so that no round pays for a program that has just started.
Peers run on SQLite, their default; with --postgres URL, Label Studio and doccano on databases of that server, made and
dropped here. Their telemetry is off. What cannot be installed here is null, with pip's words.
"""

from __future__ import annotations

import argparse
import contextlib
import http.cookiejar
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pyarrow.csv
from psycopg2 import connect

from benchmarks import corpus, measuring
from benchmarks.installation import Installation, Site, multipart
from benchmarks.measuring import Watch, say

PASSWORD = "benchmark-2468"
MAIL = "benchmark@example.com"
TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 300
LABELS = ("DA", "NDA")
WARM_UP_ROWS = 1_000
WARM_UP = range(901, 903)  # numbers of these files
WORDS = ("morning", "sleep", "coffee", "weekend", "thank")  # for the filter; each in about 1 of 300 tweets


class Product(ABC):
    """One product, running, with room for what is imported."""

    name = ""
    roots: list[int]  # its main processes
    postgres: int | None = None

    @abstractmethod
    def running(self) -> contextlib.AbstractContextManager[None]: ...

    @abstractmethod
    def import_file(self, path: Path, rows: int) -> None:
        """Returns when the last row is in the database."""

    @abstractmethod
    def next_tweet(self) -> None: ...

    @abstractmethod
    def first_page(self) -> None: ...

    @abstractmethod
    def filter_by(self, word: str) -> None: ...

    def about(self) -> dict[str, Any]:
        return {}


class Tagger(Product):
    """This product: upload page, mapping page, worker; label page, list of tweets."""

    name = "tagger"

    def __init__(self, folder: Path) -> None:
        self.installation = Installation(folder / "tagger")
        self.queue = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.installation.running(), self.installation.launched() as site:
            self.site: Site = site
            self.roots, self.postgres = [site.process.pid], self.installation.postgres
            site.log_in("admin")
            yield

    def import_file(self, path: Path, rows: int) -> None:
        self.site.get("/imports/new/")
        place = self.site.post("/imports/new/", {"source": "2"}, file=path)
        columns = {f"column-{place}": name for place, name in enumerate(("id", "text", "author", "date"))}
        self.site.post(place, {**columns, "separator": "|", "unknown_tags": "reject"})
        pk = int(place.split("/")[2])
        sql = "SELECT j.state, j.error, i.rows_read FROM labeling_import i JOIN labeling_job j ON j.id = i.job_id WHERE i.id = %s"
        while (found := self.installation.rows(sql, [pk])[0])[0] in ("queued", "running"):
            time.sleep(0.02)
        if found[0] != "done" or found[2] != rows:
            raise measuring.CommandFailed(f"Import ended as {found}")
        self.job_seconds = self.installation.value(
            "SELECT extract(epoch FROM j.finished_at - j.started_at)::float8 FROM labeling_import i"
            " JOIN labeling_job j ON j.id = i.job_id WHERE i.id = %s",
            [pk],
        )

    def next_tweet(self) -> None:
        if not self.queue:
            self.site.get("/queues/new/")
            self.site.post(
                "/queues/new/",
                {"name": "benchmark", "strategy": "random", "size": "1000", "annotators_per_tweet": "1"},
            )
            self.queue = self.installation.value("SELECT max(id) FROM labeling_queue")
            if not self.queue:
                raise measuring.CommandFailed("the queue could not be made")
        self.site.get(f"/queues/{self.queue}/label/")

    def first_page(self) -> None:
        self.site.get("/tweets/")

    def filter_by(self, word: str) -> None:
        self.site.get(f"/tweets/?q={word}")

    def about(self) -> dict[str, Any]:
        version = str(self.installation.value("SHOW server_version"))
        return {"version": measuring.commit(), "database": f"PostgreSQL {version}, embedded"}


class Peer(Product):
    """A product of others, in an environment of its own."""

    package = ""
    also: tuple[str, ...] = ()  # what its package needs to be told today
    home_variable = ""

    def __init__(self, folder: Path, *, postgres_url: str = "") -> None:
        self.folder, self.postgres_url = folder / self.package, postgres_url
        self.python = folder / "environments" / self.package / "bin" / "python"
        self.home = self.folder / "home"
        self.processes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self.cookies = http.cookiejar.CookieJar()
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.project = 0

    @property
    def port(self) -> str:
        return self.address.rsplit(":", 1)[1]

    @property
    def database(self) -> str:
        return f"benchmark_{self.package.replace('-', '_')}"

    def install(self) -> None:
        """Raises CommandFailed with what pip said."""
        if not self.python.exists():
            measuring.run(
                [sys.executable, "-m", "venv", str(self.python.parent.parent)],
                environment=dict(os.environ),
                postgres=None,
            )
        if self.about()["version"]:
            return
        extras = ["psycopg2-binary"] if self.postgres_url else []
        done = subprocess.run(
            [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", self.package, *self.also, *extras],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise measuring.CommandFailed(f"pip install {self.package}: {done.stderr.strip()[-1_500:]}")

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        log = (self.folder / "log.txt").open("ab")
        process = subprocess.Popen(
            command, cwd=self.home, env={**self.environment(), **environment},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def environment(self) -> dict[str, str]:
        """Of this machine's, what has nothing to do with this product's own settings."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        return {**kept, self.home_variable: str(self.home)}

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """An empty folder and, where PostgreSQL is asked for, an empty database; nothing is left running."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.sql(f"DROP DATABASE IF EXISTS {self.database}", f"CREATE DATABASE {self.database}")
        try:
            yield
        finally:
            for process in self.processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in self.processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            self.sql(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def sql(self, *statements: str) -> None:
        if not self.postgres_url:
            return
        connection = connect(self.postgres_url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()

    def database_parts(self) -> dict[str, Any]:
        connection = connect(self.postgres_url)
        parts: dict[str, Any] = {**connection.get_dsn_parameters(), "password": connection.info.password}
        connection.close()
        return parts

    def ask(self, method: str, path: str, body: Any = None, *, file: Path | None = None) -> Any:
        """JSON of an answer."""
        headers = dict(self.headers())
        data: bytes | None = None
        if file:
            data, headers["Content-Type"] = multipart({}, file, field=str(body))
        elif body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(f"{self.address}{path}", data, headers, method=method)
        try:
            with self.browser.open(request, timeout=1_800) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise measuring.CommandFailed(f"{method} {path}: {error.code} {error.read()[:500]!r}") from error
        try:
            return json.loads(text) if text else None
        except ValueError:
            return text

    def headers(self) -> dict[str, str]:
        return {}

    def wait_until_ready(self, path: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.processes[-1].poll() is None:
            try:
                self.browser.open(f"{self.address}{path}", timeout=30).close()
                return
            except urllib.error.HTTPError as error:
                if error.code < 500:  # it answers: not without a log-in, or not there
                    return
            except OSError:
                pass
            time.sleep(0.3)
        raise measuring.CommandFailed(f"{self.name} does not start: see {self.folder}/log.txt")

    def about(self) -> dict[str, Any]:
        code = f"from importlib.metadata import version; print(version('{self.package}'))"
        done = subprocess.run([str(self.python), "-c", code], capture_output=True, text=True, check=False)
        return {"version": done.stdout.strip(), "database": "PostgreSQL" if self.postgres_url else "SQLite"}


class LabelStudio(Peer):
    """`label-studio start`; one project for each round; the import API with a CSV file; the data manager's API."""

    name = package = "label-studio"
    home_variable = "LABEL_STUDIO_BASE_DATA_DIR"

    def environment(self) -> dict[str, str]:
        found = {
            **super().environment(),
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "false",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        }
        if self.postgres_url:
            parts = self.database_parts()
            names = {"USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
            found |= {f"POSTGRE_{name}": str(parts.get(key, "")) for name, key in names.items()}
            found |= {"DJANGO_DB": "default", "POSTGRE_NAME": self.database}
        return found

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.fresh():
            program = str(self.python.parent / "label-studio")
            words = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", self.port]
            account = ["--username", MAIL, "--password", PASSWORD, "--user-token", TOKEN]
            process = self.start(program, *words, *account)
            self.roots = [process.pid]
            self.wait_until_ready("/api/projects/")
            yield

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Token {TOKEN}"}

    def import_file(self, path: Path, rows: int) -> None:
        choices = "".join(f'<Choice value="{label}"/>' for label in LABELS)
        config = f'<View><Text name="text" value="$text"/><Choices name="verdict" toName="text">{choices}</Choices></View>'
        self.project = self.ask("POST", "/api/projects/", {"title": path.name[:50], "label_config": config})[
            "id"
        ]
        began = time.perf_counter()
        answer = self.ask("POST", f"/api/projects/{self.project}/import", "file", file=path)
        self.import_seconds = time.perf_counter() - began
        if answer.get("task_count") != rows:
            raise measuring.CommandFailed(f"Import says {answer}")

    def next_tweet(self) -> None:
        self.ask("GET", f"/api/projects/{self.project}/next/")

    def first_page(self) -> None:
        self.ask("GET", f"/api/tasks?project={self.project}&page=1&page_size=30")

    def filter_by(self, word: str) -> None:
        item = {"filter": "filter:tasks:data.text", "operator": "contains", "value": word, "type": "String"}
        query = urllib.parse.quote(json.dumps({"filters": {"conjunction": "and", "items": [item]}}))
        self.ask("GET", f"/api/tasks?project={self.project}&page=1&page_size=30&query={query}")


class Doccano(Peer):
    """`doccano webserver` and `doccano task`; one project for each round; upload, then its task; the examples' API."""

    name = package = "doccano"
    also = (
        "marshmallow<4",
        "numpy<2",
        "scipy<1.14",
        "scikit-learn<1.6",
    )  # 1.8.4 does not start with newer ones
    home_variable = "DOCCANO_HOME"

    def environment(self) -> dict[str, str]:
        found = {**super().environment(), "DEBUG": "False"}
        if self.postgres_url:
            parts = self.database_parts()
            user = f"{parts['user']}:{urllib.parse.quote(parts['password'] or '', safe='')}"
            host = urllib.parse.quote(parts.get("host", "localhost"), safe="")
            found["DATABASE_URL"] = (
                f"postgres://{user}@{host}:{parts.get('port', 5432)}/{self.database}?sslmode=disable"
            )
        return found

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.fresh():
            program = str(self.python.parent / "doccano")
            account = ("createuser", "--username", "benchmark", "--password", PASSWORD, "--email", MAIL)
            for words in (("init",), account):
                if self.start(program, *words).wait(START_SECONDS):
                    raise measuring.CommandFailed(f"doccano {words[0]} failed: see {self.folder}/log.txt")
            tasks = self.start(program, "task")
            web = self.start(program, "webserver", "--port", self.port)
            self.roots = [web.pid, tasks.pid]
            self.wait_until_ready("/favicon.ico")
            self.ask("POST", "/v1/auth/login/", {"username": "benchmark", "password": PASSWORD})
            yield

    def headers(self) -> dict[str, str]:
        token = next((cookie.value for cookie in self.cookies if cookie.name == "csrftoken"), None)
        return {"X-CSRFToken": token} if token else {}

    def import_file(self, path: Path, rows: int) -> None:
        project = {
            "name": path.name[:50], "description": "benchmark", "guideline": "", "tags": [], "random_order": False,
            "project_type": "DocumentClassification", "resourcetype": "TextClassificationProject",
        }  # fmt: skip
        self.project = self.ask("POST", "/v1/projects", project)["id"]
        began = time.perf_counter()
        upload = self.ask("POST", "/v1/fp/process/", "filepond", file=path)
        order = {"format": "CSV", "task": "DocumentClassification", "uploadIds": [str(upload)], "delimiter": ",",
                 "encoding": "utf_8", "column_data": "text", "column_label": "label"}  # fmt: skip
        task = self.ask("POST", f"/v1/projects/{self.project}/upload", order)["task_id"]
        while not (status := self.ask("GET", f"/v1/tasks/status/{task}"))["ready"]:
            time.sleep(0.05)
        self.import_seconds = time.perf_counter() - began
        count = self.ask("GET", f"/v1/projects/{self.project}/examples?limit=1")["count"]
        if count != rows:
            raise measuring.CommandFailed(f"{count} of {rows} rows are there: {str(status)[:300]}")

    def next_tweet(self) -> None:
        self.ask("GET", f"/v1/projects/{self.project}/examples?limit=1&offset=0&confirmed=false")

    def first_page(self) -> None:
        self.ask("GET", f"/v1/projects/{self.project}/examples?limit=30&offset=0")

    def filter_by(self, word: str) -> None:
        self.ask("GET", f"/v1/projects/{self.project}/examples?limit=30&offset=0&q={word}")


# Measuring ----------------------------------------------------------------------------------------------------


def measure_round(product: Product, path: Path, rows: int, requests: int) -> dict[str, Any]:
    """One import, then so many requests of each kind."""
    with Watch(product.roots, postgres=product.postgres) as watch:
        product.import_file(path, rows)
    # Making the project is not counted, where there is one.
    seconds = getattr(product, "import_seconds", watch.used.seconds)
    figures: dict[str, Any] = {
        "import": {**watch.used.as_json(), "seconds": seconds, "rows_per_second": rows / seconds}
    }
    job = getattr(product, "job_seconds", None)
    figures["import"]["job_rows_per_second"] = rows / job if job else None
    words = iter(WORDS * requests)
    steps: dict[str, Callable[[], None]] = {
        "next": product.next_tweet, "list": product.first_page, "filter": lambda: product.filter_by(next(words)),
    }  # fmt: skip
    for name, step in steps.items():
        step()  # once to warm up
        milliseconds = []
        for _ in range(requests):
            began = time.perf_counter()
            step()
            milliseconds.append((time.perf_counter() - began) * 1000)
        ordered = sorted(milliseconds)
        figures[name] = {
            "p50_ms": statistics.median(ordered),
            "p95_ms": ordered[-(-95 * len(ordered) // 100) - 1],
        }
    return figures


def make_files(folder: Path, rows: int, rounds: int, *, first: int = 1) -> list[Path]:
    """New tweets for each round, the same for every product."""
    paths = []
    for number in range(first - 1, first - 1 + rounds):
        path = folder / f"tweets-{number + 1}.csv"
        if (
            not path.exists()
            or sum(batch.num_rows for batch in pyarrow.csv.open_csv(path, parse_options=LINES)) != rows
        ):
            corpus.write_addition(path, rows, seed=number + 1)
        paths.append(path)
    return paths


LINES = pyarrow.csv.ParseOptions(newlines_in_values=True)


def measure(
    products: list[Product], warm_up: list[Path], files: list[Path], rows: int, requests: int
) -> dict[str, Any]:
    """Round by round, product after product, so that a slow minute of the machine meets all of them."""
    result: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        started: list[Product] = []
        for product in products:
            result[product.name] = {"rounds": []}
            try:
                if isinstance(product, Peer):
                    say(f"installing {product.name}")
                    product.install()
                stack.enter_context(product.running())
                result[product.name] |= product.about()
                started.append(product)
            except (measuring.CommandFailed, OSError) as error:
                result[product.name]["reason"] = str(error)
                say(f"{product.name}: {error}")
        steps = [(path, WARM_UP_ROWS) for path in warm_up] + [(path, rows) for path in files]
        for path, count in steps:
            for product in list(started):
                say(f"{product.name}: {path.name}")
                try:
                    figures = measure_round(product, path, count, requests)
                    if path not in warm_up:
                        result[product.name]["rounds"].append(figures)
                except (measuring.CommandFailed, OSError) as error:
                    result[product.name]["reason"] = str(error)
                    say(f"{product.name}: {error}")
                    started.remove(product)
    return result


FIGURES = (
    ("import, rows/s", ("import", "rows_per_second"), True),
    ("import, the worker's job alone, rows/s", ("import", "job_rows_per_second"), True),
    ("import, CPU seconds", ("import", "cpu_seconds"), False),
    ("import, PostgreSQL's CPU seconds", ("import", "postgres_cpu_seconds"), False),
    ("memory of its processes at most, MiB", ("import", "peak_rss"), False),
    ("next tweet, p50 ms", ("next", "p50_ms"), False),
    ("next tweet, p95 ms", ("next", "p95_ms"), False),
    ("list, p50 ms", ("list", "p50_ms"), False),
    ("filter by a word, p50 ms", ("filter", "p50_ms"), False),
    ("filter by a word, p95 ms", ("filter", "p95_ms"), False),
)


def middle(product: dict[str, Any], step: str, name: str) -> float | None:
    values = [found[step][name] for found in product["rounds"] if found[step][name] is not None]
    return statistics.median(values) if values else None


def print_table(result: dict[str, Any]) -> None:
    """Medians of the rounds, and how many times better this product is."""
    products = result["products"]
    print(
        f"\n{result['rows']:,} rows, {result['rounds']} rounds; medians; in brackets: how many times better Tagger is"
    )
    for name, found in products.items():
        print(f"{name}: {found.get('version')}, {found.get('database')} {found.get('reason', '')[:300]}")
    print(f"{'':40}" + "".join(f"{name:>24}" for name in products))
    for title, (step, name), more_is_better in FIGURES:
        own = middle(products["tagger"], step, name) if "tagger" in products else None
        cells = []
        for product, found in products.items():
            value = middle(found, step, name)
            if value is None:
                cells.append("–")
                continue
            ratio = (own / value if more_is_better else value / own) if own and value else None
            cells.append(f"{value:,.1f}" + (f" ({ratio:.1f} ×)" if ratio and product != "tagger" else ""))
        print(f"{title:40}" + "".join(f"{cell:>24}" for cell in cells))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=20, help="of each kind, in each round")
    parser.add_argument("--dir", type=Path, help="environments, data and files (var/peers)")
    parser.add_argument("--only", default="tagger,label-studio,doccano")
    parser.add_argument(
        "--postgres", default="", metavar="URL", help="run the peers on databases of this server"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    measuring.end_in_order()
    folder = (options.dir or ROOT / "var" / "peers").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    peers = {"label-studio": LabelStudio, "doccano": Doccano}
    products: list[Product] = []
    for name in options.only.split(","):
        products.append(
            Tagger(folder) if name == "tagger" else peers[name](folder, postgres_url=options.postgres)
        )
    for product in products:
        if isinstance(product, Tagger):
            product.installation.remove()
    files = make_files(folder, options.rows, options.rounds)
    warm_up = make_files(folder, WARM_UP_ROWS, len(WARM_UP), first=WARM_UP[0])
    result = {
        "rows": options.rows,
        "rounds": options.rounds,
        "machine": measuring.machine(),
        "products": measure(products, warm_up, files, options.rows, options.requests),
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print_table(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
