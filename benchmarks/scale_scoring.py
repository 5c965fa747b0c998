"""Steps of benchmarks/scale.py: scoring with one worker and two, against fastText, with workers killed; dropping."""

from __future__ import annotations

import random
import re
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import fasttext_peer
from benchmarks.installation import Site
from benchmarks.measuring import CommandFailed, say
from benchmarks.scale_run import CannotMeasure, Run, active_jobs, wait_until, watching
from benchmarks.scale_table import KILLS, Figures

PATIENCE = 5  # seconds between two kills, at the least about half of it
ROUNDS = 3
PEER_TEXTS = 500_000  # general tweets that fastText predicts
PEER_EXAMPLES = 100_000  # of both kinds that it learns from, at the most


def version_of(run: Run) -> tuple[int, int]:
    """Id and number of the newest trained version."""
    found = run.installation.rows(
        "SELECT id, number FROM labeling_modelversion WHERE state = 'ready' ORDER BY number DESC LIMIT 1"
    )
    if not found:
        raise CannotMeasure("no version has been trained: run the step train")
    return int(found[0][0]), int(found[0][1])


def score_one(run: Run) -> Figures:
    return scored_by(run, helpers=0)


def score_two(run: Run) -> Figures:
    """By the worker that leads and one helper; the version stays active for the steps after it."""
    return scored_by(run, helpers=1)


def scored_by(run: Run, *, helpers: int) -> Figures:
    """From the button on the version's page to the flagged page that shows it, by workers that are warm.

    The job goes on for some seconds: it indexes the list's words, and marks words and what every reader may see
    (`job_seconds`).
    """
    forget_scores(run)
    pk, number = version_of(run)
    with run.installation.launched(SCORE_HELPERS=str(helpers)) as site:
        site.log_in("reviewer")
        warm_up(run, site, helpers=helpers)
        active = "SELECT is_active FROM labeling_modelversion WHERE id = %s"
        with watching(site) as watch:
            began = time.perf_counter()
            press_score(site, number, activate=True)
            wait_until(
                lambda: run.installation.value(active, [pk]) or not active_jobs(run.installation, "score"),
                seconds=14_400, site=site,
            )  # fmt: skip
            flagged = site.get("/flagged/")
            shown = time.perf_counter() - began
            wait_until(lambda: not active_jobs(run.installation, "score"), seconds=600, site=site)
        state, error = run.installation.rows(
            "SELECT state, error FROM labeling_job WHERE kind = 'score' ORDER BY id DESC LIMIT 1"
        )[0]
        if state != "done":
            raise CommandFailed(f"Scoring ended as {state}: {error}")
        if "/tweets/" not in flagged:
            raise CommandFailed("The flagged page shows no tweet")
    check_scores(run, pk)
    tweets = run.total
    return {
        **watch.used.as_json(), "seconds": shown, "job_seconds": watch.used.seconds, "workers": helpers + 1,
        "tweets": tweets, "tweets_per_second": tweets / shown, "in_pieces": chunk_seconds(run, pk),
    }  # fmt: skip


def rounds(run: Run) -> Figures:
    """fastText in memory, one worker, two workers, in turn: the machine's pace changes within the hour.

    fastText has no storage: its rate is that of predicting alone, ours goes from the button to the flagged page.
    """
    folder = run.folder / "fasttext"
    folder.mkdir(exist_ok=True)
    peer_texts, reason = 0, ""
    try:
        fasttext_peer.install(folder)
        peer_texts = write_peer_texts(run, folder)
    except fasttext_peer.CannotInstall as error:
        reason = str(error)
    found = []
    for number in range(ROUNDS):
        figures: Figures = {}
        if peer_texts:
            by_kind = fasttext_peer.seconds(folder, ["sample"], repeats=1)
            figures = {
                f"fastText, {kind}": peer_texts / by_kind[kind]["sample"]["wall"][0] for kind in by_kind
            }
        # The version stays active for the steps after this one.
        figures |= {"one": score_one(run)["seconds"], "two": score_two(run)["seconds"]}
        say(f"round {number + 1} of {ROUNDS}", figures)
        found.append(figures)
    return {"rounds": found, **compared(found, tweets=run.total), "reason": reason}


def compared(found: list[Figures], *, tweets: int) -> Figures:
    """Ratios of every round, and their medians; null where fastText could not be had."""

    def against(kind: str) -> list[float]:
        name = f"fastText, {kind}"
        return [tweets / figures["two"] / figures[name] for figures in found if name in figures]

    ratios = {
        "two_against_one": [figures["one"] / figures["two"] for figures in found],
        **{f"against_fasttext_{kind.replace(' ', '_')}": against(kind) for kind in fasttext_peer.KINDS},
    }
    medians = {name: statistics.median(values) if values else None for name, values in ratios.items()}
    return {"ratios": ratios, **medians}


def write_peer_texts(run: Run, folder: Path) -> int:
    """Specific tweets with their tags and as many general ones to learn from; how many general ones to predict."""
    specific = pq.read_table(run.corpus / "specific.parquet", columns=["text", "tags"]).slice(
        0, PEER_EXAMPLES
    )
    batches = pq.ParquetFile(run.corpus / "general.parquet").iter_batches(PEER_TEXTS, columns=["text"])
    general = next(batches)["text"].to_pylist()
    others = general[: len(specific)]
    texts = [*specific["text"].to_pylist(), *others]
    tags = [*(names.split(";") for names in specific["tags"].to_pylist()), *([] for _ in others)]
    order = np.random.default_rng(run.seed).permutation(len(texts))
    fasttext_peer.write_training(
        folder, [texts[at] for at in order], [bool(at < len(specific)) for at in order], [tags[at] for at in order]
    )  # fmt: skip
    fasttext_peer.write_sample(folder, "sample", general)
    return len(general)


def press_score(site: Site, number: int, *, activate: bool = False) -> None:
    site.get(f"/versions/{number}/")
    site.post(f"/versions/{number}/score/", {"activate": "on"} if activate else {})


def warm_up(run: Run, site: Site, *, helpers: int) -> None:
    """Begin to score with both processes, until each has loaded TensorFlow and the model; cancel; drop the scores."""
    press_score(site, version_of(run)[1])
    newest = run.installation.value("SELECT max(id) FROM labeling_scoringrun")
    if not helpers:  # the measured run uses one of them, whichever it is
        run.installation.python(f"from labeling import tasks; tasks.score_chunks.delay({newest})")
    warm = (
        "SELECT count(DISTINCT backend_pid) FROM labeling_scoringchunk WHERE state = 'done' AND run_id = %s"
    )
    wait_until(
        lambda: run.installation.value(warm, [newest]) >= 2 or not active_jobs(run.installation, "score"),
        seconds=600, site=site,
    )  # fmt: skip
    if active_jobs(run.installation, "score"):
        job = run.installation.value("SELECT max(id) FROM labeling_job WHERE kind = 'score'")
        site.post(f"/jobs/{job}/cancel/", {})
    wait_until(lambda: not active_jobs(run.installation, "score"), seconds=600, site=site)
    time.sleep(3)  # a helper looks once more, and finds the run at its end
    forget_scores(run)


def chunks_done(run: Run) -> int:
    return int(
        run.installation.value(
            "SELECT count(*) FROM labeling_scoringchunk WHERE state = 'done'"
            " AND run_id = (SELECT max(id) FROM labeling_scoringrun)"
        )
    )


def chunk_seconds(run: Run, version: int) -> Figures:
    """From the ledger: how long the chunks took, and what came after the last of them."""
    found = run.installation.rows(
        "SELECT count(*), sum(c.seconds)::float8,"
        " extract(epoch FROM min(c.claimed_at) - min(j.started_at))::float8,"
        " extract(epoch FROM max(c.claimed_at) - min(c.claimed_at))::float8,"
        " extract(epoch FROM max(j.finished_at) - max(c.claimed_at))::float8"
        " FROM labeling_scoringchunk c JOIN labeling_scoringrun r ON r.id = c.run_id"
        " JOIN labeling_job j ON j.id = r.job_id WHERE r.version_id = %s"
        " AND r.id = (SELECT max(id) FROM labeling_scoringrun)",
        [version],
    )[0]
    names = ("chunks", "chunk_seconds", "before_first", "first_to_last_claim", "after_last_claim")
    return dict(zip(names, found, strict=True))


def check_scores(run: Run, version: int) -> Figures:
    """Every tweet must have one score. Reads all of them."""
    scores, tweets = run.installation.rows(
        "SELECT count(*), count(DISTINCT tweet_id) FROM labeling_score WHERE version_id = %s", [version]
    )[0]
    if not scores == tweets == run.total:
        raise CommandFailed(f"{run.total:,} tweets, but {scores:,} scores of {tweets:,} tweets")
    floor = run.installation.value(
        "SELECT (score_summary ->> 'floor')::real FROM labeling_modelversion WHERE id = %s", [version]
    )
    listed, wanted = run.installation.rows(
        "SELECT (SELECT count(*) FROM labeling_listed WHERE version_id = %s),"
        " (SELECT count(*) FROM labeling_score WHERE version_id = %s AND risk >= %s::real)",
        [version, version, floor],
    )[0]
    if listed != wanted:
        raise CommandFailed(f"{wanted:,} scores at the floor or above, but {listed:,} are listed")
    return {"tweets": tweets, "scores": scores, "listed": listed}


def forget_scores(run: Run) -> float | None:
    """Drop the newest version's scores; the seconds of the statement itself. Puts an active version to rest first."""
    pk, _ = version_of(run)
    said = run.installation.python(
        "import time; from labeling import scoring; from labeling.models import ModelVersion\n"
        f"version = ModelVersion.objects.get(pk={pk})\n"
        "ModelVersion.objects.filter(pk=version.pk, is_active=True).update(is_active=False)\n"
        "version.refresh_from_db(); began = time.perf_counter(); scoring.drop_scores(version)\n"
        "print('seconds', time.perf_counter() - began)"
    )
    match = re.search(r"seconds ([\d.e-]+)", said)
    return float(match[1]) if match else None


def drop(run: Run) -> Figures:
    """A version's scores, all of them. They must have been scored by the step score_one."""
    pk, _ = version_of(run)
    before = run.installation.value("SELECT count(*) FROM labeling_score WHERE version_id = %s", [pk])
    if not before:
        raise CannotMeasure("the version has no scores: run the step score_one right before")
    return {"scores": before, "seconds": forget_scores(run)}


def kill(run: Run) -> Figures:
    """kill -9 of any worker process, again and again while the whole corpus is being scored."""
    forget_scores(run)
    pk, number = version_of(run)
    luck = random.Random(run.seed)
    one_run = (run.figures.get("score_two") or run.figures.get("score_one") or {}).get("seconds") or 60
    kills = 0
    with run.installation.launched(SCORE_HELPERS="1") as site:
        site.log_in("reviewer")
        press_score(site, number)
        wait_until(lambda: chunks_done(run) >= 1, seconds=600)
        with watching(site) as watch:
            while kills < KILLS and active_jobs(run.installation, "score"):
                # The launcher gives a program up that ends five times in a minute: kill slower than that.
                time.sleep(max(PATIENCE, one_run / KILLS) * luck.uniform(0.5, 1.5))
                if workers := site.workers():
                    luck.choice(workers).kill()
                    kills += 1
            wait_until(lambda: not active_jobs(run.installation, "score"), seconds=14_400, every=1, site=site)
    found = check_scores(run, pk)
    attempts = run.installation.value(
        "SELECT sum(attempt) - count(*) FROM labeling_scoringchunk WHERE run_id ="
        " (SELECT max(id) FROM labeling_scoringrun)"
    )
    figures = {
        **found,
        "kills": kills,
        "chunks_done_again": int(attempts or 0),
        "seconds": watch.used.seconds,
    }
    if kills < KILLS:
        figures["reason"] = f"scoring was over after {kills} of {KILLS} kills"
    return figures
