"""Have we found enough? What the check of a search says about the share of the DA tweets that is found.

A check is a queue with a random sample of the tweets that nobody had judged when it was made. What people find by
whatever way counts as found; the sample says how much can be left. The statistics are in ml.stopping.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from django.db import connection

from labeling.models import Origin, Queue, Verdict
from labeling.queues import FINISHED
from labeling.sampling import Remainder
from ml import stopping

TARGETS = (0.7, 0.8, 0.9, 0.95)
ERROR = 0.05

FOUND = """
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM labeling_annotation a
    WHERE a.tweet_id = l.tweet_id AND a.origin >= %(analyst)s AND a.created_at < %(since)s::timestamptz
))
FROM labeling_label l
WHERE l.verdict = %(da)s AND l.verdict_origin IN (%(analyst)s, %(review)s) AND l.tweet_id <= %(last)s
  AND (%(source)s::smallint IS NULL
       OR (SELECT t.source FROM labeling_tweet t WHERE t.id = l.tweet_id) = %(source)s)
"""

JUDGED = """
SELECT count(*) FROM labeling_label l
WHERE l.annotators > 0 AND l.tweet_id <= %(last)s
  AND (%(source)s::smallint IS NULL
       OR (SELECT t.source FROM labeling_tweet t WHERE t.id = l.tweet_id) = %(source)s)
"""

SAMPLE = """
SELECT CASE WHEN l.verdict_origin >= %(analyst)s THEN l.verdict END, i.state
FROM labeling_queueitem i LEFT JOIN labeling_label l ON l.tweet_id = i.tweet_id
WHERE i.queue_id = %(queue)s AND i.seat = 1
ORDER BY i.position
"""


@dataclass(frozen=True)
class Sample:
    """Counted in the order in which the tweets were drawn, up to the first that waits: who judges a tweet early, and
    why, cannot sway the figure."""

    drawn: int
    judged: int
    positives: int  # judged DA, and the skipped ones
    skipped: int  # as long as nobody judges them, they count as DA that were missed
    later: int  # judged behind the first that waits: they count once those before them are judged


@dataclass(frozen=True)
class Step:
    """What certifies a share."""

    target: float
    labels: (
        int | None
    )  # more of the sample, if none of them is DA; 0: certified; None: not even all that is left
    labels_at_rate: int | None  # the same, if as many are DA as among those judged so far


@dataclass(frozen=True)
class Certificate:
    remainder: Remainder
    sample: Sample
    found: int  # DA by people, in all
    found_before: int  # of these, judged before the sample was drawn
    judged: int  # tweets that people have judged, in all
    most_left: int  # DA tweets of the remainder, found since or not, at most
    recall: float | None  # at least this share is found

    @property
    def percent(self) -> int | None:
        """Rounded down: it is a lower limit."""
        return None if self.recall is None else int(100 * self.recall)

    @property
    def missing(self) -> int:
        """At most so many DA tweets are not found."""
        return max(0, self.found_before + self.most_left - self.found)

    @property
    def says_something(self) -> bool:
        return bool(self.percent)


def certificate_of(queue: Queue) -> Certificate:
    """Of a check. Three queries; they count what people judged, never all tweets."""
    assert queue.remainder is not None
    remainder = Remainder(**queue.remainder)
    parameters = {
        "queue": queue.pk, "last": remainder.last_id, "source": remainder.source, "since": remainder.since,
        "analyst": Origin.ANALYST.value, "review": Origin.REVIEW.value, "da": Verdict.DA.value,
    }  # fmt: skip
    sample = _count_sample(_rows(SAMPLE, parameters))
    ((found, found_before),) = _rows(FOUND, parameters)
    ((judged,),) = _rows(JUDGED, parameters)
    numbers = _numbers(remainder, sample)
    return Certificate(
        remainder=remainder,
        sample=sample,
        found=found,
        found_before=found_before,
        judged=judged,
        most_left=stopping.most_left(**numbers, error=ERROR),
        recall=stopping.recall_reached(found=found, found_before=found_before, **numbers, error=ERROR),
    )


def _numbers(remainder: Remainder, sample: Sample) -> dict[str, int]:
    return {
        "population": max(remainder.population, sample.drawn),
        "sampled": sample.judged,
        "positives": sample.positives,
    }


def _count_sample(items: list[tuple[int | None, str]]) -> Sample:
    def is_settled(item: tuple[int | None, str]) -> bool:
        return item[0] is not None or item[1] in FINISHED  # skipped, or taken back: nobody is asked again

    counted = list(takewhile(is_settled, items))
    skipped = sum(verdict is None for verdict, _ in counted)
    return Sample(
        drawn=len(items),
        judged=len(counted),
        positives=skipped + sum(verdict == Verdict.DA for verdict, _ in counted),
        skipped=skipped,
        later=sum(is_settled(item) for item in items[len(counted) :]),
    )


def steps_of(certificate: Certificate) -> list[Step]:
    """How much further each target is."""
    sample = certificate.sample
    given: dict[str, Any] = {
        "found": certificate.found,
        "found_before": certificate.found_before,
        **_numbers(certificate.remainder, sample),
    }
    steps = []
    for target in TARGETS:
        labels = at_rate = stopping.labels_needed(target, **given, error=ERROR)
        if sample.positives:
            rate = sample.positives / sample.judged
            at_rate = stopping.labels_needed(target, **given, rate=rate, error=ERROR)
        steps.append(Step(target, labels, at_rate))
    return steps


def latest_check() -> Queue | None:
    return (
        Queue.objects.filter(strategy=Queue.Strategy.REMAINDER, remainder__isnull=False)
        .order_by("-id")
        .first()
    )


def _rows(sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
