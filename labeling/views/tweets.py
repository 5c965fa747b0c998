"""Tweets: the list with its filters, and a tweet's own page with its history and its correction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import django_filters
from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from labeling import access, near_copies, review, tweets, word_search
from labeling import annotation as annotating
from labeling.labels import TweetsGone
from labeling.marking import marked
from labeling.models import Annotation, Origin, ReviewItem, Source, Tag, Tweet, Verdict
from labeling.models.tweets import MAX_ID
from labeling.suggestions import published_version, suggestion_for
from labeling.tweets import LabelState, Wanted
from labeling.views.judgement import JudgementForm, chosen_in, safe_next, tag_choices, verdict_choices

VERDICTS = {"da": Verdict.DA, "nda": Verdict.NDA, "unsure": Verdict.UNSURE}
ORIGINS = {origin.label: origin for origin in Origin}
SOURCES = {source.label: source for source in Source}


# The list -------------------------------------------------------------------------------------------------


def says_what_to_look_for(words: str) -> None:
    if words and word_search.only_excludes(words):
        raise forms.ValidationError("Add a word to look for: words to leave out are not enough.")


class TweetFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Declared fields only: they are the allow-list of what a URL may ask."""

    q = django_filters.CharFilter(label="Words", max_length=200, validators=[says_what_to_look_for])
    source = django_filters.ChoiceFilter(
        label="Source", choices=[(name, name) for name in SOURCES], empty_label="any"
    )
    label = django_filters.ChoiceFilter(label="Label", choices=LabelState.choices, empty_label="any")
    verdict = django_filters.ChoiceFilter(
        label="Verdict", choices=[(name, name) for name in VERDICTS], empty_label="any"
    )
    origin = django_filters.ChoiceFilter(
        label="Decided by", choices=[(name, name) for name in ORIGINS], empty_label="any"
    )
    tag = django_filters.ChoiceFilter(label="Tag", empty_label="any")

    class Meta:
        model = Tweet
        fields: list[str] = []

    def __init__(self, data: Any, *, tags: Iterable[Tag]) -> None:
        super().__init__(data, queryset=Tweet.objects.none())
        self.tags = {tag.slug: tag for tag in tags}
        self.filters["tag"].extra["choices"] = [(tag.slug, tag.name) for tag in self.tags.values()]

    def wanted(self) -> Wanted:
        given = self.form.cleaned_data
        verdict = given.get("verdict") or ""
        return Wanted(
            q=given.get("q") or "",
            source=SOURCES.get(given.get("source") or ""),
            label=given.get("label") or "",
            verdict=VERDICTS.get(verdict),
            origin=ORIGINS.get(given.get("origin") or ""),
            tag=self.tags.get(given.get("tag") or ""),
        )


class PlaceForm(forms.Form):
    after = forms.IntegerField(required=False, min_value=0, max_value=MAX_ID)
    before = forms.IntegerField(required=False, min_value=0, max_value=MAX_ID)


@access.analyst
@require_GET
def tweet_list(request: HttpRequest) -> HttpResponse:
    tags = Tag.objects.in_bulk()
    filters = TweetFilter(request.GET, tags=tags.values())
    place = PlaceForm(request.GET)
    unknown = set(request.GET) - set(filters.filters) - set(place.fields)
    if unknown or not filters.form.is_valid() or not place.is_valid():
        problem = (
            f"This page does not know {', '.join(sorted(unknown))}."
            if unknown
            else " ".join(filters.form.errors.get("q", [])) or "A filter has a wrong value."
        )
        context = {"filters": TweetFilter({}, tags=tags.values()), "problem": problem}
        return render(request, "labeling/tweet_list.html", context, status=400)
    page = tweets.find(filters.wanted(), **place.cleaned_data)
    context = {
        "filters": filters,
        "page": page,
        "rows": lines_of(page.tweets, tags),
        "count": _count(page),
        "is_filtered": any(request.GET.get(name) for name in filters.filters),
        "newer": with_place(request.GET, before=page.newer),
        "older": with_place(request.GET, after=page.older),
        "first": with_place(request.GET),
    }
    return render(request, "labeling/tweet_list.html", context)


def _count(page: tweets.Page) -> str | None:
    if not page.count:
        return None
    return f"{page.count:,}{'+' if page.count_is_capped else ''}"


def with_place(parameters: QueryDict, *, after: int | None = None, before: int | None = None) -> str:
    """The same filters at another place, as a query string; the empty ones left out."""
    query = QueryDict(mutable=True)
    for name in parameters:
        value = parameters.get(name)
        if name not in ("after", "before") and value:
            query[name] = str(value)
    if after is not None:
        query["after"] = str(after)
    if before is not None:
        query["before"] = str(before)
    return f"?{query.urlencode()}"


@dataclass(frozen=True)
class Line:
    """A tweet as a table of tweets writes it down. Prepared here: fifty rows of template filters and tags cost 10 ms."""

    tweet: Tweet
    label: Judgement | None
    url: str
    source: str
    posted_on: str


def lines_of(found: Iterable[Tweet], tags: Mapping[int, Tag]) -> list[Line]:
    """Of tweets with their labels."""
    url = reverse("labeling:tweet-detail", args=[0])
    return [
        Line(
            tweet=tweet,
            label=label_of(tweet, tags),
            url=url.replace("/0/", f"/{tweet.pk}/"),
            source=Source(tweet.source).label,
            posted_on=_day(tweet.posted_at),
        )
        for tweet in found
    ]


def _day(moment: datetime | None) -> str:
    local = moment and timezone.localtime(moment)
    return f"{local.day} {local:%b %Y}" if local else "–"


# What a label or an annotation says, for templates --------------------------------------------------------


class TagMark(NamedTuple):
    name: str
    colour: str


@dataclass(frozen=True)
class Judgement:
    """As the tag `judgement` of labeling_tags writes it down. Hashable: most lines of a list say the same."""

    verdict: str  # da, nda, unsure or none
    verdict_origin: str
    tags: tuple[TagMark, ...]
    tags_origin: str
    is_disputed: bool = False


def label_of(tweet: Tweet, tags: Mapping[int, Tag]) -> Judgement | None:
    label = getattr(tweet, "label", None)
    if label is None:
        return None
    return Judgement(
        verdict=verdict_slug(label.verdict),
        verdict_origin="" if label.verdict_origin is None else Origin(label.verdict_origin).label,
        tags=tuple(TagMark(tag.name, tag.colour) for tag in tags_of(label.tag_ids, tags) or []),
        tags_origin="" if label.tags_origin is None else Origin(label.tags_origin).label,
        is_disputed=label.is_disputed,
    )


def verdict_slug(verdict: int | None) -> str:
    return "none" if verdict is None else Verdict(verdict).name.lower()


def tags_of(tag_ids: list[int] | None, tags: Mapping[int, Tag]) -> list[Tag] | None:
    if tag_ids is None:
        return None
    return sorted((tags[pk] for pk in tag_ids if pk in tags), key=lambda tag: (tag.position, tag.pk))


@dataclass(frozen=True)
class Event:
    """One line of a tweet's history."""

    annotation: Annotation
    verdict: str
    tags: list[Tag] | None
    retracted_by: Annotation | None
    may_retract: bool


def history(tweet: Tweet, tags: Mapping[int, Tag], user: User) -> list[Event]:
    """Every annotation, newest first, with what became of it. One query."""
    rows = list(
        Annotation.objects.filter(tweet=tweet)
        .select_related("annotator", "queue_item__queue", "suggested_by")
        .order_by("-id")
    )
    retractions = {row.retracts_id: row for row in rows if row.retracts_id}
    is_reviewer = access.has_role(user, "reviewer")
    return [
        Event(
            annotation=row,
            verdict=verdict_slug(row.verdict),
            tags=tags_of(row.tag_ids, tags),
            retracted_by=retractions.get(row.pk),
            may_retract=row.pk not in retractions
            and row.origin >= Origin.ANALYST
            and (row.annotator_id == user.pk or is_reviewer),
        )
        for row in rows
        if row.retracts_id is None
    ]


# A tweet's own page ---------------------------------------------------------------------------------------


@access.analyst
@require_GET
def tweet_detail(request: HttpRequest, pk: int) -> HttpResponse:
    return _detail(request, _get(pk))


def _get(pk: int) -> Tweet:
    return get_object_or_404(Tweet.objects.select_related("label"), pk=pk)


def _detail(
    request: HttpRequest, tweet: Tweet, *, form: JudgementForm | None = None, status: int = 200
) -> HttpResponse:
    tags = Tag.objects.in_bulk()
    label = getattr(tweet, "label", None)
    verdict, chosen = chosen_in(form, label)
    context: dict[str, Any] = {
        "tweet": tweet,
        "pieces": marked(tweet.text, tags),
        "label": label_of(tweet, tags),
        "suggestion": suggestion_for(tweet.pk, published_version(), tags),
        "events": history(tweet, tags, request.user),  # type: ignore[arg-type]
        "verdicts": verdict_choices(verdict),
        "tag_choices": tag_choices(_offered(tags, chosen), chosen),
        "note": form.data.get("note", "") if form is not None else "",
        "problem": form.problem if form is not None else "",
        "copies": near_copies.count_copies([tweet.pk]).get(tweet.pk, 0),
        "copies_cap": near_copies.COUNT_CAP,
        "review_item": ReviewItem.objects.open().filter(tweet=tweet).first(),
        "is_reviewer": access.has_role(request.user, "reviewer"),
        "may_erase": access.has_role(request.user, "admin"),
        "next": safe_next(request),
    }
    return render(request, "labeling/tweet_detail.html", context, status=status)


@access.analyst
@require_GET
def tweet_copies(request: HttpRequest, pk: int) -> HttpResponse:
    """The near copies of a tweet, page by page in order of id."""
    tweet = _get(pk)
    place = PlaceForm(request.GET)
    after = (place.cleaned_data["after"] or 0) if place.is_valid() else 0
    found = (
        near_copies.copies_of(tweet).select_related("label").filter(pk__gt=after).order_by("group_hash", "pk")
    )
    rows = list(found[: tweets.PAGE_SIZE + 1])
    tags = Tag.objects.in_bulk()
    context = {
        "tweet": tweet,
        "rows": lines_of(rows[: tweets.PAGE_SIZE], tags),
        "after": after,
        "next_after": rows[tweets.PAGE_SIZE - 1].pk if len(rows) > tweets.PAGE_SIZE else None,
    }
    return render(request, "labeling/tweet_copies.html", context)


def _offered(tags: Mapping[int, Tag], chosen: set[int]) -> list[Tag]:
    """The tags in use, and those archived ones that the tweet has."""
    offered = [tag for tag in tags.values() if not tag.is_archived or tag.pk in chosen]
    return sorted(offered, key=lambda tag: (tag.position, tag.pk))


@access.analyst
@require_POST
def tweet_correct(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Judge the tweet: as an analyst, or as a reviewer who settles it."""
    tweet = _get(pk)
    form = JudgementForm(request.POST, tags=Tag.objects.all())
    if not form.is_valid():
        return _detail(request, tweet, form=form, status=400)
    settles = "settle" in request.POST
    if settles and not access.has_role(request.user, "reviewer"):
        raise PermissionDenied("Only a reviewer can settle a label. Send the tweet to review instead.")
    try:
        annotating.annotate(
            tweet_id=tweet.pk,
            annotator=request.user,  # type: ignore[arg-type]
            verdict=form.cleaned_data["verdict"],
            tag_ids=form.cleaned_data["tags"],
            note=form.cleaned_data["note"],
            origin=Origin.REVIEW if settles else Origin.ANALYST,
        )
    except TweetsGone as gone:
        messages.warning(request, str(gone))
        return redirect("labeling:tweet-list")
    messages.success(request, "Settled." if settles else "Your judgement is saved.")
    return _back(request, pk)


@access.analyst
@require_POST
def tweet_send(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Send the tweet to review."""
    tweet = _get(pk)
    note = request.POST.get("note", "").replace("\0", "")[:500].strip()
    opened = review.send_to_review([tweet.pk], by=request.user, note=note)  # type: ignore[arg-type]
    messages.success(request, "Sent to review." if opened else "It waits for a reviewer already.")
    return _back(request, pk)


@access.analyst
@require_POST
def tweet_retract(request: HttpRequest, pk: int, annotation_id: int) -> HttpResponseBase:
    """Take a judgement back: one's own, or as a reviewer anybody's."""
    people = [Origin.ANALYST, Origin.REVIEW]
    annotation = get_object_or_404(
        Annotation, pk=annotation_id, tweet_id=pk, retracts__isnull=True, origin__in=people
    )
    if annotation.annotator_id != request.user.pk and not access.has_role(request.user, "reviewer"):
        raise PermissionDenied("You can take back your own judgements only. Ask a reviewer.")
    try:
        annotating.retract(annotation, by=request.user)  # type: ignore[arg-type]
    except TweetsGone as gone:
        messages.warning(request, str(gone))
        return redirect("labeling:tweet-list")
    messages.success(request, "Taken back. It stays in the history, struck through.")
    return _back(request, pk, stay=True)


def _back(request: HttpRequest, pk: int, *, stay: bool = False) -> HttpResponseBase:
    """To the page that the reader came from; or to the tweet, which keeps the way back."""
    came_from = safe_next(request)
    here = reverse("labeling:tweet-detail", args=[pk])
    if came_from and not stay:
        return redirect(came_from)
    query = QueryDict(mutable=True)
    if came_from:
        query["next"] = came_from
    return redirect(f"{here}?{query.urlencode()}" if came_from else here)
