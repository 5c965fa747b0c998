"""Two versions on the tweets that both held out: their figures, and the tweets that one calls DA and the other does not.

On all scored tweets of the corpus: labeling.flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import connection
from django.db.models import Count, FloatField, Q, QuerySet
from django.db.models.expressions import RawSQL
from numpy.typing import NDArray

from labeling.models import Example, ModelVersion, Split, Verdict
from labeling.versions import DA_HEAD, held_out, place_of, probability_of, threshold_of

SAMPLES = ("people", "test", "no_rule")
# Held-out tweets that people judged, and how many of them DA, to be the sample to begin with.
ENOUGH_JUDGED = 100
ENOUGH_DA = 20
NONE = -1  # no verdict

Probabilities = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Figures:
    """Of one version, for one head, on the tweets that both versions held out."""

    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


@dataclass(frozen=True)
class Comparison:
    head: str
    n: int
    positives: int
    before: Figures
    after: Figures

    def difference(self, name: str) -> float | None:
        a, b = getattr(self.before, name), getattr(self.after, name)
        return None if a is None or b is None else b - a


@dataclass(frozen=True)
class BothHeldOut:
    """The test tweets of both versions, with their labels as the later one has them."""

    before: ModelVersion
    after: ModelVersion
    verdicts: NDArray[np.int16]  # (tweets,); NONE where there is none
    tags: list[list[int] | None]
    p_before: Probabilities  # (tweets, 1 + tags): DA, then the version's tags
    p_after: Probabilities
    samples: dict[str, Mask]  # (tweets,) each

    @property
    def has_verdict(self) -> Mask:
        return np.isin(self.verdicts, (Verdict.DA, Verdict.NDA))

    def sizes(self) -> dict[str, int]:
        """Tweets with a verdict in each sample."""
        return {name: int((mask & self.has_verdict).sum()) for name, mask in self.samples.items()}

    def first_sample(self) -> str:
        """What people judged, as assumed and drawn verdicts change with the training; all, where that is little."""
        judged = self.samples["people"] & self.has_verdict
        positive = int((judged & (self.verdicts == Verdict.DA)).sum())
        return "people" if judged.sum() >= ENOUGH_JUDGED and positive >= ENOUGH_DA else "test"

    def compare(self, sample: str = "test") -> list[Comparison]:
        """DA, then every tag that both know."""
        inside = self.samples[sample]
        return [self._compare_head(head, inside) for head in [None, *self._common_tags()]]

    def _common_tags(self) -> list[int]:
        return [tag_id for tag_id in self.after.tag_ids if tag_id in self.before.tag_ids]

    def _compare_head(self, head: int | None, inside: Mask) -> Comparison:
        if head is None:
            known, positive = self.has_verdict, self.verdicts == Verdict.DA
        else:
            known = np.array([ids is not None for ids in self.tags], dtype=bool)
            positive = np.array([head in (ids or ()) for ids in self.tags], dtype=bool)
        known = known & inside
        return Comparison(
            head=DA_HEAD if head is None else self.after.report["tags"][self.after.tag_ids.index(head)],
            n=int(known.sum()),
            positives=int(positive[known].sum()),
            before=_measure(self.before, head, positive[known], self.p_before[known]),
            after=_measure(self.after, head, positive[known], self.p_after[known]),
        )


def both_held_out(before: ModelVersion, after: ModelVersion) -> BothHeldOut:
    """Reads all of these tweets (some 20,000): about half a second."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT a.id, a.verdict, a.tag_ids, array_send(b.probabilities), array_send(a.probabilities)
            FROM labeling_example b JOIN labeling_example a ON a.tweet_id = b.tweet_id
            WHERE b.version_id = %(before)s AND a.version_id = %(after)s AND b.split = %(test)s AND a.split = %(test)s
            """,
            {"before": before.pk, "after": after.pk, "test": Split.TEST},
        )
        rows = cursor.fetchall()
    ids = np.array([row[0] for row in rows], np.int64)
    samples = {"test": np.ones(len(ids), bool)}
    for sample in ("people", "no_rule"):
        samples[sample] = np.isin(ids, list(held_out(after, sample).values_list("pk", flat=True)))
    return BothHeldOut(
        before=before,
        after=after,
        verdicts=np.array([NONE if row[1] is None else row[1] for row in rows], np.int16),
        tags=[row[2] for row in rows],
        p_before=_arrays([row[3] for row in rows], 1 + len(before.tag_ids)),
        p_after=_arrays([row[4] for row in rows], 1 + len(after.tag_ids)),
        samples={name: samples[name] for name in SAMPLES},
    )


def _arrays(sent: Sequence[memoryview], heads: int) -> Probabilities:
    """Postgres' binary form of float8[]: 20 bytes of header, then a 4-byte length and 8 bytes for each."""
    raw = np.frombuffer(b"".join(sent), dtype=np.uint8).reshape(len(sent), 20 + 12 * heads)
    values = np.ascontiguousarray(raw[:, 20:].reshape(len(sent), heads, 12)[:, :, 4:])
    return values.view(">f8").reshape(len(sent), heads).astype(np.float64)


def _measure(version: ModelVersion, tag_id: int | None, positive: Mask, p: Probabilities) -> Figures:
    threshold = threshold_of(version, tag_id)
    scores = p[:, place_of(version, tag_id)]
    predicted = scores >= threshold if threshold is not None else np.zeros(len(scores), dtype=bool)
    tp, total = int((predicted & positive).sum()), int(positive.sum())
    precision = tp / int(predicted.sum()) if predicted.any() else None
    recall = tp / total if total else None
    f1 = 2 * tp / (int(predicted.sum()) + total) if total else None
    return Figures(precision, recall, f1, average_precision(positive, scores))


def average_precision(positive: Mask, scores: NDArray[np.float64]) -> float | None:
    """Σ (recall step × precision) down the ranking; equal scores are one step. None without positives."""
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # the last of each run of equal scores
    precision = hits[last] / (last + 1)
    return float(np.sum(np.diff(hits[last] / hits[-1], prepend=0.0) * precision))


def changed(before: ModelVersion, after: ModelVersion, sample: str = "test") -> QuerySet[Example]:
    """Rows of `after` whose DA decision differs from that of `before`, with `p_before`; newest tweet first."""
    if before.threshold is None or after.threshold is None:
        return Example.objects.none()
    earlier = RawSQL(
        "(SELECT b.probabilities[1] FROM labeling_example b WHERE b.version_id = %s"
        " AND b.tweet_id = labeling_example.tweet_id AND b.split = %s)",
        [before.pk, Split.TEST],
        FloatField(),
    )
    rows = held_out(after, sample).filter(verdict__in=(Verdict.DA, Verdict.NDA)).annotate(p_before=earlier)
    rows = rows.annotate(probability=probability_of(after, "test", None))
    up = Q(p_before__lt=before.threshold, probability__gte=after.threshold)
    down = Q(p_before__gte=before.threshold, probability__lt=after.threshold)
    return rows.filter(up | down).order_by("-tweet_id")


def is_right(version: ModelVersion) -> Q:
    """Of annotated rows: the version's DA decision agrees with the verdict."""
    return Q(verdict=Verdict.DA, probability__gte=version.threshold) | Q(
        verdict=Verdict.NDA, probability__lt=version.threshold
    )


def count_changed(before: ModelVersion, after: ModelVersion, sample: str = "test") -> dict[str, int]:
    """Of the tweets that both held out, how many DA decisions differ, and which way: all, fixed, broken."""
    rows = changed(before, after, sample)
    if before.threshold is None or after.threshold is None:
        return {"all": 0, "fixed": 0, "broken": 0}
    counts: dict[str, int] = rows.aggregate(all=Count("pk"), fixed=Count("pk", filter=is_right(after)))
    return {**counts, "broken": counts["all"] - counts["fixed"]}
