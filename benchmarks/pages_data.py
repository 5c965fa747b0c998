"""What `benchmarks/pages.py --fill` puts into an empty database: the corpus of corpus.py through the product's own
import, scores of a stand-in model through its own scoring, then labels, review items and queues as a team leaves them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from django.contrib.auth.models import User
from django.db import connection

from labeling import jobs, labels, scoring, search_building, versions
from labeling.models import Job, ModelVersion, Tag, Tweet
from labeling.score_tables import ScoreTables

HERE = Path(__file__).resolve().parent
TAGS = 25
LABELS, REVIEWS = 20_000, 2_000
QUEUES, OPEN_QUEUES, QUEUE_SIZE = 60, 12, 5_000

# People judge what is flagged first, and some tweets from everywhere; rules vote on all specific ones.
JUDGE = """
INSERT INTO labeling_annotation (tweet_id, origin, annotator_id, verdict, tag_ids, note, created_at)
SELECT tweet_id, CASE WHEN n % 10 = 0 THEN 4 ELSE 3 END, ({people})[1 + n % 3], CASE WHEN n % 20 = 1 THEN 2 ELSE n % 2 END,
       CASE WHEN n % 3 = 0 THEN ARRAY[{tag}] END, '', now() - n * interval '1 minute'
FROM (
    (SELECT tweet_id, row_number() OVER () AS n FROM {scores} WHERE risk >= {flagged} ORDER BY random() LIMIT {most})
    UNION ALL
    (SELECT tweet_id, row_number() OVER () AS n FROM {scores} TABLESAMPLE SYSTEM (1) LIMIT {rest})
) s
UNION ALL
SELECT id, 1, NULL, NULL, ARRAY[{tag}], '', now() FROM labeling_tweet WHERE source = 1
RETURNING tweet_id
"""
REVIEW = """
INSERT INTO labeling_reviewitem (tweet_id, reason, state, note, created_at)
SELECT tweet_id, (ARRAY['sent', 'model', 'unsure', 'disagreement'])[1 + n % 4],
       CASE WHEN n <= {open} THEN 'open' ELSE (ARRAY['approved', 'corrected', 'rejected'])[1 + n % 3] END, '', now()
FROM (SELECT tweet_id, row_number() OVER (ORDER BY tweet_id % 9973, tweet_id) AS n
      FROM labeling_label WHERE annotators > 0) l
WHERE n <= 4 * {open}
ON CONFLICT DO NOTHING
"""
QUEUE = """
WITH made AS (
    INSERT INTO labeling_queue (name, strategy, shows_suggestion, annotators_per_tweet, is_open, created_at)
    SELECT 'Queue ' || n, 'random', false, 1, n > {closed}, now() FROM generate_series(1, {queues}) n
    RETURNING id, is_open
)
INSERT INTO labeling_queueitem (queue_id, tweet_id, seat, position, stratum, inclusion_probability, state, finished_at)
SELECT made.id, s.tweet_id, 1, s.n, 'random: all', 0.001,
       CASE WHEN NOT is_open OR s.n % 3 = 0 THEN 'done' ELSE 'waiting' END,
       CASE WHEN NOT is_open OR s.n % 3 = 0 THEN now() END
FROM made CROSS JOIN LATERAL (
    SELECT tweet_id, row_number() OVER () AS n FROM {scores}
    WHERE tweet_id % 397 = made.id % 397 LIMIT {size}
) s
"""


class StandIn:
    """Risks of which about 1.3 % are flagged; tags from common to rare for the 9 % that are listed."""

    def __init__(self, tags: list[str]) -> None:
        self.tags = tags
        self.thresholds: dict[str, Any] = {"DA": 0.3, "tags": dict.fromkeys(tags, 0.97)}
        self.random = np.random.default_rng(1)

    def predict(self, texts: Any) -> np.ndarray:
        p = self.random.random((len(texts), 1 + len(self.tags)), dtype=np.float32)
        p[:, 0] = 1 / (1 + np.exp(4.2 - 1.5 * self.random.standard_normal(len(texts))))
        # At a threshold of 0.97 the first tag goes to 14 % of these tweets, the last to 0.3 %.
        p[:, 1:] **= np.geomspace(0.2, 10, len(self.tags))
        p[p[:, 0] < 0.1, 1:] *= 0.9
        return p

    def words(self, texts: Any) -> list[list[tuple[int, int, float]]]:
        return [[(0, 4, 0.8), (6, 10, -0.3)] for _ in texts]


def fill(tweets: int) -> None:
    if Tweet.objects.exists():
        sys.exit("--fill is for an empty database: this one has tweets.")
    with tempfile.TemporaryDirectory() as folder:
        run(HERE / "corpus.py", folder, "--rows", tweets, "--specific", tweets // 200, "--formats", "parquet")
        for source in ("specific", "general"):
            run(HERE.parent / "manage.py", "import_tweets", f"{folder}/{source}.parquet", "--source", source)
    for job in Job.objects.filter(kind=Job.Kind.SEARCH, state=Job.State.QUEUED):
        jobs.run_job(job.pk, search_building.work)
    version = make_scores()
    work_of_people(version)


def run(*command: object) -> None:
    subprocess.run([sys.executable, *map(str, command)], check=True)


def make_scores() -> ModelVersion:
    """A version of the stand-in, scored and active."""
    stand_in = StandIn([f"tag {n}" for n in range(TAGS)])
    tags = [
        Tag.objects.get_or_create(slug=f"tag-{n}", defaults={"name": f"tag {n}", "position": n})[0]
        for n in range(TAGS)
    ]
    number = (ModelVersion.objects.values_list("number", flat=True).first() or 0) + 1
    version = ModelVersion.objects.create(
        number=number,
        state="ready",
        threshold=0.3,
        tag_ids=[tag.pk for tag in tags],
        report={"tags": stand_in.tags},
        tag_thresholds=stand_in.thresholds["tags"],
        note="stand-in",
    )
    scoring.predictor_of = lambda version: stand_in  # type: ignore[attr-defined]
    run = scoring.start_run(version, user=None, activates=False)
    job = jobs.run_job(run.job_id or 0, scoring.work)
    assert job is not None
    assert job.state == "done", job.error
    version.refresh_from_db()
    versions.activate(version, user=None)
    return version


def work_of_people(version: ModelVersion) -> None:
    """20,000 labels, 2,000 open review items among 8,000, and 300,000 items in 60 queues."""
    people = User.objects.bulk_create(User(username=f"benchmark-{n}", is_active=False) for n in range(3))
    names = {
        "people": f"ARRAY{[user.pk for user in people]}",
        "scores": ScoreTables(version.pk).score,
        "tag": version.tag_ids[0],
        "flagged": version.score_summary["threshold"],
        "most": LABELS * 3 // 4,
        "rest": LABELS // 4,
        "open": REVIEWS,
        "queues": QUEUES,
        "closed": QUEUES - OPEN_QUEUES,
        "size": QUEUE_SIZE,
    }
    with connection.cursor() as cursor:
        cursor.execute(JUDGE.format(**names))
        ids = [row[0] for row in cursor.fetchall()]
        for start in range(0, len(ids), 50_000):
            labels.derive_labels(ids[start : start + 50_000])
        cursor.execute(REVIEW.format(**names))
        cursor.execute(QUEUE.format(**names))
        cursor.execute("VACUUM ANALYZE")
