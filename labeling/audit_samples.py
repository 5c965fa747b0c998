"""What audits have drawn, and what people said of it: the sample that labeling.estimates and labeling.corpus_share read."""

# ruff: noqa: S608 - what is put into SQL here is names of this module's own

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count

from labeling.audits import stratum_place
from labeling.models import Audit, ModelVersion, QueueItem, Verdict
from labeling.models.versions import LARGE
from labeling.score_tables import ScoreTables
from labeling.scoring import threshold_of
from labeling.snapshots import PEOPLE


class CannotEstimate(Exception):
    """The message says why not, and what to do."""


@dataclass(frozen=True)
class Sampled:
    """A tweet of an audit, with what people hold true of it and what the version says."""

    tweet_id: int
    stratum: int
    state: str
    verdict: int | None  # a person's; None: not judged
    risk: float
    is_flagged: bool
    text: str
    tag_ids: list[int] | None  # a person's; None: not judged
    tag_bytes: bytes  # round(255 · P(tag)), in the order of version.tag_ids
    given: list[int]  # tags that the version gives it, decided before its probabilities were rounded
    is_of_whole: bool  # drawn by audits of all general tweets, and by none of the flagged alone
    counts: bool  # every tweet that was drawn before it has been handled

    @property
    def is_judged(self) -> bool:
        return self.verdict in (Verdict.DA, Verdict.NDA)

    @property
    def is_left_open(self) -> bool:
        """A person had it and could not, or would not, say; or took back what they said."""
        was_taken_back = self.counts and self.state == QueueItem.State.DONE
        return self.verdict == Verdict.UNSURE or (
            self.verdict is None and (was_taken_back or self.state == QueueItem.State.SKIPPED)
        )


@dataclass(frozen=True)
class Progress:
    """What became of the drawn tweets; each is counted once."""

    drawn: int
    judged: int  # DA or NDA
    unsure: int
    skipped: int

    @property
    def waiting(self) -> int:
        return self.drawn - self.judged - self.unsure - self.skipped

    @property
    def left_out(self) -> int:
        return self.unsure + self.skipped


def audits_for(version: ModelVersion) -> list[Audit]:
    """The audits, the newest first, of the version by whose scores most tweets were drawn and judged.

    This version's own count twice: its own strata tell more of it. Audits of one version share their strata, so their
    labels are put together. Those of another stay a random sample of the corpus, and serve. Audits of the flagged list
    add to others, and say nothing of the corpus by themselves.
    """
    judged = QueueItem.objects.filter(queue__audit__isnull=False, state=QueueItem.State.DONE)
    counts: dict[int, int] = dict(judged.values_list("queue__audit").annotate(n=Count("pk")).order_by())

    def worth(own: list[Audit]) -> int:
        n = sum(counts.get(audit.pk, 0) for audit in own if not audit.is_of_flagged)
        return n * (2 if own[0].version_id == version.pk else 1)

    of_whole = [own for own in audits_by_version().values() if not all(a.is_of_flagged for a in own)]
    return max(of_whole, key=lambda own: (worth(own), own[0].pk), default=[])


def audits_by_version() -> dict[int, list[Audit]]:
    """{ModelVersion.id: its audits}, the newest first in both."""
    every = Audit.objects.select_related("queue", "version").order_by("-id")
    found: dict[int, list[Audit]] = {}
    for audit in every.defer(*(f"version__{name}" for name in LARGE)):
        found.setdefault(audit.version_id, []).append(audit)
    return found


def read_sample(version: ModelVersion, audits: Sequence[Audit]) -> list[Sampled]:
    """The drawn tweets, each once, with the version's scores. One query, by keys.

    Labels count in the order of the draw, up to the first tweet that waits: those known beyond it are known because
    people met the tweets elsewhere, as the riskiest are met first, and would sway the figures. Of a tweet that several
    audits drew, one in which it counts is enough.
    """
    if version.scores_published_at is None:
        raise CannotEstimate(f"{version} has no published scores. Score the tweets with it first.")
    people = [int(origin) for origin in PEOPLE]
    queues = [audit.queue_id for audit in audits]
    of_whole = [audit.queue_id for audit in audits if not audit.is_of_flagged]
    tables = ScoreTables(version.pk)
    sql = f"""
        WITH waiting AS (
            SELECT queue_id, min(position) AS first FROM labeling_queueitem
            WHERE queue_id = ANY(%s) AND state IN ('waiting', 'claimed') GROUP BY 1
        )
        SELECT DISTINCT ON (i.tweet_id) i.tweet_id, i.stratum, i.state,
               CASE WHEN counts AND l.verdict_origin = ANY(%s) THEN l.verdict END, s.risk, s.risk >= %s::real, t.text,
               CASE WHEN counts AND l.tags_origin = ANY(%s) THEN l.tag_ids END, s.tag_bytes,
               ARRAY(SELECT g.tag_id FROM {tables.tag} g WHERE g.tweet_id = i.tweet_id),
               bool_and(i.queue_id = ANY(%s::bigint[])) OVER (PARTITION BY i.tweet_id), counts
        FROM labeling_queueitem i
        LEFT JOIN waiting w ON w.queue_id = i.queue_id
        CROSS JOIN LATERAL (SELECT w.first IS NULL OR i.position < w.first AS counts) c
        JOIN labeling_tweet t ON t.id = i.tweet_id
        JOIN {tables.score} s ON s.tweet_id = i.tweet_id
        LEFT JOIN labeling_label l ON l.tweet_id = i.tweet_id
        WHERE i.queue_id = ANY(%s)
        ORDER BY i.tweet_id, counts DESC, i.queue_id = ANY(%s::bigint[]), i.queue_id
        """
    with connection.cursor() as cursor:
        cursor.execute(sql, [queues, people, threshold_of(version), people, of_whole, queues, of_whole])
        rows = cursor.fetchall()
    sample = []
    for tweet_id, stratum, *judgement, tag_bytes, given, is_of_whole, counts in rows:
        state, verdict, risk, is_flagged, text, tag_ids = judgement
        sample.append(
            Sampled(
                tweet_id=tweet_id,
                stratum=stratum_place(stratum),
                state=state,
                verdict=verdict,
                risk=risk,
                is_flagged=is_flagged,
                text=text,
                tag_ids=tag_ids,
                tag_bytes=bytes(tag_bytes),
                given=given,
                is_of_whole=is_of_whole,
                counts=counts,
            )
        )
    return sample


def progress_of(sample: Sequence[Sampled]) -> Progress:
    unsure = sum(one.verdict == Verdict.UNSURE for one in sample)
    return Progress(
        drawn=len(sample),
        judged=sum(one.is_judged for one in sample),
        unsure=unsure,
        skipped=sum(one.is_left_open for one in sample) - unsure,
    )
