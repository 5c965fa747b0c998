"""Estimates for the corpus, from audits: the page, and starting an audit."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from labeling import access, audit_samples, audits, corpus_share, estimate_words, estimates, reports
from labeling.models import Audit, ModelVersion, Tag
from labeling.models.versions import LARGE
from labeling.queues import MAX_SIZE
from labeling.sampling import CannotDraw
from labeling.suggestions import published_version

AUDITS_SHOWN = 10


class AuditForm(forms.Form):
    labels = forms.IntegerField(
        label="Tweets to judge", min_value=audits.SMALLEST, max_value=MAX_SIZE, initial=300
    )
    only_flagged = forms.BooleanField(label="Only tweets that the active version flags", required=False)


class VersionForm(forms.Form):
    version = forms.IntegerField(min_value=1, required=False)


@access.analyst
@require_GET
def estimates_page(request: HttpRequest) -> HttpResponse:
    return _page(request, _version(request), AuditForm())


def _version(request: HttpRequest) -> ModelVersion | None:
    """The one that is asked for, else the active one."""
    form = VersionForm(request.GET)
    number = form.cleaned_data["version"] if form.is_valid() else None
    if number is None:
        return published_version()
    version = ModelVersion.objects.filter(number=number, scores_published_at__isnull=False).first()
    if version is None:
        raise Http404("No version with this number has published scores.")
    return version


def _page(
    request: HttpRequest, version: ModelVersion | None, form: AuditForm, *, status: int = 200
) -> HttpResponse:
    context: dict[str, Any] = {
        "version": version,
        "form": form,
        "may_start": access.has_role(request.user, "reviewer"),
        "versions": ModelVersion.objects.filter(scores_published_at__isnull=False).only("number")[:20],
        "smallest": audits.SMALLEST,
        "largest": MAX_SIZE,
        "fewest": estimates.FEWEST,
    }
    if version is not None:
        context |= _estimates(version)
    return render(request, "labeling/estimates.html", context, status=status)


def _estimates(version: ModelVersion) -> dict[str, Any]:
    listed = Audit.objects.select_related("queue", "version").defer(*(f"version__{name}" for name in LARGE))
    context: dict[str, Any] = {"audits": listed[:AUDITS_SHOWN], "enough_judged": corpus_share.ENOUGH_JUDGED}
    flagged = corpus_share.report(version)
    if flagged:
        context |= {
            "flagged": flagged,
            "flagged_sentence": corpus_share.sentence(flagged),
            "assumption": corpus_share.assumption(),
            "enough_da": corpus_share.ENOUGH_DA,
            "fewest_held_out": corpus_share.FEWEST_HELD_OUT,
        }
    try:
        found = estimates.report(version)
    except audit_samples.CannotEstimate as problem:
        return context | {"problem": str(problem)}
    if found is None:
        return context | _promises(version)
    context["report"] = found
    if found.found is None:
        return context
    return context | {
        "sentence": estimate_words.sentence(found),
        "matrix": estimate_words.matrix(found.found),
        "hold_out": reports.hold_out(version),
        "tags": _named(found.tags),
    }


def _named(rows: list[estimates.TagRow]) -> list[tuple[Tag, estimates.TagRow]]:
    """Those that can be told first; in the order of the label page."""
    tags = Tag.objects.in_bulk()
    named = [(tags[row.tag_id], row) for row in rows if row.tag_id in tags]
    return sorted(named, key=lambda pair: (pair[1].found is None, pair[0].position, pair[0].pk))


def _promises(version: ModelVersion) -> dict[str, Any]:
    try:
        corpus = audits.survey(version)
    except CannotDraw as problem:
        return {"cannot_draw": str(problem)}
    cells = audits.plan(corpus, audits.SMALLEST).cells
    return {"promises": estimates.promises(cells), "tweets": cells.total}


@access.reviewer
@require_POST
def audit_start(request: HttpRequest) -> HttpResponseBase:
    version, form = published_version(), AuditForm(request.POST)
    if form.is_valid():
        try:
            audit = audits.start(version, user=request.user, **form.cleaned_data)  # type: ignore[arg-type]
        except CannotDraw as problem:
            form.add_error(None, str(problem))
        else:
            drawn = audit.queue.items.count()
            label = reverse("labeling:label", args=[audit.queue_id])
            messages.success(
                request, f"“{audit.queue.name}” waits with {drawn:,} tweets, in the queues as well."
            )
            return redirect(label if request.POST.get("then") == "label" else "labeling:estimates")
    return _page(request, version, form, status=400)
