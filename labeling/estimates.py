"""What the labels of audits say of the whole corpus: how many DA tweets there are, and how many a version finds.

The sums are those of ml.estimates. Here is what they need: the strata of the audits, on which side of its threshold the
version has each tweet, and what people said (labeling.audit_samples). labeling.estimate_words writes it down.
"""

# ruff: noqa: S608 - what is put into SQL here is numbers and constants of this module

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import numpy as np
from django.db import connection

from labeling.audit_samples import CannotEstimate, Progress, Sampled, audits_for, progress_of, read_sample
from labeling.marking import active_rules
from labeling.models import Audit, ModelVersion, Source, Verdict
from labeling.score_tables import ScoreTables
from labeling.scoring import threshold_of
from labeling.suggestions import published_version, tag_limits
from ml import estimates
from ml.estimates import PLANNING_DRAWS, Cells, Estimates, Interval, Ints

FEWEST = 30  # judged tweets: below it, an interval would be all of the model and nothing of the labels
FEWEST_WITH_TAG = 10  # judged tweets with a tag: below it, nothing is said of the tag
USABLE_PRIOR = 3.0  # a prevalence whose bounds are further apart than so many times is no prior
MOST_FLAGGED = 500_000  # of another version, that are looked up one by one


@dataclass(frozen=True)
class Beyond:
    """The same for the tweets that no rule matches."""

    positives: Interval
    precision: Interval | None
    recall: Interval
    missed: Interval
    judged_positive: int


@dataclass(frozen=True)
class StratumRow:
    """What was drawn, judged and found between two scores."""

    low: float
    high: float
    flagged: bool
    tweets: int
    judged: int
    positive: int
    estimated: Interval


@dataclass(frozen=True)
class TagRow:
    """A tag at its threshold; `found` is None where the sample does not support it, and `more` labels might."""

    tag_id: int
    judged: int
    positive: int
    found: Estimates | None
    more: int | None = None


@dataclass(frozen=True)
class Report:
    """All that the page says of one version."""

    version: ModelVersion
    audits: list[Audit]
    progress: Progress
    whole: Progress  # the same without what audits of the flagged list have drawn
    found: Estimates | None  # None: too few labels
    beyond: Beyond | None = None
    halving: dict[str, int | None] = field(default_factory=dict)
    if_da: Estimates | None = None  # were all that people left open DA; None: nothing was left open
    if_nda: Estimates | None = None
    strata: list[StratumRow] = field(default_factory=list)
    tags: list[TagRow] = field(default_factory=list)

    @property
    def newest(self) -> Audit:
        return self.audits[0]

    @property
    def drawn_by(self) -> ModelVersion:
        return self.newest.version

    @property
    def is_of_another(self) -> bool:
        return self.drawn_by.pk != self.version.pk

    @property
    def tweets(self) -> int:
        return self.newest.tweets

    @property
    def date(self) -> datetime:
        return self.newest.created_at


# The report -----------------------------------------------------------------------------------------------


def report(version: ModelVersion) -> Report | None:
    """None: there is no audit of all general tweets yet. CannotEstimate where there is one that says nothing of this
    version."""
    audits = audits_for(version)
    if not audits:
        return None
    sample = read_sample(version, audits)
    progress, whole = progress_of(sample), progress_of([one for one in sample if one.is_of_whole])
    if whole.judged < FEWEST:
        return Report(version, audits, progress, whole, None)
    parts = parts_of(version, audits, sample)
    cells = cells_of(parts, sample)
    positives = estimates.draw_positives(cells)
    result = Report(
        version,
        audits,
        progress,
        whole,
        estimates.summarise(cells, positives),
        beyond=_beyond(cells, positives, parts, sample),
        halving=_halving(_Frozen.of(cells)),
        strata=_strata(parts, cells, positives, audits[0]),
        tags=_tags(version, audits[0], sample),
    )
    if progress.left_out:
        if_da, if_nda = (_settled(cells, parts, sample, positive=answer) for answer in (True, False))
        result = replace(result, if_da=if_da, if_nda=if_nda)
    return result


# Cells ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A cell of the corpus: a stratum, or what of it the version flags or does not."""

    stratum: int
    flagged: bool
    tweets: int
    expected: float

    def of(self, sample: Sequence[Sampled]) -> list[Sampled]:
        return [one for one in sample if one.stratum == self.stratum and one.is_flagged == self.flagged]


def parts_of(version: ModelVersion, audits: Sequence[Audit], sample: Sequence[Sampled]) -> list[Part]:
    newest = audits[0]
    if newest.version_id == version.pk:
        return [
            Part(h, stratum["flagged"], stratum["tweets"], stratum["expected"])
            for h, stratum in enumerate(newest.strata)
        ]
    return _crossed(version, newest, sample)


def _crossed(version: ModelVersion, audit: Audit, sample: Sequence[Sampled]) -> list[Part]:
    """The strata of another version, each cut in two by what this one flags: those are looked up one by one."""
    if version.score_summary.get("flagged", 0) > MOST_FLAGGED:
        raise CannotEstimate(
            f"{version} flags too many tweets to look each up in the audit of {audit.version}. Start an audit for it."
        )
    if audit.version.scores_published_at is None:
        raise CannotEstimate(
            f"The last audit was drawn by the scores of {audit.version}, which are gone. Start a new one for {version}."
        )
    flagged = _flagged_by_stratum(version, audit)
    parts = []
    for h, stratum in enumerate(audit.strata):
        n, mean = flagged.get(h, (0, 0.0))
        below = [one.risk for one in sample if one.stratum == h and not one.is_flagged]
        rest = float(np.mean(below)) if below else stratum["expected"]
        parts += [Part(h, True, n, mean), Part(h, False, stratum["tweets"] - n, rest)]
    return [part for part in parts if part.tweets > 0]


def _flagged_by_stratum(version: ModelVersion, audit: Audit) -> dict[int, tuple[int, float]]:
    """{stratum of the audit: (how many of its tweets the version flags, their mean risk)}"""
    edges = [stratum["low"] for stratum in audit.strata[1:]]
    sql = f"""
        SELECT width_bucket(o.risk::float8, %s::float8[]), count(*), avg(s.risk)
        FROM {ScoreTables(version.pk).listed} s
        JOIN {ScoreTables(audit.version_id).score} o ON o.tweet_id = s.tweet_id
        WHERE s.risk >= {threshold_of(version)!r}::real AND s.source = %s AND s.tweet_id BETWEEN %s AND %s
        GROUP BY 1
        """
    with connection.cursor() as cursor:
        cursor.execute(sql, [edges, Source.GENERAL.value, audit.first_id, audit.last_id])
        return {int(place): (int(n), float(mean)) for place, n, mean in cursor.fetchall()}


def cells_of(parts: Sequence[Part], sample: Sequence[Sampled]) -> Cells:
    """Not judged, unsure or skipped: left out, as if they were like the judged ones of their part."""
    judged = [[one for one in part.of(sample) if one.is_judged] for part in parts]
    labelled = np.array([len(ones) for ones in judged], dtype=float)
    return Cells(
        size=np.maximum(np.array([part.tweets for part in parts]), labelled.astype(np.int64)),
        expected=np.array([part.expected for part in parts]),
        flagged=np.array([part.flagged for part in parts], dtype=bool),
        labelled=labelled,
        positive=np.array([sum(one.verdict == Verdict.DA for one in ones) for ones in judged], dtype=float),
    )


def _settled(cells: Cells, parts: Sequence[Part], sample: Sequence[Sampled], *, positive: bool) -> Estimates:
    """As it would be, had all that people left open, unsure or skipped, been DA (or NDA)."""
    left_open = np.array([sum(one.is_left_open for one in part.of(sample)) for part in parts], dtype=float)
    added = left_open if positive else np.zeros(len(parts))
    labelled = cells.labelled + left_open
    size = np.maximum(cells.size, labelled.astype(np.int64))
    return estimates.estimate(
        replace(cells, size=size, labelled=labelled, positive=cells.positive + added), draws=PLANNING_DRAWS
    )


@dataclass(frozen=True)
class _Frozen:
    """Cells that can be a key: what took a while is not done again for the next visitor."""

    size: tuple[int, ...]
    expected: tuple[float, ...]
    flagged: tuple[bool, ...]
    labelled: tuple[float, ...]
    positive: tuple[float, ...]

    @classmethod
    def of(cls, cells: Cells) -> _Frozen:
        parts = (cells.size, cells.expected, cells.flagged, cells.labelled, cells.positive)
        return cls(*(tuple(part.tolist()) for part in parts))

    def cells(self) -> Cells:
        return Cells(
            np.array(self.size),
            np.array(self.expected),
            np.array(self.flagged),
            np.array(self.labelled),
            np.array(self.positive),
        )


@lru_cache(maxsize=16)
def _halving(frozen: _Frozen) -> dict[str, int | None]:
    return estimates.labels_to_halve(frozen.cells())


def _strata(parts: Sequence[Part], cells: Cells, positives: Ints, audit: Audit) -> list[StratumRow]:
    """From the highest scores to the lowest."""
    rows = [
        StratumRow(
            low=audit.strata[part.stratum]["low"],
            high=audit.strata[part.stratum]["high"],
            flagged=part.flagged,
            tweets=int(cells.size[h]),
            judged=int(cells.labelled[h]),
            positive=int(cells.positive[h]),
            estimated=estimated,
        )
        for h, (part, estimated) in enumerate(zip(parts, estimates.per_cell(positives), strict=True))
    ]
    return rows[::-1]


# Tags -----------------------------------------------------------------------------------------------------


def _tags(version: ModelVersion, audit: Audit, sample: Sequence[Sampled]) -> list[TagRow]:
    """Every tag of the version that has a threshold."""
    limits = zip(version.tag_ids, tag_limits(version), strict=True)
    return [
        _tag(tag_id, [(one, one.tag_bytes[place] / 255) for one in sample], audit)
        for place, (tag_id, limit) in enumerate(limits)
        if limit is not None
    ]


def _tag(tag_id: int, sample: Sequence[tuple[Sampled, float]], audit: Audit) -> TagRow:
    """The strata, each cut in two by whether the version gives the tag. How many tweets that is, the sample says:
    the scores of all drawn tweets are known, judged or not."""
    judged = sum(one.tag_ids is not None for one, _ in sample)
    positive = sum(tag_id in (one.tag_ids or ()) for one, _ in sample)
    if positive < FEWEST_WITH_TAG:
        more = math.ceil(judged * (FEWEST_WITH_TAG / positive - 1)) if positive else None
        return TagRow(tag_id, judged, positive, None, more)
    rows = []
    for h, stratum in enumerate(audit.strata):
        drawn = [(one, p) for one, p in sample if one.stratum == h]
        for given in (False, True):
            own = [(one, p) for one, p in drawn if (tag_id in one.given) == given]
            if own:
                size = round(stratum["tweets"] * len(own) / len(drawn))
                answers = [tag_id in one.tag_ids for one, _ in own if one.tag_ids is not None]
                mean = sum(p for _, p in own) / len(own)
                rows.append((max(size, len(answers)), mean, given, float(len(answers)), float(sum(answers))))
    cells = Cells(*(np.array(column) for column in zip(*rows, strict=True)))
    return TagRow(tag_id, judged, positive, estimates.estimate(cells, draws=PLANNING_DRAWS))


# Beyond the keywords --------------------------------------------------------------------------------------


def _beyond(cells: Cells, positives: Ints, parts: Sequence[Part], sample: Sequence[Sampled]) -> Beyond | None:
    """None: there are no rules."""
    rules = active_rules()
    if not rules.lines:
        return None
    judged = [[one for one in part.of(sample) if one.is_judged] for part in parts]
    texts = [one.text for ones in judged for one in ones]
    matched = iter(rules.matches_any(texts).tolist())
    free = [[one.verdict for one in ones if not next(matched)] for ones in judged]
    counts = {
        verdict: np.array([verdicts.count(verdict) for verdicts in free], dtype=float)
        for verdict in (Verdict.DA, Verdict.NDA)
    }
    found = estimates.estimate_part(
        cells, positives, positive=counts[Verdict.DA], negative=counts[Verdict.NDA]
    )
    judged_positive = int(counts[Verdict.DA].sum())
    return Beyond(found.positives, found.precision, found.recall, found.fn, judged_positive)


@dataclass(frozen=True)
class Promise:
    """What so many labels are likely to buy, if the scores are about right."""

    labels: int
    expected: Estimates


PROMISES = (100, 300, 1_000, 3_000)


def promises(cells: Cells) -> list[Promise]:
    """For the empty state: the intervals to expect, before anything is judged. Some 50 ms."""
    sizes = [labels for labels in PROMISES if labels <= cells.total]
    return [Promise(n, estimates.estimate(estimates.expect(cells, n), draws=PLANNING_DRAWS)) for n in sizes]


def as_json(found: Report) -> dict[str, Any]:
    """The figures as data."""
    return {
        "version": found.version.number,
        "drawn_by": found.drawn_by.number,
        "audits": [audit.queue.name for audit in found.audits],
        "tweets": found.tweets,
        "drawn_at": found.date.isoformat(),
        "labels": asdict(found.progress),
        "corpus": asdict(found.found) if found.found else None,
        "no_rule": asdict(found.beyond) if found.beyond else None,
        "labels_to_halve": found.halving,
        "strata": [asdict(row) for row in found.strata],
        "tags": [asdict(row) for row in found.tags],
    }


# As data, and for other modules ----------------------------------------------------------------------------------------


def audited_prevalence() -> Interval | None:
    """The share of DA among the general tweets, as audits have it. None: no audit that says much.

    A prior for the calibration of the next version: nearer to the truth than what a model concludes by itself.
    """
    version = published_version()
    try:
        found = report(version) if version else None
    except CannotEstimate:
        return None
    if found is None or found.found is None:
        return None
    return found.found.prevalence if is_narrow(found.found.prevalence) else None


def is_narrow(prevalence: Interval) -> bool:
    """Enough to be a prior."""
    return prevalence.high <= USABLE_PRIOR * prevalence.low
