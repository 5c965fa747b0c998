"""kill -9 of scoring workers at random moments, and at the end one score for each tweet.

    python benchmarks/kill_workers.py --times 20 --workers 2 [--version N] [--seed 1] [--json out.json]

Runs `manage.py score` over the configured database in as many processes as asked for, each of which leads the run or
helps with it. A process that was killed is started again at once, as the launcher does. The version must be trained,
and is scored from the beginning: one that has scores already is refused, unless --drop removes them first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--version", type=int, help="number of the version; default: the newest")
    parser.add_argument("--pause", type=float, default=8.0, help="longest time between two kills, in seconds")
    parser.add_argument("--drop", action="store_true", help="remove the version's scores first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")
    import django

    from tagger_site import embedded

    servers = embedded.use()  # kept until the end; None where DATABASE_URL and REDIS_URL name others
    django.setup()
    from labeling import scoring
    from labeling.models import ModelVersion

    ready = ModelVersion.objects.ready()
    version = ready.filter(number=options.version).first() if options.version else ready.first()
    if version is None:
        sys.exit("There is no such trained version.")
    if options.drop:
        scoring.drop_scores(version)
    if version.scoring_runs.exists():
        sys.exit(f"{version} has been scored, or begun. --drop removes its scores.")
    result = run(version.number, options)
    result |= proof(version.pk)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    if servers:
        servers.give_back()
    if result["kills"] < options.times:
        sys.exit(f"The run ended after {result['kills']} kills: fewer than asked for.")
    if not result["each_once"]:
        sys.exit("Not every tweet has exactly one score.")


def run(number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Kill and start again until the run has ended; where and in which stage each kill hit."""
    command = [sys.executable, str(ROOT / "manage.py"), "score", "--version", str(number), "--workers", "1"]
    rng = random.Random(options.seed)
    started = time.monotonic()
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(options.workers)]
    stages: list[str] = []
    try:
        due = time.monotonic() + rng.uniform(0.5, options.pause)
        while all(worker.poll() != 0 for worker in workers):
            for place, worker in enumerate(workers):
                if worker.poll() is not None:
                    workers[place] = subprocess.Popen(command, cwd=ROOT)
            if len(stages) < options.times and time.monotonic() > due:
                stages.append(_stage(number))
                rng.choice(workers).send_signal(signal.SIGKILL)
                due = time.monotonic() + rng.uniform(0.5, options.pause)
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return {"kills": len(stages), "stages": stages, "seconds": round(time.monotonic() - started, 1)}


def _stage(number: int) -> str:
    from labeling.models import ScoringRun

    found = ScoringRun.objects.filter(version__number=number).select_related("job").first()
    return found.job.stage.partition(" (")[0] if found and found.job else "Starting"


def proof(version_id: int) -> dict[str, Any]:
    """Counts from the tables themselves. The unique index says that no tweet is there twice."""
    from django.db import connection

    from labeling.models import ScoringChunk
    from labeling.score_tables import ScoreTables

    score = ScoreTables(version_id).score
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM labeling_tweet")
        (tweets,) = cursor.fetchone()
        cursor.execute(f"SELECT count(*) FROM {score}")
        (scores,) = cursor.fetchone()
        cursor.execute(
            f"SELECT count(*) FROM labeling_tweet t JOIN {score} s ON s.tweet_id = t.id"  # no score of a stranger
        )
        (matched,) = cursor.fetchone()
        cursor.execute(
            "SELECT indisunique AND indisvalid FROM pg_index WHERE indexrelid = %s::regclass",
            [f"{score}_tweet"],
        )
        (unique,) = cursor.fetchone()
    again = ScoringChunk.objects.filter(run__version_id=version_id, attempt__gt=1).count()
    each_once = tweets == scores == matched and bool(unique)
    return {"tweets": tweets, "scores": scores, "chunks_claimed_again": again, "each_once": each_once}


if __name__ == "__main__":
    main()
