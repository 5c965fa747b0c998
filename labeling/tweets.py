"""Finding tweets: by words, source, label, verdict, tag and origin, page by page in order of id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from labeling import word_search
from labeling.models import Label, Origin, ReviewItem, Source, Tag, Tweet, Verdict
from labeling.models.tweets import MAX_ID
from labeling.word_search import Found, Listing

PAGE_SIZE = 50
COUNT_CAP = 1_000  # beyond it a count says "1,000+"


class LabelState(models.TextChoices):
    NONE = "none", "No label"
    PROVISIONAL = "provisional", "Provisional: no person yet"
    JUDGED = "judged", "Judged by a person"
    DISPUTED = "disputed", "Analysts disagree"
    REVIEW = "review", "Waits for review"


@dataclass(frozen=True)
class Wanted:
    """What to find. The values come from labeling.views.tweets.TweetFilter, which checks them."""

    q: str = ""
    source: Source | None = None
    label: str = ""
    verdict: Verdict | None = None
    origin: Origin | None = None
    tag: Tag | None = None

    @property
    def is_by_label(self) -> bool:
        """Only tweets that have a label can be among the found."""
        return bool(
            self.verdict is not None
            or self.origin
            or self.tag
            or self.label in (LabelState.PROVISIONAL, LabelState.JUDGED, LabelState.DISPUTED)
        )


@dataclass(frozen=True)
class Page:
    tweets: list[Tweet]  # newest id first, each with its label
    newer: int | None  # ?before= of the page before
    older: int | None  # ?after= of the page behind
    count: int | None = None  # None on later pages, which would count it again
    count_is_capped: bool = False  # there may be more
    # The tweet at which the look for words ended; what lies beyond may match too.
    looked_to: int | None = None


def find(wanted: Wanted, *, after: int | None = None, before: int | None = None) -> Page:
    """One page. `after`: ids below it; `before`: ids above it. A handful of indexed queries."""
    upwards, is_first = before is not None, after is None and before is None
    rows, has_none = _rows(wanted), wanted.label == LabelState.NONE
    if has_none and wanted.is_by_label:
        return Page([], newer=None, older=None, count=0)
    listing = Listing(
        rows.filter(~Exists(Label.objects.filter(tweet_id=OuterRef("pk")))) if has_none else rows,
        start=before if upwards else after,
        upwards=upwards,
        is_small=_is_small(wanted),
        in_order=rows.filter(_has_no_label(after=after, before=before)) if has_none else None,
    )
    most = COUNT_CAP + 1 if is_first else PAGE_SIZE + 1
    if wanted.q:
        found = word_search.find(listing, wanted.q, page=PAGE_SIZE, most=most)
    else:
        walked = list(listing.walk(most))
        found = Found(walked, has_more=len(walked) == most)
    ids = found.ids[:PAGE_SIZE]
    further = ids[-1] if len(found.ids) > PAGE_SIZE else found.end  # None: nothing is left in this direction
    # Back from an empty page: the tweet itself from which it began may be the next one.
    back = None if after is None else (ids[0] if ids else max(after - 1, 0))
    if before is not None:
        ids.reverse()
        back = ids[-1] if ids else min(before + 1, MAX_ID)
    tweets = Tweet.objects.select_related("label").in_bulk(ids)
    return Page(
        tweets=[tweets[pk] for pk in ids if pk in tweets],
        newer=further if upwards else back,
        older=back if upwards else further,
        count=_at_least(found) if is_first else None,
        count_is_capped=found.has_more or found.end is not None,
        looked_to=found.end if len(found.ids) <= PAGE_SIZE else None,
    )


def _at_least(found: Found) -> int:
    """How many there are; where there may be more, rounded down to whole pages."""
    n = min(len(found.ids), COUNT_CAP)
    return n - n % PAGE_SIZE if found.has_more and n > PAGE_SIZE else n


def _rows(wanted: Wanted) -> QuerySet[Any]:
    """What is listed, but for the words and for having no label: of labels or review items where only those can match."""
    if wanted.label == LabelState.REVIEW:
        items = ReviewItem.objects.open()
        if wanted.is_by_label:
            items = items.filter(Exists(_labels(wanted).filter(tweet_id=OuterRef("tweet_id"))))
        return items if wanted.source is None else items.filter(tweet__source=wanted.source)
    if wanted.is_by_label:
        labels = _labels(wanted)
        return labels if wanted.source is None else labels.filter(tweet__source=wanted.source)
    return Tweet.objects.all() if wanted.source is None else Tweet.objects.filter(source=wanted.source)


def _is_small(wanted: Wanted) -> bool:
    """Whether far fewer tweets are listed than there are, whatever the words."""
    return wanted.is_by_label or wanted.label == LabelState.REVIEW or wanted.source == Source.SPECIFIC


def _has_no_label(*, after: int | None, before: int | None) -> RawSQL:
    """A condition on tweets that are listed in order of id.

    An import of 100,000 tags lies before the first tweet without a label, and asking for each of its tweets takes a
    quarter of a second. So both are read in the order of their indexes, as the subquery's own order makes them.
    """
    if before is not None:
        there, start = "tweet_id > %s ORDER BY tweet_id", before
    else:
        there, start = "tweet_id < %s ORDER BY tweet_id DESC", MAX_ID if after is None else after
    labelled = f"SELECT tweet_id FROM labeling_label WHERE {there} OFFSET 0"  # noqa: S608 - one of the two above
    condition = f"NOT EXISTS (SELECT FROM ({labelled}) l WHERE l.tweet_id = labeling_tweet.id)"
    return RawSQL(condition, [start], output_field=BooleanField())  # noqa: S611 - the id is a parameter


def _labels(wanted: Wanted) -> QuerySet[Label]:
    condition = Q()
    if wanted.label == LabelState.PROVISIONAL:
        condition &= Q(annotators=0)
    elif wanted.label == LabelState.JUDGED:
        condition &= Q(annotators__gt=0)  # by an index of its own, as are disputed ones
    elif wanted.label == LabelState.DISPUTED:
        condition &= Q(is_disputed=True)
    if wanted.verdict is not None:
        condition &= Q(verdict=wanted.verdict)
    if wanted.origin is not None:
        condition &= Q(verdict_origin=wanted.origin) | Q(tags_origin=wanted.origin)
        if wanted.origin >= Origin.ANALYST:
            condition &= Q(annotators__gt=0)
    if wanted.tag is not None:
        condition &= Q(tag_ids__contains=[wanted.tag.pk])
    return Label.objects.filter(condition)
