"""Two model versions: their figures on what both held out, and the tweets that one flags and the other does not."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from labeling import access, comparing, flips, reports
from labeling.models import ModelVersion, Tag
from labeling.views.versions import PAGE, VERSIONS_SHOWN, ready_version

# Held-out tweets -----------------------------------------------------------------------------------------


class CompareForm(forms.Form):
    before = forms.IntegerField(min_value=1)
    after = forms.IntegerField(min_value=1)
    sample = forms.ChoiceField(
        choices=[(name, reports.SAMPLE_TITLES[name]) for name in comparing.SAMPLES], required=False
    )
    only = forms.ChoiceField(choices=[("", ""), ("fixed", ""), ("broken", "")], required=False)
    # Keyset: the tweet that the page before ended with.
    last = forms.IntegerField(min_value=1, required=False)


@access.analyst
@require_GET
def version_compare(request: HttpRequest) -> HttpResponse:
    ready = ModelVersion.objects.ready().order_by("-number")
    context: dict[str, Any] = {"choices": ready.only("number", "note")[:VERSIONS_SHOWN]}
    if not request.GET:
        return render(request, "labeling/version_compare.html", context)
    form = CompareForm(request.GET)
    if not form.is_valid():
        raise BadRequest("Choose two trained versions.")
    data = form.cleaned_data
    before, after = (ready_version(data[name]) for name in ("before", "after"))
    context |= _held_out(before, after, data) | _corpus(before, after)
    return render(request, "labeling/version_compare.html", context)


def _held_out(before: ModelVersion, after: ModelVersion, asked: dict[str, Any]) -> dict[str, Any]:
    """Figures on one sample, and a page of its tweets whose decision changes."""
    both = comparing.both_held_out(before, after)
    sample = asked["sample"] or both.first_sample()
    comparisons = both.compare(sample)
    rows = comparing.changed(before, after, sample)
    if asked["only"] and before.threshold is not None and after.threshold is not None:
        right = comparing.is_right(after)
        rows = rows.filter(right if asked["only"] == "fixed" else ~right)
    if asked["last"]:
        rows = rows.filter(tweet_id__lt=asked["last"])
    page = list(rows.select_related("tweet")[: PAGE + 1])
    return {
        "before": before,
        "after": after,
        "sample": sample,
        "samples": [
            {"key": key, "title": reports.SAMPLE_TITLES[key], "n": n} for key, n in both.sizes().items()
        ],
        "comparisons": comparisons,
        "n": comparisons[0].n,
        "counts": comparing.count_changed(before, after, sample),
        "only": asked["only"],
        "changed": page[:PAGE],
        "next": page[PAGE - 1].tweet_id if len(page) > PAGE else None,
    }


def _corpus(before: ModelVersion, after: ModelVersion) -> dict[str, Any]:
    """What flips among all scored tweets; those that people judged first."""
    ways = [flips.Flip(before, after), flips.Flip(after, before)]
    try:
        return {
            "judged": flips.judged(before, after),
            "ways": [
                (name, flip, flips.count(flip)) for name, flip in zip(("lost", "gained"), ways, strict=True)
            ],
        }
    except flips.CannotCompare as reason:
        return {"no_corpus": str(reason)}


# One way, in the corpus ----------------------------------------------------------------------------------


class FlipForm(forms.Form):
    """Which list, and where its page before ended: a risk and a tweet."""

    before = forms.IntegerField(min_value=1)
    after = forms.IntegerField(min_value=1)
    tag = forms.ModelChoiceField(Tag.objects.all(), required=False)
    way = forms.ChoiceField(choices=[("lost", ""), ("gained", "")])
    judged = forms.BooleanField(required=False)
    risk = forms.FloatField(required=False, min_value=0, max_value=1)
    tweet = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)

    def clean(self) -> dict[str, Any]:
        """Adds `versions`, the earlier and the later one, and `place`."""
        data = super().clean() or {}
        numbers = [int(data.get(name) or 0) for name in ("before", "after")]
        found = {v.number: v for v in ModelVersion.objects.ready().filter(number__in=numbers)}
        if any(number not in found for number in numbers):
            raise forms.ValidationError("no such version")
        tag = data.get("tag")
        if tag and any(tag.pk not in version.tag_ids for version in found.values()):
            raise forms.ValidationError("a version does not know the tag")
        is_later = data.get("risk") is not None and data.get("tweet")
        place = (data["risk"], data["tweet"]) if is_later else None
        return data | {"versions": [found[number] for number in numbers], "place": place}


@access.analyst
@require_GET
def version_flips(request: HttpRequest) -> HttpResponse:
    form = FlipForm(request.GET)
    if not form.is_valid():
        raise BadRequest("Choose two trained versions, a tag that both know, and one of the lists.")
    data = form.cleaned_data
    before, after = data["versions"]
    by, but_not = (before, after) if data["way"] == "lost" else (after, before)
    flip = flips.Flip(by, but_not, data["tag"].pk if data["tag"] else None)
    read = flips.judged_page if data["judged"] else flips.page
    context: dict[str, Any] = {"form": data, "before": before, "after": after, "flip": flip}
    try:
        context["page"] = read(flip, after=data["place"])
        context["count"] = None if data["judged"] or data["place"] else flips.count(flip)
    except flips.CannotCompare as reason:
        context["reason"] = str(reason)
    context |= {"lists": _lists(data, before, after), "query": _query(data), "tags": Tag.objects.in_bulk()}
    return render(request, "labeling/version_flips.html", context)


def _query(data: dict[str, Any], **changes: Any) -> str:
    asked = data | changes
    tag = {"tag": asked["tag"].pk} if asked["tag"] else {}
    judged = {"judged": "on"} if asked["judged"] else {}
    return urlencode({**{name: asked[name] for name in ("before", "after", "way")}, **tag, **judged})


def _lists(data: dict[str, Any], before: ModelVersion, after: ModelVersion) -> list[dict[str, Any]]:
    """The four lists of the two versions and this tag, those that people judged first."""
    return [
        {
            "words": f"{words}, {of}",
            "query": _query(data, way=way, judged=judged),
            "is_shown": (data["way"], data["judged"]) == (way, judged),
        }
        for judged, of in ((True, "judged by people"), (False, "all tweets"))
        for way, words in (
            ("lost", f"Only version {before.number}"),
            ("gained", f"Only version {after.number}"),
        )
    ]
