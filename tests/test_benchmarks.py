"""The benchmarks work, at a small size; how fast anything is, is not asked here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from benchmarks import corpus, fasttext_peer, pages_growth, scale, scale_scoring, scale_table
from benchmarks.installation import Installation
from benchmarks.scale_run import Run
from tests.services.conftest import servers_of, wait_until

ROOT = Path(__file__).resolve().parent.parent
MODEL_STEPS = "train,score_two,disk,add"


@pytest.mark.slow
def test_the_corpus_says_exactly_how_many_duplicates_it_holds(tmp_path):
    made = corpus.make(tmp_path, rows=30_000, specific=2_000)
    table = pq.read_table(tmp_path / "general.parquet")
    ids = table["id"]
    assert table.num_rows == made["general"]["rows"] == 30_000
    assert len(pc.unique(ids)) == 30_000 - made["general"]["duplicates"]
    assert made["general"]["duplicates"] > 150
    assert made["general"]["near_copies"] > 300
    assert pc.all(pc.equal(pc.utf8_length(ids), 19)).as_py()
    assert 70 < pc.mean(pc.binary_length(table["text"])).as_py() < 90


@pytest.mark.slow
def test_equal_ids_have_equal_texts_across_chunks():
    tables = [table for table, _ in corpus.chunks(corpus.CHUNK + 60_000)]
    ids = pc.unique(pc.binary_join_element_wise(tables[1]["id"], ""))
    both = [pc.binary_join_element_wise(table["id"], table["text"], " ") for table in tables]
    assert len(pc.unique(both[1])) == len(ids)
    again = pc.is_in(tables[0]["id"], value_set=ids)
    assert pc.sum(again).as_py() > 50  # duplicates of rows that came long before
    assert pc.all(pc.is_in(both[0].filter(again), value_set=pc.unique(both[1]))).as_py()


@pytest.mark.slow
def test_a_corpus_is_the_same_for_the_same_seed_and_begins_like_a_larger_one():
    def first_rows(rows, seed):
        return next(iter(corpus.chunks(rows, seed=seed)))[0].slice(0, 1_000)

    assert first_rows(1_000, 1).equals(first_rows(5_000, 1))
    assert not first_rows(1_000, 1).equals(first_rows(1_000, 2))


@pytest.mark.slow
def test_csv_and_parquet_hold_the_same_texts(tmp_path):
    corpus.make(tmp_path, rows=2_000, specific=500)
    strings = pyarrow.csv.ConvertOptions(column_types={"id": "string"})
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    read = pyarrow.csv.read_csv(tmp_path / "specific.csv", parse_options=lines, convert_options=strings)
    table = pq.read_table(tmp_path / "specific.parquet")
    assert read["text"].to_pylist() == table["text"].to_pylist()
    assert all(table["tags"].to_pylist())


def test_what_was_not_measured_is_no_figure_and_keeps_no_limit():
    lines = scale_table.table(
        {"rows": 2_000_000, "steps": {"import_general": {"seconds": None, "reason": "no disk"}}}
    )
    assert {line.verdict for line in lines} == {"not measured"}


def test_limits_of_seconds_shrink_with_the_corpus():
    steps = {"import_general": {"seconds": 11.0, "rows_per_second": 181_818}}
    first, second, *_ = scale_table.table({"rows": 2_000_000, "steps": steps})
    assert (first.limit, first.verdict, second.verdict) == (12.0, "kept", "kept")
    steps["import_general"]["seconds"] = 13.0
    assert scale_table.table({"rows": 2_000_000, "steps": steps})[0].verdict == "MISSED"


def test_growth_compares_a_smaller_run_with_a_larger_one():
    def run(rows, seconds, ms):
        page = {"home": {"p95_ms": ms, "limit_ms": 60}}
        return {"rows": rows, "steps": {"import_general": {"seconds": seconds}, "pages": {"pages": page}}}

    imports, home = scale_table.growth(run(2_000_000, 10, 20), run(20_000_000, 110, 40))
    assert imports.limit == pytest.approx(11.5)
    assert (imports.value, imports.verdict) == (11, "kept")
    assert (home.value, home.verdict) == (2, "MISSED")


def test_full_pages_are_compared_apart_where_both_runs_have_enough_of_them():
    def run(full, ms):
        words = {"p95_ms": 2 * ms, "limit_ms": 300, "full_pages": full, "full_p95_ms": ms}
        return {"rows": 1, "steps": {"pages": {"pages": {"words": words}}}}

    few, enough = scale_table.ENOUGH_FULL - 1, scale_table.ENOUGH_FULL
    assert len(scale_table.growth(run(few, 20), run(enough, 30))) == 1
    _, apart = scale_table.growth(run(enough, 20), run(enough, 30))
    assert (apart.name, apart.value) == ("growth, words, full pages alone", 1.5)


def test_the_formula_goes_through_both_runs():
    def run(rows, seconds):
        return {"rows": rows, "steps": {"score_two": {"seconds": seconds, "workers": 2}}}

    a, b = scale_table.fit(run(2_000_000, 13.0), run(20_000_000, 103.0))
    assert a.value == pytest.approx(3.0)
    assert b.value == pytest.approx(10.0)


def test_rounds_are_compared_each_by_itself():
    found = [
        {"one": 90.0, "two": 50.0, "fastText, verdict": 100_000, "fastText, all outputs": 80_000},
        {"one": 80.0, "two": 40.0, "fastText, verdict": 125_000, "fastText, all outputs": 100_000},
        {"one": 95.0, "two": 50.0, "fastText, verdict": 200_000, "fastText, all outputs": 100_000},
    ]
    compared = scale_scoring.compared(found, tweets=20_000_000)
    assert compared["ratios"]["two_against_one"] == pytest.approx([1.8, 2.0, 1.9])
    assert compared["two_against_one"] == pytest.approx(1.9)
    assert compared["against_fasttext_verdict"] == pytest.approx(4.0)
    assert compared["against_fasttext_all_outputs"] == pytest.approx(5.0)
    without = scale_scoring.compared([{"one": 90.0, "two": 50.0}], tweets=20_000_000)
    assert without["two_against_one"] == pytest.approx(1.8)
    assert without["against_fasttext_verdict"] is None


@pytest.mark.slow
def test_fasttext_learns_from_the_corpus_and_predicts_it(tmp_path):
    corpus.make(tmp_path / "corpus", rows=600, specific=300, formats=("parquet",))
    folder = tmp_path / "peer"
    folder.mkdir()
    installation = Installation(tmp_path / "var")
    run = Run(tmp_path, rows=600, specific=300, seed=1, requests=1, installation=installation, figures={})
    assert scale_scoring.write_peer_texts(run, folder) == 600
    lines = (folder / "all outputs").read_text().splitlines()
    assert len(lines) == 600
    assert sum(line.startswith("__label__DA ") for line in lines) == 300
    assert len({word for line in lines for word in line.split() if word.startswith("__label__")}) > 20
    fasttext_peer.install(folder)
    found = fasttext_peer.seconds(folder, ["sample"], repeats=2)
    for kind in fasttext_peer.KINDS:
        assert len(found[kind]["sample"]["wall"]) == 2
        assert min(found[kind]["sample"]["cpu"]) > 0


def test_steps_are_chosen_by_name_or_left_out():
    assert scale.steps_of("train,corpus") == ["corpus", "train"]
    assert "kill" not in scale.steps_of("-kill,-import_csv")
    with pytest.raises(SystemExit):
        scale.steps_of("walk")


def run_scale(folder: Path, steps: str):
    """Run some steps in an installation of their own; its figures. Fails where a step has failed."""
    figures = folder / "scale.json"
    command = [sys.executable, "benchmarks/scale.py", "--rows", "6000", "--specific", "1500", "--stop"]
    done = subprocess.run(
        [*command, "--steps", steps, "--dir", str(folder), "--json", str(figures), "--requests", "1"],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: not servers_of(folder / "var"))
    return json.loads(figures.read_text())["steps"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("scale")
    made.chmod(0o755)
    return made


@pytest.mark.services
def test_a_small_corpus_goes_through_import_and_search(folder):
    steps = run_scale(folder, "corpus,import_general,import_specific,background,rules")
    assert steps["import_general"]["duplicates"] == steps["corpus"]["general"]["duplicates"]
    assert steps["import_general"]["peak_rss"] > 50
    assert steps["import_general"]["postgres_cpu_seconds"] > 0
    assert {job["state"] for job in steps["background"]["jobs"]} == {"done"}


@pytest.mark.services
@pytest.mark.tensorflow
def test_a_small_corpus_goes_through_training_scoring_and_an_addition(folder):
    steps = run_scale(folder, MODEL_STEPS)
    scored = steps["score_two"]
    assert 7_000 < scored["tweets"] <= 7_500
    assert 0 < scored["seconds"] < scored["job_seconds"]
    assert steps["disk"]["relations"]
    assert steps["add"]["visible_seconds"] > 0


@pytest.mark.slow
@pytest.mark.tensorflow
def test_every_step_of_the_graph_is_timed(tmp_path):
    figures = tmp_path / "graph.json"
    command = [sys.executable, "benchmarks/graph.py", "--texts", "64", "--repeats", "1", "--only", "speed"]
    done = subprocess.run(
        [*command, "--no-fasttext", "--json", str(figures)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    speeds = json.loads(figures.read_text())["speed"]["invented tweets"]
    assert len(speeds) > 10
    assert all(speed["best"] > 0 for speed in speeds.values())


def test_pages_of_two_sizes_are_compared_by_the_better_run_of_each(tmp_path, monkeypatch, capsys):
    def written(name: str, **p95: float) -> str:
        file = tmp_path / name
        common = {"p50_ms": 1.0, "full_pages": 3, "requests": 40}
        file.write_text(json.dumps({"pages": {page: {"p95_ms": ms, **common} for page, ms in p95.items()}}))
        return str(file)

    small = [written("a", home=30, list=10), written("b", home=20, list=11)]
    large = [written("c", home=31, list=14, new=5), written("d", home=40, list=20)]
    monkeypatch.setattr("sys.argv", ["pages_growth.py", "--small", *small, "--large", *large])
    pages_growth.main()
    lines = capsys.readouterr().out.splitlines()
    assert "20.0 → 31.0" in lines[1]
    assert "1.55×" in lines[1]
    assert lines[1].endswith("MISSED")
    assert "1.40×" in lines[2]
    assert lines[-1] == "1 of 2 take at most 1.5 × as long at p95"
