"""How long the flagged page takes under each single filter: best, p50 and p95 of whole requests,
rendering included.

    python benchmarks/pages.py [--fill 1200000] [--repeat 20] [--json FILE] [--explain]

It measures the configured database (DATABASE_URL) as it is, in this process, through Django's test client.
--fill first makes an empty database big: synthetic tweets, scores of a stand-in model, some labels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
import django

from tagger_site import embedded

SERVERS = embedded.use()  # held until the process ends; None where DATABASE_URL and REDIS_URL name others
django.setup()

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from labeling import flagged, jobs, labels, scoring, versions
from labeling.models import ModelVersion, Tag, Tweet
from labeling.score_tables import ScoreTables

TAGS = 25

# Words by Zipf's law, made of digits turned to letters: about 12 to 19 a tweet, as long as real ones.
FILL = """
CREATE FUNCTION pg_temp.words(n bigint) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(translate(floor(60000 * random()^5)::int::text, '0123456789', 'etaoinshrd'), ' ')
    FROM generate_series(1, 13 + (n %% 8)::int) $$;
INSERT INTO labeling_tweet (source, import_id, external_id, text, posted_at, dedupe_key, group_hash)
SELECT CASE WHEN n %% 60 = 0 THEN 1 ELSE 2 END, 1, n::text, pg_temp.words(n),
       CASE WHEN n %% 10 <> 3 THEN now() - random() * interval '365 days' END, n, n * 7919
FROM generate_series(1::bigint, %s) n;
"""
ANNOTATE = """
INSERT INTO labeling_annotation (tweet_id, origin, verdict, tag_ids, note, created_at)
SELECT tweet_id, CASE WHEN n % 10 = 0 THEN 4 ELSE 3 END, n % 3, NULL, '', now()
FROM (SELECT tweet_id, row_number() OVER () AS n FROM {scores} WHERE risk >= 0.05 ORDER BY random() LIMIT 3000) s
UNION ALL
SELECT id, 1, NULL, ARRAY[1], '', now() FROM labeling_tweet WHERE source = 1
RETURNING tweet_id
"""


class StandIn:
    """Risks of which about 1.5 % are flagged, tags that about 3 % of the tweets deserve."""

    def __init__(self, tags: list[str]) -> None:
        self.tags = tags
        self.thresholds: dict[str, Any] = {"DA": 0.3, "tags": dict.fromkeys(tags, 0.97)}
        self.random = np.random.default_rng(1)

    def predict(self, texts: Any) -> np.ndarray:
        p = self.random.random((len(texts), 1 + len(self.tags)), dtype=np.float32)
        p[:, 0] = 1 / (1 + np.exp(4.2 - 1.5 * self.random.standard_normal(len(texts))))
        return p

    def words(self, texts: Any) -> list[list[tuple[int, int, float]]]:
        return [[(0, 4, 0.8), (6, 10, -0.3)] for _ in texts]


def fill(tweets: int) -> None:
    if Tweet.objects.exists():
        sys.exit("--fill is for an empty database: this one has tweets.")
    print(f"Making {tweets:,} tweets …")
    with connection.cursor() as cursor:
        cursor.execute(FILL, [tweets])
        cursor.execute("SELECT gin_clean_pending_list('tweet_search_0')")
    make_scores()


def make_scores() -> None:
    print("Scoring with a stand-in …")
    stand_in = StandIn([f"tag {n}" for n in range(TAGS)])
    tags = [
        Tag.objects.get_or_create(slug=f"tag-{n}", defaults={"name": f"tag {n}", "position": n})[0]
        for n in range(TAGS)
    ]
    number = (ModelVersion.objects.values_list("number", flat=True).first() or 0) + 1
    version = ModelVersion.objects.create(
        number=number, state="ready", threshold=0.3, tag_ids=[tag.pk for tag in tags], note="stand-in"
    )
    scoring.predictor_of = lambda version: stand_in  # type: ignore[attr-defined]
    run = scoring.start_run(version, user=None, activates=False)
    job = jobs.run_job(run.job_id or 0, scoring.work)
    assert job is not None
    assert job.state == "done", job.error
    version.refresh_from_db()
    versions.activate(version, user=None)
    with connection.cursor() as cursor:
        cursor.execute(ANNOTATE.format(scores=ScoreTables(version.pk).score))
        ids = [row[0] for row in cursor.fetchall()]
        labels.derive_labels(ids)
        cursor.execute(
            "INSERT INTO labeling_reviewitem (tweet_id, reason, state, note, created_at)"
            " SELECT DISTINCT unnest(%s::bigint[]), 'sent', 'open', '', now()",
            [ids[:400]],
        )
        cursor.execute("VACUUM ANALYZE")


def filters_of(version: ModelVersion) -> dict[str, str]:
    """One address for each single filter, with rare, middling and common values."""
    last = date.fromisoformat(max(day for day, *_ in version.score_summary["days"] if day))
    commonest, middling, rare = words()
    found = {
        "none": "",
        "risk ≥ 0.05": "min_risk=0.05",
        "risk ≥ 0.9": "min_risk=0.9",
        "source specific": "source=1",
        "source general": "source=2",
        "one day": f"date_from={last - timedelta(3)}&date_to={last - timedelta(3)}",
        "seven days": f"date_from={last - timedelta(7)}&date_to={last}",
        "half a year": f"date_from={last - timedelta(180)}&date_to={last}",
        "a day, risk ≥ 0": f"date_from={last - timedelta(3)}&date_to={last - timedelta(3)}&min_risk=0",
        "tag": f"tag={version.tag_ids[0]}",
        "tag + source + month": f"tag={version.tag_ids[0]}&source=1&date_from={last - timedelta(30)}",
        f"word {commonest} (very common)": f"q={commonest}",
        f"word {middling} (middling)": f"q={middling}",
        f"word {rare} (rare)": f"q={rare}",
        "phrase of two common words": f'q="{commonest}+{middling}"',
        "word that nobody wrote": "q=zzzzqqqq",
    }
    return found | {f"label {state.value}": f"state={state.value}" for state in flagged.LabelState}


def words() -> tuple[str, str, str]:
    """A very common, a middling and a rare word of a sample of the texts."""
    counts: dict[str, int] = {}
    for text in Tweet.objects.order_by("id").values_list("text", flat=True)[:20_000]:
        for word in set(text.lower().split()):
            if word.isalpha() and len(word) > 1:
                counts[word] = counts.get(word, 0) + 1
    ranked = sorted(counts, key=lambda word: -counts[word])
    middling = min(ranked, key=lambda word: abs(counts[word] - 200))
    return ranked[0], middling, next(word for word in reversed(ranked) if counts[word] >= 2)


def measure(client: Client, query: str, repeat: int) -> tuple[list[float], int]:
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        response = client.get(f"/flagged/?{query}")
        seconds.append(time.perf_counter() - started)
        assert response.status_code == 200, (query, response.status_code)
    with CaptureQueriesContext(connection) as queries:
        client.get(f"/flagged/?{query}")
    return seconds, len(queries)


def explain(client: Client, query: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        client.get(f"/flagged/?{query}")
    slowest = max(queries.captured_queries, key=lambda q: float(q["time"]))
    print(
        f"    slowest query {float(slowest['time']) * 1000:.0f} ms: {' '.join(slowest['sql'].split())[:400]}"
    )
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS) " + slowest["sql"])
        print("\n".join("    " + row[0][:160] for row in cursor.fetchall()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fill", type=int, metavar="TWEETS", help="first make an empty database this big")
    parser.add_argument(
        "--stand-in-scores", action="store_true", help="score the tweets there are with a stand-in"
    )
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument(
        "--explain", action="store_true", help="print the plan of what takes longer than 100 ms"
    )
    options = parser.parse_args()
    if options.fill:
        fill(options.fill)
    elif options.stand_in_scores:
        make_scores()
    version = ModelVersion.objects.active()
    if version is None or version.scores_published_at is None:
        sys.exit("No version with published scores is active: nothing to measure.")
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()
    user = User.objects.create_user("benchmark-pages")
    user.groups.add(Group.objects.get(name="analyst"))
    client = Client()
    client.force_login(user)
    summary = version.score_summary
    print(f"{summary['n']:,} scores of version {version.number}, {summary['flagged']:,} flagged")
    print(f"{'filter':34} {'best ms':>8} {'p50 ms':>8} {'p95 ms':>8} {'queries':>8}")
    results: dict[str, dict[str, Any]] = {}
    try:
        for name, query in filters_of(version).items():
            seconds, queries = measure(client, query, options.repeat)
            p50 = statistics.median(seconds) * 1000
            p95 = sorted(seconds)[max(0, round(0.95 * len(seconds)) - 1)] * 1000
            results[name] = {
                "query": query,
                "best_ms": min(seconds) * 1000,
                "p50_ms": p50,
                "p95_ms": p95,
                "queries": queries,
            }
            print(f"{name:34} {min(seconds) * 1000:8.1f} {p50:8.1f} {p95:8.1f} {queries:8}", flush=True)
            if options.explain and p50 > 100:
                explain(client, query)
    finally:
        user.delete()
    slowest = max(results, key=lambda name: results[name]["p95_ms"])
    print(f"Slowest by p95: {slowest}, {results[slowest]['p95_ms']:.0f} ms")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
