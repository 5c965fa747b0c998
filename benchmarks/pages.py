"""Server time of every page: p50, p95 and slowest of many different requests, against the limits we keep.

    python benchmarks/pages.py [--fill 2000000] [--requests 200] [--only flagged] [--json FILE] [--explain]
                               [--team] [--while-scoring]

Measures the configured database as it is, in this process, through Django's test client: middleware, queries and
rendering, without gunicorn and the network; of the pages that are full of tweets, apart as well. No two requests of a case are alike: tags, days, risks, words and places
in the list are drawn anew for each one. The first ten requests of each case do not count, and the
flagged list is read into PostgreSQL's memory before them, as a worker does every two minutes. Labels some tweets of a queue of its own, and an audit, with invented verdicts: do not run it on a database in use.

--fill first makes an empty database big, --team adds to a corpus that is there what a team leaves behind: labels, review
items and queues (benchmarks/pages_data.py). --while-scoring lets `manage.py score --workers 2` of another version run at
the same time, a copy of the active one where there is none, again and again until all is measured. --explain prints the plan of the slowest query of
each case that misses its limit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import secrets
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
import django

from tagger_site import embedded

SERVERS = embedded.use()  # held until the process ends; None where DATABASE_URL and REDIS_URL name others
django.setup()

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks import pages_data
from labeling import annotation, audits, queues, scoring, tasks
from labeling.flagged import PAGE_SIZE
from labeling.flagged_filters import LabelState
from labeling.models import Audit, ModelVersion, Queue, QueueItem, ScoringRun, Source, Tag, Tweet, Verdict
from labeling.score_tables import ScoreTables

ONE, TWO, THREE, TEXT = 60, 150, 400, 300  # ms: flagged under so many filters; any search for words
BUSY = 2.5  # how much longer it may take while a scoring run uses every core
DEEP = 500_000  # rows before page 10,000
DAYS = (7, 30, 365)
# Requests of each kind that do not count: a process compiles templates once, and a server that has just started fetches
# what it keeps in memory afterwards.
AT_FIRST = 10
JUDGED = 300  # tweets of the audit that the page of estimates shows


# What is asked ----------------------------------------------------------------------------------------------


@dataclass
class Corpus:
    """What the random requests are drawn from."""

    version: ModelVersion
    rng: random.Random
    days: list[date] = field(default_factory=list)
    words: dict[str, list[str]] = field(default_factory=dict)  # by how common they are
    places: list[tuple[float, int]] = field(default_factory=list)  # (risk, tweet) at random depth
    deep: list[tuple[float, int]] = field(default_factory=list)  # about 500,000 rows down
    tweets: list[int] = field(default_factory=list)
    judged: list[int] = field(default_factory=list)


def read_corpus(version: ModelVersion, rng: random.Random) -> Corpus:
    listed = f"FROM {ScoreTables(version.pk).listed}"
    days = sorted(date.fromisoformat(day) for day, *_ in version.score_summary["days"] if day)
    first, last = rows("SELECT min(id), max(id) FROM labeling_tweet")[0]
    ids = [rng.randint(first, last) for _ in range(2_000)]
    deep = f"SELECT risk, tweet_id {listed} ORDER BY risk DESC, tweet_id DESC OFFSET %s LIMIT 20000"
    size = rows(f"SELECT count(*) {listed}")[0][0]
    return Corpus(
        version,
        rng,
        days=days,
        words=words_by_frequency(rng),
        places=some(rows(f"SELECT risk, tweet_id {listed} WHERE tweet_id %% 97 = 0"), rng),
        deep=some(rows(deep, [max(0, min(DEEP, size - 20_000))]), rng),
        tweets=[row[0] for row in rows("SELECT id FROM labeling_tweet WHERE id = ANY(%s)", [ids])],
        judged=[row[0] for row in rows("SELECT tweet_id FROM labeling_label LIMIT 2000")],
    )


def some(places: list[tuple[float, int]], rng: random.Random) -> list[tuple[float, int]]:
    return rng.sample(places, min(len(places), 1_000)) or [(1.0, 0)]


def rows(sql: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or [])
        return list(cursor.fetchall())


def words_by_frequency(rng: random.Random) -> dict[str, list[str]]:
    """Of a sample of 40,000 texts: words in 1 % of them and more, in about 1 of 1,000, and in one or two."""
    first, last = rows("SELECT min(id), max(id) FROM labeling_tweet")[0]
    ids = [rng.randint(first, last) for _ in range(40_000)]
    texts = rows("SELECT text FROM labeling_tweet WHERE id = ANY(%s)", [ids])
    counts: dict[str, int] = defaultdict(int)
    for (text,) in texts:
        for word in {word for word in text.lower().split() if word.isascii() and word.isalpha()}:
            counts[word] += 1
    share = {word: count / len(texts) for word, count in counts.items() if len(word) > 1}
    return {
        "common": [word for word, part in share.items() if part >= 0.01],
        "middling": [word for word, part in share.items() if 0.0003 <= part < 0.003],
        "rare": [word for word, part in share.items() if part <= 2 / len(texts)],
    }


Draw = Callable[[Corpus], dict[str, Any]]


def days_of(span: int) -> Draw:
    def draw(corpus: Corpus) -> dict[str, Any]:
        first = corpus.rng.choice(corpus.days)
        return {"date_from": first, "date_to": first + timedelta(span - 1)}

    return draw


def always(**query: Any) -> Draw:
    return lambda corpus: query


def word_of(kind: str) -> Draw:
    return lambda corpus: {"q": corpus.rng.choice(corpus.words[kind])}


def two_words(corpus: Corpus) -> dict[str, Any]:
    return {"q": " ".join(corpus.rng.choice(corpus.words[kind]) for kind in ("common", "middling"))}


# Each filter of the flagged list, with the ways to use it.
FILTERS: dict[str, dict[str, Draw]] = {
    "source": {"": lambda c: {"source": c.rng.choice([1, 2])}},
    "tag": {"": lambda c: {"tag": c.rng.choice(c.version.tag_ids)}},
    "days": {f"{span} days": days_of(span) for span in DAYS},
    "label": {state.value: always(state=state.value) for state in LabelState},
    "risk": {"": lambda c: {"min_risk": round(c.rng.uniform(0.05, 0.9), 4)}},
    "word": {kind: word_of(kind) for kind in ("rare", "middling", "common")} | {"two words": two_words},
}


@dataclass
class Case:
    name: str
    limit: float  # ms, at the 95th percentile
    address: Callable[[Corpus], str]
    role: str = "analyst"
    act: Callable[[Asker], Answer] | None = None  # in place of asking for the address
    most: int = 1_000_000  # requests


def flagged_address(draws: list[dict[str, Draw]]) -> Callable[[Corpus], str]:
    """Half of the requests are first pages, half begin at some place in the list."""

    def address(corpus: Corpus) -> str:
        query: dict[str, Any] = {}
        for ways in draws:
            query |= corpus.rng.choice(list(ways.values()))(corpus)
        if corpus.rng.random() < 0.5:
            query |= after(corpus.rng.choice(corpus.places))
        return f"/flagged/?{urlencode(query)}"

    return address


def after(place: tuple[float, int]) -> dict[str, str]:
    return {"after": f"{place[0]!r}_{place[1]}"}


def flagged_cases() -> Iterator[Case]:
    yield Case("flagged: first page", ONE, lambda c: f"/flagged/?{urlencode({'source': ''})}")
    yield Case(
        "flagged: first page from the floor", ONE, lambda c: f"/flagged/?min_risk={c.rng.uniform(0, 0.1):.6f}"
    )
    yield Case(
        "flagged: page 10,000",
        ONE,
        lambda c: f"/flagged/?{urlencode(after(c.rng.choice(c.deep)))}&min_risk=0",
    )
    for name, ways in FILTERS.items():
        for way, draw in ways.items():
            limit = TEXT if name == "word" else ONE
            yield Case(f"flagged: {name} {way}".rstrip(), limit, flagged_address([{way: draw}]))
    for count, limit in ((2, TWO), (3, THREE)):
        for names in combinations(FILTERS, count):
            yield Case(f"flagged: {' + '.join(names)}", limit, flagged_address([FILTERS[n] for n in names]))


def tweets_address(draw: Draw) -> Callable[[Corpus], str]:
    return lambda corpus: f"/tweets/?{urlencode(draw(corpus))}"


def tweet_cases() -> Iterator[Case]:
    choices: dict[str, Draw] = {
        "source": lambda c: {"source": c.rng.choice([s.label for s in Source])},
        "label": lambda c: {"label": c.rng.choice(["none", "provisional", "judged", "disputed", "review"])},
        "verdict": lambda c: {"verdict": c.rng.choice(["da", "nda", "unsure"])},
        "decided by": lambda c: {"origin": c.rng.choice(["rule", "import", "analyst", "review"])},
        "tag": lambda c: {"tag": c.rng.choice(tag_slugs())},
    }
    yield Case("tweets", ONE, lambda c: f"/tweets/?after={c.rng.choice(c.tweets)}")
    for name, draw in choices.items():
        yield Case(f"tweets: {name}", ONE, tweets_address(draw))
    for kind, draw in FILTERS["word"].items():
        yield Case(f"tweets: word {kind}", TEXT, tweets_address(draw))
    yield Case(
        "tweets: word + any filter",
        TEXT,
        lambda c: (
            f"/tweets/?{urlencode({**c.rng.choice(list(choices.values()))(c), **c.rng.choice(list(FILTERS['word'].values()))(c)})}"
        ),
    )
    yield Case("tweet page", ONE, lambda c: f"/tweets/{c.rng.choice(c.tweets)}/")
    yield Case("tweet page, judged", ONE, lambda c: f"/tweets/{c.rng.choice(c.judged)}/")


def other_cases() -> Iterator[Case]:
    number = "{}"
    yield Case("home", ONE, lambda c: "/")
    yield Case("home of a reviewer", ONE, lambda c: "/", role="reviewer")
    yield Case("queues", ONE, lambda c: "/queues/")
    yield Case("imports", ONE, lambda c: "/imports/", role="reviewer")
    yield Case("models", ONE, lambda c: "/versions/")
    yield Case("estimates, of an audit", 500, lambda c: "/estimates/")
    yield Case("model page", 200, lambda c: f"/versions/{number.format(c.version.number)}/")
    review, states = "/admin/labeling/reviewitem/", ["", "approved", "corrected", "rejected", "all"]
    yield Case("review list", 200, lambda c: f"{review}?p={c.rng.randint(1, 20)}", role="reviewer")
    yield Case(
        "review list, filtered",
        200,
        lambda c: (
            f"{review}?{urlencode({k: v for k, v in {'state': c.rng.choice(states), 'reason__exact': c.rng.choice(['sent', 'model', 'unsure', 'disagreement'])}.items() if v})}"
        ),
        role="reviewer",
    )
    yield Case(
        "admin tweets", 200, lambda c: f"/admin/labeling/tweet/?p={c.rng.randint(1, 20)}", role="admin"
    )
    yield Case(
        "admin tweets, specific", 200, lambda c: "/admin/labeling/tweet/?source__exact=1", role="admin"
    )
    yield Case(
        "admin tweets, search",
        200,
        lambda c: f"/admin/labeling/tweet/?q={c.rng.choice(c.tweets)}",
        role="admin",
    )
    yield Case(
        "admin judgements",
        200,
        lambda c: f"/admin/labeling/annotation/?p={c.rng.randint(1, 20)}",
        role="admin",
    )
    yield Case(
        "admin judgements by origin",
        200,
        lambda c: f"/admin/labeling/annotation/?origin__exact={c.rng.randint(1, 4)}",
        role="admin",
    )


def tag_slugs() -> list[str]:
    return list(Tag.objects.values_list("slug", flat=True))


# Measuring --------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    seconds: float
    cpu_seconds: float  # that this process was at work
    address: str
    tweets: int = 0  # on the page


@dataclass
class Result:
    limit: float
    ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # of this process: what is not the database's
    full_ms: list[float] = field(default_factory=list)  # of the pages with as many tweets as a page holds
    slowest: str = ""

    def add(self, answer: Answer) -> None:
        self.ms.append(answer.seconds * 1000)
        self.cpu_ms.append(answer.cpu_seconds * 1000)
        if answer.tweets >= PAGE_SIZE:
            self.full_ms.append(self.ms[-1])
        if self.ms[-1] == max(self.ms):
            self.slowest = answer.address

    @property
    def figures(self) -> dict[str, Any]:
        return {
            "requests": len(self.ms),
            "p50_ms": statistics.median(self.ms),
            "p95_ms": p95(self.ms),
            "max_ms": max(self.ms),
            "full_pages": len(self.full_ms),
            "full_p95_ms": p95(self.full_ms) if self.full_ms else None,
            "cpu_p50_ms": statistics.median(self.cpu_ms),
            "limit_ms": self.limit,
            "slowest": self.slowest,
        }


def p95(values: list[float]) -> float:
    return sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]


class Asker:
    """Asks for pages as people of each role, and labels in a queue of its own."""

    def __init__(self, corpus: Corpus, label_size: int) -> None:
        self.corpus = corpus
        self.users = {role: make_user(role) for role in ("analyst", "reviewer", "admin")}
        self.clients = {role: Client() for role in self.users}
        for role, client in self.clients.items():
            client.force_login(self.users[role])
        self.queue = queues.create_queue(
            name=f"Benchmark {secrets.token_hex(3)}",
            strategy=Queue.Strategy.RANDOM,
            size=label_size,
            user=None,
        )
        self.shown = self.next_shown(self.clients["analyst"].get(f"/queues/{self.queue.pk}/label/"))
        self.audit = audits.start(corpus.version, labels=JUDGED, user=None)
        self._judge(self.audit)

    def _judge(self, audit: Audit) -> None:
        """What is above the threshold is DA, to every second tweet."""
        edges = [stratum["low"] for stratum in audit.strata if stratum["flagged"]]
        above = set(QueueItem.objects.filter(queue=audit.queue, tweet__scores__version=audit.version,
            tweet__scores__risk__gte=min(edges, default=1)).values_list("tweet_id", flat=True))  # fmt: skip
        ids = set(audit.queue.items.values_list("tweet_id", flat=True))
        da = {tweet_id for tweet_id in above if tweet_id % 2}
        for verdict, chosen in ((Verdict.DA, da), (Verdict.NDA, ids - da)):
            annotation.annotate_many(
                tweet_ids=sorted(chosen), annotator=self.users["analyst"], verdict=verdict
            )

    def make_audit(self) -> Answer:
        started, cpu = time.perf_counter(), time.process_time()
        audit = audits.start(self.corpus.version, labels=1_000, user=None)
        answer = Answer(time.perf_counter() - started, time.process_time() - cpu, "audit of 1,000")
        audit.queue.delete()
        return answer

    def take(self, case: Case) -> Answer:
        return case.act(self) if case.act else self.ask(case)

    def ask(self, case: Case) -> Answer:
        address = case.address(self.corpus)
        return self.timed(address, lambda: self.clients[case.role].get(address))[0]

    @staticmethod
    def timed(address: str, act: Callable[[], Any]) -> tuple[Answer, Any]:
        started, cpu = time.perf_counter(), time.process_time()
        response = act()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
        assert response.status_code == 200, (address, response.status_code)
        return Answer(seconds, cpu_seconds, address, response.content.count(b'class="tweet-text')), response

    def label(self) -> Answer:
        """Submit what is shown and get the next one, as label.js does."""
        address = f"/queues/{self.queue.pk}/label/submit/"
        rng = self.corpus.rng
        tags = rng.sample(self.corpus.version.tag_ids, 2)
        form = {
            "shown": self.shown,
            "verdict": rng.randrange(3),
            "tags": tags,
            "note": "",
            "action": "submit",
        }
        post = self.clients["analyst"].post
        answer, response = self.timed(address, lambda: post(address, form, headers={"HX-Request": "true"}))
        self.shown = self.next_shown(response)
        return answer

    def make_queue(self, strategy: Queue.Strategy) -> Answer:
        tag = self.corpus.rng.choice(self.corpus.version.tag_ids)
        started, cpu = time.perf_counter(), time.process_time()
        queue = queues.create_queue(
            name=f"Benchmark {secrets.token_hex(4)}",
            strategy=strategy,
            size=1_000,
            user=None,
            tag=Tag.objects.get(pk=tag),
        )
        answer = Answer(time.perf_counter() - started, time.process_time() - cpu, strategy.value)
        queue.delete()
        return answer

    @staticmethod
    def next_shown(response: Any) -> str:
        found = re.search(r'name="shown" value="([^"]+)"', response.content.decode())
        assert found, "the benchmark's queue is empty"
        return found[1]

    def close(self) -> None:
        """Judgements stay, as every judgement does; the accounts and the queue are closed."""
        for queue in (self.queue, self.audit.queue):
            queues.set_open(queue, is_open=False)
        User.objects.filter(pk__in=[user.pk for user in self.users.values()]).update(is_active=False)


def make_user(role: str) -> User:
    user = User.objects.create_user(f"benchmark-{role}-{secrets.token_hex(3)}", is_staff=role != "analyst")
    user.groups.add(Group.objects.get(name=role))
    return user


def measure(
    asker: Asker, cases: list[Case], *, requests: int, before: Callable[[], None] = lambda: None
) -> dict[str, Result]:
    """All cases in turn, a few requests each, so that a slow minute of the machine falls on all of them."""
    results = {case.name: Result(case.limit) for case in cases}
    at_once = 10
    for start in range(0, requests, at_once):
        for case in cases:
            for _ in range(min(at_once, requests - start, case.most - start)):
                before()
                results[case.name].add(asker.take(case))
    return results


def acting_cases() -> Iterator[Case]:
    """What changes something: the label page, and new queues of 1,000 tweets, deleted at once."""
    nothing: Callable[[Corpus], str] = lambda corpus: ""  # noqa: E731
    yield Case("label: submit + next", 40, nothing, act=Asker.label)
    for strategy in (
        Queue.Strategy.RANDOM,
        Queue.Strategy.RISK,
        Queue.Strategy.UNCERTAIN,
        Queue.Strategy.DIVERSE,
        Queue.Strategy.RARE_TAG,
        Queue.Strategy.REMAINDER,
    ):
        act = partial(Asker.make_queue, strategy=strategy)
        yield Case(f"new queue: {strategy.value}", 3_000, nothing, act=act, most=5)
    yield Case("new audit", 3_000, nothing, act=Asker.make_audit, most=5)


def explain(asker: Asker, case: Case, address: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        asker.clients[case.role].get(address)
    print(f"\n{case.name}: {address}, {len(queries)} queries")
    slowest = max(queries.captured_queries, key=lambda q: float(q["time"]))
    print(f"  slowest {float(slowest['time']) * 1000:.0f} ms: {' '.join(slowest['sql'].split())[:600]}")
    if slowest["sql"].lstrip()[:4] in ("SELE", "WITH"):
        for (line,) in rows("EXPLAIN (ANALYZE, BUFFERS) " + slowest["sql"].replace("%", "%%")):
            print("    " + line[:200])


# While a scoring run goes on --------------------------------------------------------------------------------


@contextmanager
def scoring_runs() -> Iterator[Callable[[], None]]:
    """`manage.py score --workers 2` of a version that has a model and no scores. Call what it yields before each
    request: where a run has ended, it drops the scores and waits until another one is under way."""
    version = version_to_score()
    command = [sys.executable, str(ROOT / "manage.py"), "score", "--workers", "2"]
    process: subprocess.Popen[bytes] | None = None

    def keep_going() -> None:
        nonlocal process
        if process and process.poll() is None and still_scoring(version):
            return
        end()
        process = subprocess.Popen([*command, "--version", str(version.number)], cwd=ROOT)
        while process.poll() is None and not still_scoring(version):
            time.sleep(0.2)

    def end() -> None:
        if process and process.poll() is None:
            process.send_signal(signal.SIGINT)  # it cancels its job, and ends its helpers
            process.wait()
        scoring.drop_scores(version)

    try:
        keep_going()
        yield keep_going
    finally:
        end()
        if version.note == COPY:
            ScoringRun.objects.filter(version=version).delete()
            version.delete()


COPY = "copy for benchmarks/pages.py"


def version_to_score() -> ModelVersion:
    """A trained version without scores; else a copy of the active one, of the same model file."""
    trained = ModelVersion.objects.ready().exclude(artefact="")
    version = trained.filter(scores_published_at=None).first()
    if version is not None:
        return version
    version = trained.filter(is_active=True).first()
    if version is None:
        sys.exit("--while-scoring needs a version with a model: manage.py train --negatives 20000")
    number = ModelVersion.objects.order_by("-number").values_list("number", flat=True)[0] + 1
    version.pk, version.number, version.job, version.note = None, number, None, COPY
    version.is_active, version.scores_published_at, version.score_summary = False, None, {}
    version.report = ModelVersion.objects.values_list("report", flat=True).get(is_active=True)
    version.save(force_insert=True)
    return version


def still_scoring(version: ModelVersion) -> bool:
    """Its workers are at it: some chunks are done, some are not."""
    run = ScoringRun.objects.filter(version=version).first()
    return bool(
        run and run.chunks.filter(state="done").exists() and run.chunks.exclude(state="done").exists()
    )


# Printing ---------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fill", type=int, metavar="TWEETS", help="first make an empty database this big")
    parser.add_argument("--team", action="store_true", help="first add the work of a team")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--only", default="", help="cases whose name begins so")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--explain", action="store_true")
    parser.add_argument("--while-scoring", action="store_true")
    options = parser.parse_args()
    if options.fill:
        pages_data.fill(options.fill)
    version = ModelVersion.objects.active()
    if version is None or version.scores_published_at is None:
        sys.exit("No version with published scores is active: nothing to measure.")
    if options.team:
        pages_data.work_of_people(version)
    settings.ALLOWED_HOSTS = ["testserver"]
    tasks.keep_list_near()  # as a worker does every two minutes; the server may have started a second ago
    corpus = read_corpus(version, random.Random(options.seed))
    asker = Asker(corpus, label_size=min(queues.MAX_SIZE, options.requests + 50 + AT_FIRST))
    every = [*flagged_cases(), *tweet_cases(), *other_cases(), *acting_cases()]
    cases = [case for case in every if case.name.startswith(options.only)]
    try:
        import_module(
            "tagger_site.wsgi"
        )  # as the web server does: it takes what is loaded from the garbage collector
        for case in cases:
            for _ in range(min(AT_FIRST, max(1, case.most // 100))):
                asker.take(case)
        if options.while_scoring:
            with scoring_runs() as keep_going:
                results = measure(asker, cases, requests=options.requests, before=keep_going)
        else:
            results = measure(asker, cases, requests=options.requests)
        table(results, version, BUSY if options.while_scoring else 1)
        if options.explain:
            for case in cases:
                if not case.act and (figures := results[case.name].figures)["p95_ms"] > case.limit:
                    explain(asker, case, figures["slowest"])
    finally:
        asker.close()
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "tweets": version.score_summary["n"],
                    "flagged": version.score_summary["flagged"],
                    "queue_items": QueueItem.objects.count(),
                    "newest_tweet": Tweet.objects.order_by("-id").values_list("id", flat=True).first(),
                    "while_scoring": options.while_scoring,
                    "pages": {name: result.figures for name, result in results.items()},
                },
                indent=1,
            )
        )


def table(results: dict[str, Result], version: ModelVersion, slack: float) -> None:
    summary = version.score_summary
    print(f"{summary['n']:,} scores of version {version.number}, {summary['flagged']:,} flagged")
    print(f"{'page':36} {'requests':>8} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8} {'cpu ms':>7} {'limit':>6}")
    missed = 0
    for name, result in results.items():
        f = result.figures
        mark = "" if f["p95_ms"] <= f["limit_ms"] * slack else "  MISSED"
        missed += bool(mark)
        print(
            f"{name:36} {f['requests']:8} {f['p50_ms']:8.1f} {f['p95_ms']:8.1f} {f['max_ms']:8.1f}"
            f" {f['cpu_p50_ms']:7.1f}"
            f" {f['limit_ms'] * slack:6.0f}{mark}"
        )
    print(f"{len(results)} cases, {missed} beyond their limit at the 95th percentile")


if __name__ == "__main__":
    main()
