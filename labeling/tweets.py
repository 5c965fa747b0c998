"""Finding tweets: by words, source, label, verdict, tag and origin, page by page in order of id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.db import models
from django.db.models import BooleanField, Exists, OuterRef, Q, QuerySet
from django.db.models.expressions import RawSQL

from labeling import search_index
from labeling.models import Label, Origin, ReviewItem, Source, Tag, Tweet, Verdict

PAGE_SIZE = 50
MATCH_CAP = 2_000  # tweets that a search, or the open review items, are taken from
COUNT_CAP = 1_000  # beyond it a count says "1,000+"
MAX_ID = 2**63 - 1


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
    count: int | None  # at most count_cap + 1; None on later pages, which would count it again
    count_cap: int
    cap_met: bool  # more than MATCH_CAP tweets match; the list holds the first of them only


def find(wanted: Wanted, *, after: int | None = None, before: int | None = None) -> Page:
    """One page. `after`: ids below it; `before`: ids above it. A handful of indexed queries."""
    reads_texts = bool(wanted.q) and search_index.are_common(wanted.q)
    among, cap_met = _among(replace(wanted, q="") if reads_texts else wanted)
    ids = _ids(wanted, among, after=after, before=before)
    if reads_texts:
        ids = ids.filter(_has_words(wanted.q, ids.model))
    column = "tweet_id" if ids.model is Label else "id"
    count_cap = PAGE_SIZE if reads_texts else COUNT_CAP
    count = None
    if before is not None:
        found = list(ids.filter(**{f"{column}__gt": before}).order_by(column)[: PAGE_SIZE + 1])[::-1]
        newer = len(found) > PAGE_SIZE
        found = found[-PAGE_SIZE:]
        older = True
    else:
        most = PAGE_SIZE if after is not None else count_cap
        if after is not None:
            ids = ids.filter(**{f"{column}__lt": after})
        found = list(ids.order_by(f"-{column}")[: most + 1])
        count = len(found) if after is None else None
        older = len(found) > PAGE_SIZE
        found = found[:PAGE_SIZE]
        newer = after is not None
    tweets = Tweet.objects.select_related("label").in_bulk(found)
    return Page(
        tweets=[tweets[pk] for pk in found if pk in tweets],
        newer=found[0] if found and newer else None,
        older=found[-1] if found and older else None,
        count=count,
        count_cap=count_cap,
        cap_met=cap_met,
    )


def _among(wanted: Wanted) -> tuple[list[int] | None, bool]:
    """The ids that a search or the review items narrow it to; None: all. And whether the cap was met."""
    among: list[int] | None = None
    cap_met = False
    if wanted.label == LabelState.REVIEW:
        open_items = ReviewItem.objects.open().order_by("-id").values_list("tweet_id", flat=True)
        among = list(open_items[: MATCH_CAP + 1])
        cap_met = len(among) > MATCH_CAP
    if wanted.q:
        matches = search_index.find(wanted.q, cap=MATCH_CAP + 1)
        cap_met = cap_met or len(matches) > MATCH_CAP
        among = matches if among is None else sorted(set(among) & set(matches))
    return among, cap_met


def _has_words(words: str, model: type[models.Model]) -> RawSQL:
    """A condition on tweets, or on labels by their tweets, that reads the texts."""
    if model is Tweet:
        condition, values = search_index.condition(words, alias="labeling_tweet")
    else:
        has_words, values = search_index.condition(words)
        condition = (
            f"EXISTS (SELECT FROM labeling_tweet t WHERE t.id = labeling_label.tweet_id AND {has_words})"
        )
    return RawSQL(condition, values, output_field=BooleanField())  # noqa: S611 - the words are parameters


def _ids(
    wanted: Wanted, among: Sequence[int] | None, *, after: int | None, before: int | None
) -> QuerySet[Label, int] | QuerySet[Tweet, int]:
    """Ids of the tweets wanted. From the labels where only those can match: they are far fewer."""
    if wanted.is_by_label:
        labels = Label.objects.filter(_label_condition(wanted))
        if wanted.source is not None:
            labels = labels.filter(tweet__source=wanted.source)
        if among is not None:
            labels = labels.filter(_one_of("labeling_label.tweet_id", among))
        return labels.values_list("tweet_id", flat=True)
    tweets = Tweet.objects.all()
    if wanted.source is not None:
        tweets = tweets.filter(source=wanted.source)
    if wanted.label == LabelState.NONE:
        has_label = Exists(Label.objects.filter(tweet_id=OuterRef("pk")))
        tweets = tweets.filter(~has_label if among is not None else _has_no_label(after=after, before=before))
    if among is not None:
        tweets = tweets.filter(_one_of("labeling_tweet.id", among))
    return tweets.values_list("id", flat=True)


def _one_of(column: str, ids: Sequence[int]) -> RawSQL:
    """Like `__in`, for thousands: the planner would weigh them one by one, which takes longer than to read them."""
    condition = f"{column} = ANY(ARRAY(SELECT unnest(%s::bigint[])))"
    return RawSQL(condition, [list(ids)], output_field=BooleanField())  # noqa: S611 - the ids are parameters


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


def _label_condition(wanted: Wanted) -> Q:
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
    return condition
