"""Counts of scores: made chunk by chunk, added up when a run is published, shown as the version's summary."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from django.conf import settings
from django.db import connection

from labeling.binary_copy import EPOCH_2000
from labeling.score_tables import NO_DATE, ScoreTables, Tweets

# {"bins" | "days" | "sources" | "tags": {bin, ISO date ("" without), source or tag id: [tweets, flagged]}}.
# Every tweet is in one bin, one day and one source. JSON: kept in the chunk's row until it is published.
Counts = dict[str, dict[str, list[int]]]

HISTOGRAM_BINS = 50
HISTOGRAM_LOGIT = 7.0  # bins are equal in the logit of risk, from −7 (0.0009) to 7 (0.9991)


def histogram_edges() -> list[float]:
    """Edges of the histogram's bins, as probabilities: the first is 0, the last is 1."""
    step = 2 * HISTOGRAM_LOGIT / HISTOGRAM_BINS
    inner = [1 / (1 + 2.718281828459045 ** (HISTOGRAM_LOGIT - k * step)) for k in range(1, HISTOGRAM_BINS)]
    return [0.0, *inner, 1.0]


def count(
    tweets: Tweets,
    risk: npt.NDArray[np.float32],
    given: npt.NDArray[np.bool_],
    *,
    tag_ids: list[int],
    threshold: float,
) -> Counts:
    """Of one chunk. `given` is [tweets, tags]: which tags the version gives to which tweet."""
    flagged = risk >= np.float32(threshold)
    bins = np.searchsorted(histogram_edges()[1:-1], risk.astype(np.float64), side="right")
    tags = zip(tag_ids, given.sum(axis=0).tolist(), given[flagged].sum(axis=0).tolist(), strict=True)
    return {
        "bins": _tally(bins, flagged),
        "days": _count_days(tweets.posted, flagged),
        "sources": _tally(tweets.source.astype(np.int64), flagged),
        "tags": {str(tag): [n, high] for tag, n, high in tags if n},
    }


def _tally(values: npt.NDArray[Any], flagged: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """{value: [rows, flagged rows]} of small whole numbers, which may be negative."""
    if not len(values):
        return {}
    low = int(values.min())
    rows = np.bincount(values - low)
    high = np.bincount(values[flagged] - low, minlength=len(rows))
    return {str(low + int(n)): [int(rows[n]), int(high[n])] for n in np.flatnonzero(rows)}


def _count_days(posted: npt.NDArray[np.int64], flagged: npt.NDArray[np.bool_]) -> dict[str, list[int]]:
    """By the calendar of TIME_ZONE, as `AT TIME ZONE` in the database."""
    dated = posted != NO_DATE
    moments = pa.array(posted[dated] + EPOCH_2000 * 1_000_000, pa.timestamp("us", tz=settings.TIME_ZONE))
    days = pc.local_timestamp(moments).cast(pa.timestamp("s"), safe=False).cast(pa.date32(), safe=False)
    by_number = _tally(days.cast(pa.int32()).to_numpy().astype(np.int64), flagged[dated])
    counts = {str(np.datetime64(int(day), "D")): pair for day, pair in by_number.items()}
    if not dated.all():
        counts[""] = [int((~dated).sum()), int((flagged & ~dated).sum())]
    return counts


def add(*parts: Counts) -> Counts:
    total: Counts = {"bins": {}, "days": {}, "sources": {}, "tags": {}}
    for part in parts:
        for name, groups in part.items():
            sums = total[name]
            for key, (n, flagged) in groups.items():
                pair = sums.setdefault(key, [0, 0])
                pair[0] += n
                pair[1] += flagged
    return total


def scan(tables: ScoreTables, *, threshold: float) -> Counts:
    """The same counts from the scores themselves: three scans, some twenty seconds at 20 million."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT bin, day, source, count(*), count(*) FILTER (WHERE flagged) FROM (
                SELECT width_bucket(s.risk::float8, %s::float8[]) AS bin, s.source, s.risk >= %s::real AS flagged,
                       coalesce((t.posted_at AT TIME ZONE %s)::date::text, '') AS day
                FROM {tables.score} s JOIN labeling_tweet t ON t.id = s.tweet_id
            ) s GROUP BY GROUPING SETS ((bin), (day), (source))
            """,
            [histogram_edges()[1:-1], threshold, settings.TIME_ZONE],
        )
        counts = add()
        for values in cursor.fetchall():
            for name, value in zip(("bins", "days", "sources"), values, strict=False):
                if value is not None:
                    counts[name][str(value)] = list(values[3:])
        cursor.execute(
            f"SELECT tag_id, count(*), count(*) FILTER (WHERE risk >= %s::real) FROM {tables.tag} GROUP BY 1",
            [threshold],
        )
        counts["tags"] = {str(tag): [n, flagged] for tag, n, flagged in cursor.fetchall()}
    return counts


# The summary of a version ----------------------------------------------------------------------------------


def summary_of(counts: Counts, *, threshold: float, floor: float) -> dict[str, Any]:
    """What the pages show, as JSON:

    {"n", "flagged", "threshold", "floor", "histogram": {"edges": 51 floats, "counts": 50 ints},
    "tags": [{"tag", "n", "flagged"}], "days": [[ISO date or None, n, flagged]], "sources": {source: [n, flagged]}}
    """
    days = sorted(counts["days"].items(), key=lambda day: (not day[0], day[0]))  # without a date: last
    tags = sorted(counts["tags"].items(), key=lambda tag: int(tag[0]))
    return {
        "n": sum(n for n, _ in counts["sources"].values()),
        "flagged": sum(flagged for _, flagged in counts["sources"].values()),
        "threshold": threshold,
        "floor": floor,
        "histogram": {
            "edges": histogram_edges(),
            "counts": [counts["bins"].get(str(k), [0, 0])[0] for k in range(HISTOGRAM_BINS)],
        },
        "tags": [{"tag": int(tag), "n": n, "flagged": flagged} for tag, (n, flagged) in tags],
        "days": [[day or None, n, flagged] for day, (n, flagged) in days],
        "sources": dict(sorted(counts["sources"].items())),
    }


def counts_of(summary: dict[str, Any]) -> Counts:
    """The counts that a summary shows, to add later ones to. Empty for a version without scores."""
    if not summary.get("histogram"):
        return add()
    return {
        "bins": {str(k): [n, 0] for k, n in enumerate(summary["histogram"]["counts"]) if n},
        "days": {day or "": [n, flagged] for day, n, flagged in summary["days"]},
        "sources": summary["sources"],
        "tags": {str(tag["tag"]): [tag["n"], tag["flagged"]] for tag in summary["tags"]},
    }
