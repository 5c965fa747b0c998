"""The figures of benchmarks/scale.py against their limits: a table, how they grow, and a capacity formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]
KILLS = 20  # workers that are killed in one run
GIB = 1e9


@dataclass
class Line:
    """One line of the table: a figure and what it may be at the most (or at the least)."""

    name: str
    value: float | None
    limit: float | None = None
    unit: str = "s"
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return ""
        kept = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "kept" if kept else "MISSED"


def table(result: Figures) -> list[Line]:
    """The figures beside their limits. Seconds and bytes are of 20 million: a smaller size has its share of them."""
    steps = result["steps"]
    share = result["rows"] / 20_000_000

    def figure(step: str, *keys: str) -> Any:
        value: Any = steps.get(step) or {}
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    memory = max((figure(step, "peak_rss") or 0 for step in ("import_general", "import_csv")), default=0)
    one, two = figure("score_one", "seconds"), figure("score_two", "seconds")
    ratio = figure("rounds", "two_against_one")
    lines = [
        Line("import, Parquet", figure("import_general", "seconds"), 120 * share),
        Line(
            "import, Parquet", figure("import_general", "rows_per_second"), 170_000, "rows/s", at_least=True
        ),
        Line("import, CSV", figure("import_csv", "seconds"), 180 * share),
        Line("import of the specific tweets, with their tags", figure("import_specific", "seconds"), 30),
        Line("importing processes, peak memory together", memory or None, 1024, "MiB"),
        Line(
            "import, CPU with PostgreSQL, per million rows",
            figure("import_general", "cpu_seconds_per_million"),
        ),
        Line("search ready after the import", figure("background", "search_ready_after"), 720 * share),
        Line("rules over all tweets", figure("rules", "seconds")),
        Line("training", figure("train", "seconds")),
        Line("scoring until flagged shows it, two warm workers", two, 150 * share),
        Line("scoring", figure("score_two", "tweets_per_second"), 133_000, "tweets/s", at_least=True),
        Line(
            "two workers against one", ratio or (one / two if one and two else None), 1.7, "×", at_least=True
        ),
        *(
            Line(
                f"scoring, end to end, against fastText's {kind} in memory",
                figure("rounds", name),
                3,
                "×",
                at_least=True,
            )
            for kind, name in (
                ("verdict", "against_fasttext_verdict"),
                ("all outputs", "against_fasttext_all_outputs"),
            )
        ),
        Line("drop a version's scores", figure("drop", "seconds"), 1),
        Line("scores too many or too few after kill -9", _wrong_scores(figure("kill")), 0, ""),
        Line("kills", figure("kill", "kills"), KILLS, "", at_least=True),
        Line("disk, database", _gigabytes(figure("disk", "database")), 9 * share, "GB"),
        Line("disk, whole cluster with its log", _gigabytes(figure("disk", "cluster")), None, "GB"),
        Line("10,000 tweets more: visible", figure("add", "visible_seconds"), 5),
        Line("10,000 tweets more: scored and flagged", figure("add", "scored_seconds"), 30),
    ]
    return lines + _page_lines(figure("pages", "pages"), figure("pages_busy", "pages"))


def _wrong_scores(found: Figures | None) -> float | None:
    return abs(found["scores"] - found["tweets"]) if found and "scores" in found else None


def _gigabytes(size: float | None) -> float | None:
    return size / GIB if size is not None else None


def page_figures(found: Any) -> dict[str, Figures]:
    """{name: {"p95_ms", "limit_ms"}} of what benchmarks/pages.py wrote."""
    if not isinstance(found, dict):
        return {}
    for inner in (found, *(value for value in found.values() if isinstance(value, dict))):
        cases = {name: case for name, case in inner.items() if isinstance(case, dict) and "p95_ms" in case}
        if cases:
            return cases
    return {}


def _page_lines(quiet: Any, busy: Any) -> list[Line]:
    calm, loaded = page_figures(quiet), page_figures(busy)
    lines = [Line(f"p95, {name}", case["p95_ms"], case.get("limit_ms"), "ms") for name, case in calm.items()]
    shared = [name for name in calm if name in loaded]
    lines += [
        Line(f"p95 while scoring, {name}", loaded[name]["p95_ms"] / calm[name]["p95_ms"], 2.5, "×")
        for name in shared
    ]
    return lines


ENOUGH_FULL = 15  # pages, for a 95th percentile of them


def growth(small: Figures, large: Figures) -> list[Line]:
    """How figures grow from a smaller run to a larger one; the limits are those of ten times the rows.

    A search that finds nothing in the smaller corpus is another page than one that finds fifty tweets in the larger:
    pages that are full in both are compared as well.
    """
    times = large["rows"] / small["rows"]
    paces = [run.get("machine", {}).get("pace", {}) for run in (small, large)]
    lines = [
        Line(f"the machine's own pace, {name}", paces[1][name] / paces[0][name], None, "×")
        for name in paces[0]
        if name in paces[1]
    ]
    for step in ("import_general", "score_two", "score_one"):
        a, b = (run["steps"].get(step, {}).get("seconds") for run in (small, large))
        if a and b:
            lines.append(Line(f"growth of {step} at {times:g} × the rows", b / a, 1.15 * times, "×"))
    before, after = (page_figures(run["steps"].get("pages", {}).get("pages")) for run in (small, large))
    for name in (name for name in before if name in after):
        lines.append(Line(f"growth, {name}", after[name]["p95_ms"] / before[name]["p95_ms"], 1.5, "×"))
        if all(run[name].get("full_pages", 0) >= ENOUGH_FULL for run in (before, after)):
            full = after[name]["full_p95_ms"] / before[name]["full_p95_ms"]
            lines.append(Line(f"growth, {name}, full pages alone", full, 1.5, "×"))
    return lines


def fit(small: Figures, large: Figures) -> list[Line]:
    """seconds = a + b · million rows / workers, through the two runs; bytes a row between them."""
    lines = []
    for step, key in (("import_general", "seconds"), ("import_csv", "seconds"), ("background", "search_seconds"),
                      ("rules", "seconds"), ("score_one", "seconds"), ("score_two", "seconds")):  # fmt: skip
        values = [run["steps"].get(step, {}).get(key) for run in (small, large)]
        if None in values:
            continue
        millions = [run["rows"] / 1e6 for run in (small, large)]
        workers = large["steps"][step].get("workers", 1)
        slope = (values[1] - values[0]) / (millions[1] - millions[0])
        lines.append(Line(f"{step}: a", values[0] - slope * millions[0]))
        lines.append(Line(f"{step}: b, {workers} × seconds per million rows", slope * workers))
    before, after = (run["steps"].get("disk", {}).get("relations", {}) for run in (small, large))
    rows = large["rows"] - small["rows"]
    for name in (name for name in after if name in before):
        if (grown := (after[name] - before[name]) / rows) >= 0.5:
            lines.append(Line(f"{name}, bytes a row", grown, unit="bytes"))
    return lines


def print_table(lines: list[Line], *, markdown: bool = False) -> None:
    if markdown:
        print("| what | measured | limit | |\n|---|---|---|---|")
    for line in lines:
        value = "–" if line.value is None else f"{number(line.value)} {line.unit}".strip()
        sign = "≥" if line.at_least else "≤"
        limit = "" if line.limit is None else f"{sign} {number(line.limit)} {line.unit}".strip()
        cells = (line.name, value, limit, line.verdict)
        print("| " + " | ".join(cells) + " |" if markdown else "{:58} {:>18} {:>20}  {}".format(*cells))


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
