"""How many DA tweets there are, by the flagged list; and what the next training takes for the share of DA in the corpus.

Judged flagged tweets, a random choice, say what part of the flagged list is DA; the held-out DA tweets say what part of
all DA tweets that is. Sharper than an audit of as many labels, but it assumes that the DA tweets of the corpus are like
those held out. The sums are those of ml.estimates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection

from labeling import audit_samples, estimate_words, estimates
from labeling.audit_samples import CannotEstimate, Progress
from labeling.estimates import FEWEST
from labeling.models import Audit, ModelVersion, Source, Split, Verdict
from labeling.scoring import threshold_of
from labeling.suggestions import published_version
from ml.estimates import FromFlagged, Interval, estimate, estimate_from_flagged

FEWEST_HELD_OUT = 50  # held-out DA tweets: below it, the recall may be nearly anything
# From here on the next training takes the estimate, where audits do not say enough.
ENOUGH_JUDGED = 200  # flagged tweets
ENOUGH_DA = 20  # of these; and of the held-out ones that are flagged
VERSIONS_TRIED = 5  # whose audits may serve


@dataclass(frozen=True)
class HeldOut:
    """The DA tweets of a version's test split that were collected as specific, and how many of them it flags.

    `is_judged`: only those that a person or the import judged; else those assumed to be DA are among them.
    """

    tweets: int
    flagged: int
    is_judged: bool


@dataclass(frozen=True)
class FlaggedReport:
    """What the judged flagged tweets of a version's own audits say."""

    version: ModelVersion
    audits: list[Audit]
    progress: Progress  # of the flagged tweets that were drawn
    positive: int  # judged DA
    flagged: int  # general tweets that the version flags
    tweets: int  # general tweets
    precision: Interval
    held_out: HeldOut | None  # None: too few
    found: FromFlagged | None  # None: too few held out

    @property
    def is_usable(self) -> bool:
        """As a prior of the next training."""
        if self.found is None or self.held_out is None or self.progress.judged < ENOUGH_JUDGED:
            return False
        few_da = min(self.positive, self.held_out.flagged) < ENOUGH_DA
        return not few_da and estimates.is_narrow(self.found.prevalence)


@dataclass(frozen=True)
class KnownShare:
    """The share of DA in the corpus, as judged tweets have it. `detail` is for the next version's report."""

    source: str  # audited | flagged
    share: Interval
    detail: dict[str, Any] = field(default_factory=dict)


# The estimate ---------------------------------------------------------------------------------------------


def report(version: ModelVersion) -> FlaggedReport | None:
    """By this version's flagged list; else, as the number of DA tweets is that of the corpus and not of a version, by
    that of another whose audits have enough. None: too few flagged tweets are judged."""
    return next(_reports(version), None)


def _reports(first: ModelVersion) -> Iterator[FlaggedReport]:
    """This version's, then those of the others, the newest first."""
    every = sorted(audit_samples.audits_by_version().values(), key=lambda own: own[0].version_id != first.pk)
    for audits in every[:VERSIONS_TRIED]:
        if found := _report(audits[0].version, audits):
            yield found


def _report(version: ModelVersion, audits: list[Audit]) -> FlaggedReport | None:
    try:
        sample = [one for one in audit_samples.read_sample(version, audits) if one.is_flagged]
    except CannotEstimate:
        return None
    progress = audit_samples.progress_of(sample)
    if progress.judged < FEWEST:
        return None
    cells = estimates.cells_of(estimates.parts_of(version, audits, sample), sample)
    precision = estimate(cells.at(cells.flagged)).precision
    if precision is None:
        return None
    held_out = _held_out(version)
    return FlaggedReport(
        version=version,
        audits=audits,
        progress=progress,
        positive=int(cells.positive[cells.flagged].sum()),
        flagged=int(cells.size[cells.flagged].sum()),
        tweets=cells.total,
        precision=precision,
        held_out=held_out,
        found=estimate_from_flagged(cells, held_out=held_out.tweets, found=held_out.flagged)
        if held_out
        else None,
    )


def _held_out(version: ModelVersion) -> HeldOut | None:
    """Of the test split, on which neither weights nor threshold were chosen. General tweets are left out: people mostly
    judge those that a version has flagged, and of these it would flag nearly all."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT x.verdict_origin IS NOT NULL, count(*),
                   count(*) FILTER (WHERE x.probabilities[1]::real >= %s::real)
            FROM labeling_example x JOIN labeling_tweet t ON t.id = x.tweet_id
            WHERE x.version_id = %s AND x.split = %s AND x.verdict = %s AND t.source = %s
            GROUP BY 1
            """,
            [threshold_of(version), version.pk, Split.TEST, Verdict.DA, Source.SPECIFIC],
        )
        counts = {is_judged: (tweets, flagged) for is_judged, tweets, flagged in cursor.fetchall()}
    judged, assumed = counts.get(True, (0, 0)), counts.get(False, (0, 0))
    if judged[0] >= FEWEST_HELD_OUT:
        return HeldOut(*judged, is_judged=True)
    tweets, flagged = judged[0] + assumed[0], judged[1] + assumed[1]
    return HeldOut(tweets, flagged, is_judged=False) if tweets >= FEWEST_HELD_OUT else None


# The next training ----------------------------------------------------------------------------------------


def known_share() -> KnownShare | None:
    """1. by audits, which assume nothing, where they are narrow enough  2. by the flagged list, where enough of it is
    judged  3. None: the training estimates it without labels."""
    audited = estimates.audited_prevalence()
    if audited:
        return KnownShare("audited", audited)
    version = published_version()
    usable = (found for found in _reports(version) if found.is_usable) if version else iter(())
    found = next(usable, None)
    if found is None or found.found is None or found.held_out is None:
        return None
    detail = {
        "by_version": found.version.number, "judged": found.progress.judged, "positive": found.positive,
        "precision": found.precision.value, "held_out": asdict(found.held_out),
    }  # fmt: skip
    return KnownShare("flagged", found.found.prevalence, detail)


# Words ----------------------------------------------------------------------------------------------------


def sentence(found: FlaggedReport) -> str:
    """What it means, in one or two sentences."""
    da, share, count = settings.VERDICT_DA, estimate_words.share, estimate_words.count
    words = (
        f"Of the {found.flagged:,} general tweets that version {found.version.number} flags,"
        f" {share(found.precision)} are {da}."
    )
    if found.found and found.held_out:
        words += (
            f" If it flags the {da} tweets of the corpus as often as the held-out ones, {share(found.found.recall)} of"
            f" {found.held_out.tweets:,}, there are about {count(found.found.positives)} of them in all."
        )
    return words


def assumption() -> str:
    da = settings.VERDICT_DA
    return (
        f"It holds only where the {da} tweets of the corpus are like those held out; where fewer have keywords it is too"
        " low, and the interval does not show it."
    )


def as_json(found: FlaggedReport) -> dict[str, Any]:
    """The figures as data."""
    return {
        "version": found.version.number,
        "audits": [audit.queue.name for audit in found.audits],
        "flagged": found.flagged,
        "tweets": found.tweets,
        "labels": asdict(found.progress),
        "positive": found.positive,
        "precision": asdict(found.precision),
        "held_out": asdict(found.held_out) if found.held_out else None,
        "corpus": asdict(found.found) if found.found else None,
        "assumption": assumption(),
    }
