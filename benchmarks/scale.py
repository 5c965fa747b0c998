"""The whole product at any size, against the limits that it is meant to keep.

    python benchmarks/scale.py --rows 20000000 --dir FOLDER --json scale.json [--compare smaller.json] [--steps …]
    python benchmarks/scale.py --markdown scale.json [--compare smaller.json]

Makes a corpus, then goes through the product's own commands and pages in an installation of its own below FOLDER
(or on the servers of DATABASE_URL and REDIS_URL, whose database must be empty): import, search, training, scoring,
pages, labeling, an addition, workers killed at random, disk. Figures are kept in FOLDER/figures.json after every
step: started again, it goes on with the steps that are missing. What cannot be measured is null, with the reason.

Steps: STEPS
At 20 million tweets: about an hour and a half on two cores, 20 GB of disk.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import corpus, measuring, scale_scoring
from benchmarks.installation import Installation
from benchmarks.measuring import CommandFailed, say
from benchmarks.scale_run import CannotMeasure, Run, active_jobs, ask_now, wait_until, watching
from benchmarks.scale_table import Figures, fit, growth, print_table, table

ADDED = 10_000
PAGES = "benchmarks/pages.py"


# Import -------------------------------------------------------------------------------------------------------


def make_corpus(run: Run) -> Figures:
    return corpus.make(run.corpus, rows=run.rows, specific=run.specific, seed=run.seed)


def import_general(run: Run) -> Figures:
    return import_file(run, run.installation, "general.parquet")


def import_specific(run: Run) -> Figures:
    return import_file(run, run.installation, "specific.parquet", "--unknown-tags", "create")


def import_csv(run: Run) -> Figures:
    """Into a second installation, which is deleted afterwards."""
    if not run.installation.is_embedded:
        raise CannotMeasure("needs a second, empty database: only with embedded servers")
    other = Installation(run.folder / "var-csv")
    other.remove()  # what an interrupted run left
    try:
        with other.running():
            return import_file(run, other, "general.csv")
    finally:
        other.remove()


def import_file(run: Run, installation: Installation, name: str, *options: str) -> Figures:
    """One file through manage.py import_tweets. Every row must be accounted for, the duplicates exactly."""
    kind = name.split(".", maxsplit=1)[0]
    line, used = installation.manage("import_tweets", str(run.corpus / name), "--source", kind, *options)
    counts = counts_in(line, "imported", "duplicates", "rejected")
    made = json.loads((run.corpus / "corpus.json").read_text())[kind]
    expected = {
        "imported": made["rows"] - made["duplicates"],
        "duplicates": made["duplicates"],
        "rejected": 0,
    }
    if counts != expected:
        raise CommandFailed(f"{name} holds {expected}, but the import says {counts}")
    cpu = (used.cpu_seconds or 0) + (used.postgres_cpu_seconds or 0)
    return {
        **counts,
        **used.as_json(),
        "rows_per_second": made["rows"] / used.seconds,
        "cpu_seconds_per_million": cpu / made["rows"] * 1e6,
        "line": line,
    }


def counts_in(line: str, *names: str) -> dict[str, int]:
    found = {}
    for name in names:
        match = re.search(rf"{name} ([\d,]+)", line)
        found[name] = int(match[1].replace(",", "")) if match else -1
    return found


def background(run: Run) -> Figures:
    """Until all that follows an import has ended: search indexes, groups of near copies. With the real workers."""
    installation = run.installation
    with installation.launched() as site, watching(site) as watch:
        ask_now(installation, "ring_for_jobs")
        wait_until(lambda: not active_jobs(installation), seconds=7_200, every=1, site=site)
        ask_now(installation, "look_for_near_copies")
        looked = (
            "SELECT count(*) FROM labeling_job WHERE kind = 'near_copies' AND state = 'done'"
            " AND (detail ->> 'last_id')::bigint >= (SELECT max(id) FROM labeling_tweet)"
        )
        wait_until(
            lambda: not active_jobs(installation) and installation.value(looked),
            seconds=7_200, every=1, site=site,
        )  # fmt: skip
    jobs = installation.rows(
        "SELECT kind, state, stage, error, extract(epoch FROM created_at)::float8,"
        " extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8"
        " FROM labeling_job WHERE kind NOT IN ('import', 'train', 'score') ORDER BY id"
    )
    names = ("kind", "state", "stage", "error", "created", "started", "finished")
    found = [dict(zip(names, job, strict=True)) for job in jobs]
    if failed := [job for job in found if job["state"] != "done"]:
        raise CommandFailed(f"Jobs after the import did not end well: {failed}")
    imported = installation.value(
        "SELECT extract(epoch FROM j.finished_at)::float8 FROM labeling_import i"
        " JOIN labeling_job j ON j.id = i.job_id ORDER BY i.rows_read DESC LIMIT 1"
    )
    search = [job for job in found if job["kind"] == "search"]
    return {
        "jobs": [{**job, "seconds": job["finished"] - job["started"]} for job in found],
        # Of their own work: what lies between (another step of this benchmark) is not theirs.
        "near_copies": installation.value(
            "SELECT detail FROM labeling_job WHERE kind = 'near_copies' AND state = 'done' ORDER BY id DESC LIMIT 1"
        ),
        "search_seconds": sum(job["finished"] - job["started"] for job in search),
        "search_ready_after": max((job["finished"] for job in search), default=imported) - imported,
        "used": watch.used.as_json(),
    }


# Model --------------------------------------------------------------------------------------------------------


def rules(run: Run) -> Figures:
    _, loading = run.installation.manage("import_rules", "starter")
    line, used = run.installation.manage("apply_rules")
    return {"line": line, "import_rules_seconds": loading.seconds, **used.as_json()}


def train(run: Run) -> Figures:
    line, used = run.installation.manage("train", "--architecture", "fast", "--seed", str(run.seed))
    return {"line": line, **used.as_json()}


# Pages, labeling, additions -----------------------------------------------------------------------------------


def pages(run: Run) -> Figures:
    team = [] if run.installation.value("SELECT count(*) FROM labeling_queueitem") else ["--team"]
    return asked_for_pages(run, run.folder / "pages.json", *team)


def pages_busy(run: Run) -> Figures:
    """The same while a scoring run uses every core."""
    return asked_for_pages(run, run.folder / "pages-busy.json", "--while-scoring")


def asked_for_pages(run: Run, file: Path, *options: str) -> Figures:
    file.unlink(missing_ok=True)
    output, used = run.installation.run(PAGES, "--requests", str(run.requests), "--json", str(file), *options)
    print(output)
    return {"pages": json.loads(file.read_text()), "seconds": used.seconds}


def add(run: Run) -> Figures:
    """Ten thousand tweets by the upload page: until they are there, and until they are scored."""
    number = 1 + int(run.installation.value("SELECT count(*) FROM labeling_import"))
    path = run.folder / f"addition-{number}.csv"
    corpus.write_addition(path, ADDED, seed=number)
    version = run.installation.value("SELECT id FROM labeling_modelversion WHERE is_active")
    with run.installation.launched() as site:
        site.log_in("admin")
        wait_until(lambda: not active_jobs(run.installation), seconds=3_600, every=1)
        site.get("/imports/new/")
        began = time.perf_counter()
        mapping = site.post("/imports/new/", {"source": "2"}, file=path)
        uploaded = time.perf_counter() - began
        pk = int(mapping.split("/")[2])
        columns = {f"column-{place}": name for place, name in enumerate(("id", "text", "author", "date"))}
        began = time.perf_counter()
        site.post(f"/imports/{pk}/mapping/", {**columns, "separator": "|", "unknown_tags": "reject"})
        sql = "SELECT imported FROM labeling_import WHERE id = %s"
        wait_until(lambda: run.installation.value(sql, [pk]) == ADDED, seconds=600)
        visible = time.perf_counter() - began
        first, last = run.installation.rows(
            "SELECT min(id), max(id) FROM labeling_tweet WHERE import_id = %s", [pk]
        )[0]
        site.get(f"/tweets/{last}/")
        figures = {"added": ADDED, "upload_seconds": uploaded, "visible_seconds": visible}
        if version is None:
            return {**figures, "scored_seconds": None, "reason": "no version is active"}
        scored = "SELECT count(*) FROM labeling_score WHERE version_id = %s AND tweet_id BETWEEN %s AND %s"
        try:
            wait_until(
                lambda: run.installation.value(scored, [version, first, last]) == ADDED,
                seconds=180,
                every=0.3,
            )
        except CommandFailed:
            return {**figures, "scored_seconds": None, "reason": "not scored after three minutes"}
        figures["scored_seconds"] = time.perf_counter() - began
        # The job marks words yet: cut off, it would count as running until somebody takes it over.
        wait_until(lambda: not active_jobs(run.installation), seconds=600, every=1)
        return figures


# Disk ---------------------------------------------------------------------------------------------------------


def disk(run: Run) -> Figures:
    installation = run.installation
    if installation.is_embedded:
        installation.checkpoint()
    relations = installation.rows(
        "SELECT c.relname, c.relkind::text, pg_relation_size(c.oid) + coalesce(pg_relation_size(c.reltoastrelid), 0)"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'i', 'm') AND pg_relation_size(c.oid) > 1000000"
        " ORDER BY 3 DESC"
    )
    cluster = installation.cluster_bytes() if installation.is_embedded else {"cluster": None, "wal": None}
    return {
        "database": installation.value("SELECT pg_database_size(current_database())"),
        **cluster,
        "relations": {name: size for name, _, size in relations},
        "tweets": run.total,
    }


# The steps and their limits -----------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Run], Figures]] = {
    "corpus": make_corpus,
    "import_general": import_general,
    "import_specific": import_specific,
    "background": background,
    "rules": rules,
    "train": train,
    "score_one": scale_scoring.score_one,
    "drop": scale_scoring.drop,
    "kill": scale_scoring.kill,
    "score_two": scale_scoring.score_two,
    "rounds": scale_scoring.rounds,
    "disk": disk,
    "pages": pages,
    "pages_busy": pages_busy,
    "add": add,
    "import_csv": import_csv,
}
FRESH = ("import_general", "import_specific")  # steps that cannot be done twice in one installation


# The run ------------------------------------------------------------------------------------------------------


def measure(run: Run, chosen: list[str], *, again: bool, stop_at_failure: bool) -> None:
    for name in chosen:
        done = name in run.figures and not run.figures[name].get("failed")
        if done and (not again or name in FRESH):
            continue
        say(f"step {name}")
        began = time.perf_counter()
        try:
            found = STEPS[name](run)
        except CannotMeasure as reason:
            found = {"seconds": None, "reason": str(reason)}
        except Exception as error:  # the other steps may still be measured
            found = {"seconds": None, "failed": f"{type(error).__name__}: {error}"}
            say(f"step {name} failed: {error}")
            if stop_at_failure:
                raise
        run.figures[name] = {**found, "step_seconds": round(time.perf_counter() - began, 1)}
        save(run)
        say(f"step {name}: {run.figures[name]['step_seconds']:,.1f} s")


def save(run: Run) -> None:
    path = run.folder / "figures.json"
    path.with_suffix(".new").write_text(json.dumps(run.figures, indent=1, default=str))
    path.with_suffix(".new").replace(path)


def result_of(run: Run) -> Figures:
    version = run.installation.value("SHOW server_version")
    return {
        "rows": run.rows,
        "specific": run.specific,
        "machine": {**measuring.machine(), "postgres": version, "embedded": run.installation.is_embedded},
        "steps": run.figures,
    }


def options() -> argparse.Namespace:
    words = (__doc__ or "").replace("STEPS", ", ".join(STEPS))
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="general tweets")
    parser.add_argument("--specific", type=int, help="specific tweets (100,000, at most as many as general)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="where corpus, installation and figures live (var/scale)")
    parser.add_argument("--steps", help="only these, separated by commas; -name leaves one out")
    parser.add_argument(
        "--again", action="store_true", help="measure chosen steps again (imports are done once)"
    )
    parser.add_argument("--requests", type=int, default=200, help="of each page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="figures of a smaller run: prints how they grow, and a formula",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="only print the table of such a file")
    parser.add_argument("--stop", action="store_true", help="stop at the first step that fails")
    parser.add_argument("--delete", action="store_true", help="delete corpus and installation at the end")
    return parser.parse_args()


def steps_of(words: str | None) -> list[str]:
    names = [name.strip() for name in (words or "").split(",") if name.strip()]
    if unknown := [name for name in names if name.removeprefix("-") not in STEPS]:
        sys.exit(f"No such step: {', '.join(unknown)}. There are: {', '.join(STEPS)}.")
    left_out = {name.removeprefix("-") for name in names if name.startswith("-")}
    chosen = [name for name in names if not name.startswith("-")] or list(STEPS)
    return [name for name in STEPS if name in chosen and name not in left_out]


def main() -> int:
    given = options()
    if given.markdown:
        shown = json.loads(given.markdown.read_text())
        smaller = json.loads(given.compare.read_text()) if given.compare else None
        lines = table(shown) + (growth(smaller, shown) + fit(smaller, shown) if smaller else [])
        print_table(lines, markdown=True)
        return 0
    measuring.end_in_order()
    chosen = steps_of(given.steps)
    folder = (given.dir or ROOT / "var" / "scale").resolve()
    specific = given.specific or min(100_000, given.rows)
    url = os.environ.get("DATABASE_URL", "")
    installation = Installation(folder / "var", database_url=url)
    figures_file = folder / "figures.json"
    figures = json.loads(figures_file.read_text()) if figures_file.exists() else {}
    run = Run(folder, given.rows, specific, given.seed, given.requests, installation, figures)
    known = figures.get("corpus", {})
    if known.get("rows", given.rows) != given.rows or known.get("specific_rows", specific) != specific:
        sys.exit(f"{folder} holds a run of {known['rows']:,} rows. Choose another --dir, or delete it.")
    with installation.running():
        if "import_general" not in figures and installation.value(
            "SELECT EXISTS (SELECT FROM labeling_tweet)"
        ):
            sys.exit("The database holds tweets that are not of this run. Use an empty one.")
        measure(run, chosen, again=given.again, stop_at_failure=given.stop)
        result = result_of(run)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1, default=str))
    lines = table(result)
    if given.compare:
        smaller = json.loads(given.compare.read_text())
        lines += growth(smaller, result) + fit(smaller, result)
    print_table(lines)
    if given.delete and installation.is_embedded:
        installation.remove()
        for path in itertools.chain(run.corpus.glob("*"), folder.glob("addition-*.csv")):
            path.unlink()
    failed = [name for name in chosen if figures.get(name, {}).get("failed")]
    for name in failed:
        print(f"step {name} failed: {figures[name]['failed'][:500]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
