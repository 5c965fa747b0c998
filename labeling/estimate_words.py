"""Estimates as people read them: a sentence, numbers with their intervals, the confusion matrix of the corpus."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from labeling.estimates import Report
from ml.estimates import Estimates, Interval


def sentence(found: Report) -> str:
    """What it means: "of about 31,000 (24,000–39,000) DA tweets, …"."""
    assert found.found is not None
    da, positives, recall = settings.VERDICT_DA, found.found.positives, found.found.recall
    words = (
        f"Of about {count(positives)} {da} tweets among {found.tweets:,} general tweets, the flagged list of"
    )
    words += f" version {found.version.number} holds {share(recall)}."
    if found.found.precision:
        words += f" Of what it flags, {share(found.found.precision)} is {da}."
    return words


def count(interval: Interval) -> str:
    """31,000 (24,000–39,000), in steps of about a hundredth to a tenth of the width; one number where it is known."""
    value, low, high = counted(interval)
    return value if low == high else f"{value} ({low}\N{EN DASH}{high})"


def counted(interval: Interval) -> tuple[str, str, str]:
    """Value, low, high."""
    step = 10 ** max(math.floor(math.log10(max(interval.width, 1))) - 1, 0)
    return _three(interval, lambda number: f"{max(round(number / step) * step, 0):,}")


def share(interval: Interval | None) -> str:
    """71 % (58–82 %), with as many digits as the width deserves."""
    if interval is None:
        return "\N{EN DASH}"
    points = 100 * interval.width
    digits = min(max(math.ceil(-math.log10(points / 5)), 0), 4) if points else 1
    value, low, high = _three(interval, lambda part: f"{part * 100:.{digits}f}")
    sign = "\N{NO-BREAK SPACE}%"
    return f"{value}{sign}" if low == high else f"{value}{sign} ({low}\N{EN DASH}{high}{sign})"


def _three(interval: Interval, write: Callable[[float], str]) -> tuple[str, str, str]:
    return write(interval.value), write(interval.low), write(interval.high)


@dataclass(frozen=True)
class MatrixCell:
    interval: Interval
    of_row: float  # its share
    is_error: bool

    @property
    def heat(self) -> int:
        return min(9, int(self.of_row * 10))

    @property
    def words(self) -> tuple[str, str, str]:
        """Value, low, high."""
        return counted(self.interval)


def matrix(found: Estimates) -> list[list[MatrixCell]]:
    """Rows: truly DA, truly NDA. Columns: flagged, not flagged."""
    rows = ((found.tp, found.fn), (found.fp, found.tn))
    return [
        [
            MatrixCell(cell, cell.value / max(row[0].value + row[1].value, 1), i != j)
            for j, cell in enumerate(row)
        ]
        for i, row in enumerate(rows)
    ]
