"""Flagged tweets: the dashboard of the active version, the list under any filter, bulk actions, export."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import transaction
from django.forms.utils import flatatt
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from labeling import (
    access,
    annotation,
    exporting_flagged,
    flagged,
    near_copies,
    review,
    scoring,
    word_search,
)
from labeling.flagged import Cursor
from labeling.flagged_filters import Filters, LabelState, min_risk_of
from labeling.labels import TweetsGone
from labeling.models import AuditEvent, ModelVersion, Source, Tag, Verdict

MOST_AT_ONCE: Final = 200  # tweets in one bulk action
MOST_COPIES: Final = 100  # near copies of a line are counted up to here
EXPORT_FORMATS: Final = {
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}
CURSORS: Final = {"after", "before"}


class QuickSelect(forms.Select):
    """Writes its options itself: Django renders two templates for each, together 3 ms of a page."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        chosen = self.format_value(value)
        options = format_html_join(
            "",
            '<option value="{}"{}>{}</option>',
            ((key, flatatt({"selected": str(key) in chosen}), label) for key, label in self.choices),
        )
        written = flatatt({"name": name, **self.build_attrs(self.attrs, attrs)})
        return format_html("<select{}>{}</select>", written, options)


class FilterForm(forms.Form):
    """The declared fields are the allow-list: anything else in the address is refused."""

    q = forms.CharField(
        label="Words",
        required=False,
        max_length=200,
        widget=forms.TextInput({"placeholder": 'pill "no script"'}),
    )
    min_risk = forms.FloatField(
        label="Risk from", required=False, min_value=0, max_value=1, widget=forms.NumberInput({"step": "any"})
    )
    tag = forms.TypedChoiceField(
        label="Tag", required=False, coerce=int, empty_value=None, widget=QuickSelect
    )
    date_from = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}))
    date_to = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}))
    source = forms.TypedChoiceField(
        label="Source",
        required=False,
        coerce=int,
        empty_value=None,
        widget=QuickSelect,
        choices=[("", "Any"), *((s.value, s.label.capitalize()) for s in Source)],
    )
    state = forms.ChoiceField(label="Label", required=False, widget=QuickSelect)

    def __init__(self, data: Any, *, version: ModelVersion, tags: dict[int, Tag]) -> None:
        super().__init__(data)
        self.version = version
        names = {LabelState.DA: settings.VERDICT_DA, LabelState.NDA: settings.VERDICT_NDA}
        choices = {
            "tag": [("", "Any"), *((pk, tag.name) for pk, tag in tags.items())],
            "state": [("", "Any"), *((s.value, names.get(s, s.label)) for s in LabelState)],
        }
        for name, options in choices.items():
            self.fields[name].choices = options  # type: ignore[attr-defined]
        for field in self.fields.values():
            kind = "form-select" if isinstance(field.widget, forms.Select) else "form-control"
            field.widget.attrs["class"] = f"{kind} {kind}-sm"

    def clean_q(self) -> str:
        q: str = self.cleaned_data["q"].strip()
        if q and word_search.only_excludes(q):
            raise forms.ValidationError("Add a word to look for: words to leave out are not enough.")
        return q

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("date_from") and data.get("date_to") and data["date_from"] > data["date_to"]:
            self.add_error("date_to", "This day is before the first one.")
        return data

    @property
    def filters(self) -> Filters:
        return Filters(**{name: self.cleaned_data[name] for name in self.fields})


def read_filters(request: HttpRequest, version: ModelVersion, *, beside: set[str]) -> FilterForm:
    """The form of an address; 400 for parameters that are neither filters nor in `beside`."""
    tags = Tag.objects.in_bulk(version.tag_ids)
    form = FilterForm(
        request.GET, version=version, tags={pk: tags[pk] for pk in version.tag_ids if pk in tags}
    )
    unknown = set(request.GET) - set(form.fields) - beside
    if unknown:
        raise BadRequest(f"Unknown filter: {', '.join(sorted(unknown))[:200]}")
    return form


def read_cursor(request: HttpRequest, name: str) -> Cursor | None:
    """ "risk_id" of the row that a page begins after."""
    value = request.GET.get(name)
    if not value:
        return None
    try:
        risk, tweet_id = value.split("_")
        cursor = (float(risk), int(tweet_id))
    except ValueError as error:
        raise BadRequest(f"Not a place in the list: {value[:80]}") from error
    if not (0 <= cursor[0] <= 1 and 0 <= cursor[1] < 2**63):
        raise BadRequest(f"Not a place in the list: {value[:80]}")
    return cursor


def written(cursor: Cursor | None) -> str:
    return "" if cursor is None else f"{cursor[0]!r}_{cursor[1]}"


def scored_version() -> ModelVersion | None:
    """The active version, if its scores can be seen. Without its report, which is heavy and not shown here."""
    version = ModelVersion.objects.defer("report", "snapshot", "config").filter(is_active=True).first()
    return version if version and version.scores_published_at else None


# The page -------------------------------------------------------------------------------------------------


@access.analyst
@require_GET
@vary_on_headers("HX-Request")
def flagged_list(request: HttpRequest) -> HttpResponse:
    version = scored_version()
    if version is None:
        newest = ModelVersion.objects.ready().only("number", "scores_published_at").first()
        return render(request, "labeling/flagged_empty.html", {"newest": newest})
    form = read_filters(request, version, beside=CURSORS)
    context = {"version": version, "form": form, "summary": version.score_summary}
    after, before = read_cursor(request, "after"), read_cursor(request, "before")
    if form.is_valid():
        context |= list_context(version, form, after=after, before=before)
    is_fragment = request.htmx and not request.htmx.history_restore_request  # type: ignore[attr-defined]
    if is_fragment:
        return render(request, "labeling/flagged.html#list", context)
    undo, unscored = request.session.get("flagged_undo"), scoring.unscored(version)
    context |= dashboard_context(version, form) | {
        "undo": undo,
        "unscored": unscored,
        "scoring_job": scoring.unfinished_job(version) if unscored else None,
        "shows_dashboard": form.is_valid() and form.filters.is_plain and not (after or before),
    }
    return render(request, "labeling/flagged.html", context)


def list_context(
    version: ModelVersion, form: FilterForm, *, after: Cursor | None, before: Cursor | None
) -> dict[str, Any]:
    filters = form.filters
    page = flagged.page_of(version, filters, after=after, before=before)
    names = dict(form.fields["tag"].choices)  # type: ignore[attr-defined]
    least = min_risk_of(version, filters)
    copies = near_copies.count_copies([row.tweet_id for row in page.rows], cap=MOST_COPIES)
    return {
        "filters": filters,
        "page": page,
        "after": written(page.after),
        "before": written(page.before),
        "tag_names": names,
        "copies": copies,
        "copies_cap": MOST_COPIES,
        "min_risk": least,
        "is_raised": filters.min_risk is not None and filters.min_risk < least,
        "formats": list(EXPORT_FORMATS),
        "export_limit": settings.EXPORT_LIMIT,
        "most_at_once": MOST_AT_ONCE,
    }


def dashboard_context(version: ModelVersion, form: FilterForm) -> dict[str, Any]:
    """Figures that were stored at publication, as tables; the charts read the same numbers as JSON."""
    summary = version.score_summary
    names = dict(form.fields["tag"].choices)  # type: ignore[attr-defined]
    by_tag = sorted(
        (
            (names[row["tag"]], row["tag"], row["flagged"], row["n"])
            for row in summary["tags"]
            if row["tag"] in names
        ),
        key=lambda row: -row[2],
    )
    sources = [(Source(int(key)).label, *figures) for key, figures in sorted(summary["sources"].items())]
    return {
        "by_tag": by_tag,
        "sources": sources,
        "share": summary["flagged"] / summary["n"] if summary["n"] else None,
        "panels": partial(panels, summary, by_tag),
    }


def panels(summary: dict[str, Any], by_tag: list[tuple[str, int, int, int]]) -> dict[str, Any]:
    """What the template asks for only when its copy in the cache is out of date."""
    unit, times = flagged.over_time(summary)
    spans = [(day, flagged.last_day(unit, day), *figures) for day, *figures in times]
    edges, counts = summary["histogram"]["edges"], summary["histogram"]["counts"]
    return {
        "unit": unit,
        "times": spans,
        "bins": list(zip(edges, edges[1:], counts, strict=False)),
        "charts": {
            "tags": {"labels": [row[0] for row in by_tag], "values": [row[2] for row in by_tag]},
            "times": {"labels": [row[0] for row in times], "values": [row[2] for row in times], "unit": unit},
            "risk": {"edges": edges, "counts": counts, "threshold": summary["threshold"]},
        },
    }


# Bulk actions ---------------------------------------------------------------------------------------------

ACTIONS: Final = {
    "review": "sent to review",
    "da": "marked {DA}",
    "nda": "marked {NDA}",
}


@access.analyst
@require_POST
def flagged_bulk(request: HttpRequest) -> HttpResponseBase:
    """One judgement for the chosen tweets, under one audit event that can take it back."""
    action = request.POST.get("action", "")
    ids = chosen_ids(request)
    back = f"{safe_next(request)}#list-title"
    if action not in ACTIONS:
        raise BadRequest("Unknown action")
    if not ids:
        messages.warning(request, "Choose at least one tweet first.")
        return redirect(back)
    assert isinstance(request.user, User)
    try:
        with transaction.atomic():
            event = AuditEvent.objects.create(
                action=AuditEvent.Action.BULK,
                user=request.user,
                detail={"page": "flagged", "choice": action, "filter": safe_next(request).partition("?")[2]},
                tweets=len(ids),
            )
            if action == "review":
                changed = review.send_to_review(ids, by=request.user, audit_event=event)
            else:
                verdict = Verdict.DA if action == "da" else Verdict.NDA
                changed = annotation.annotate_many(
                    tweet_ids=ids, annotator=request.user, verdict=verdict, audit_event=event
                )
    except TweetsGone:
        messages.warning(
            request, "One of the tweets was erased a moment ago, so nothing was saved. Choose again."
        )
        return redirect(back)
    done = ACTIONS[action].format(DA=settings.VERDICT_DA, NDA=settings.VERDICT_NDA)
    text = f"{changed} tweet{'' if changed == 1 else 's'} {done}."
    if changed < len(ids):
        text += f" {len(ids) - changed} waited for review already."
    if changed:
        request.session["flagged_undo"] = {"event": event.pk, "text": text}
    else:
        messages.info(request, text)
    return redirect(back)


@access.analyst
@require_POST
def flagged_undo(request: HttpRequest) -> HttpResponseBase:
    """Take one's own bulk action back. Safe to press twice."""
    number = request.POST.get("event", "")
    event = get_object_or_404(
        AuditEvent, pk=int(number) if number.isdecimal() else 0, action=AuditEvent.Action.BULK
    )
    if event.user_id != request.user.pk and not access.has_role(request.user, "reviewer"):
        raise PermissionDenied("Only a reviewer can undo what a colleague has done.")
    assert isinstance(request.user, User)
    undone = annotation.retract_event(event, by=request.user) + review.withdraw_event(event)
    request.session.pop("flagged_undo", None)
    messages.success(
        request,
        f"Undone for {undone} tweet{'' if undone == 1 else 's'}."
        if undone
        else "There was nothing left to undo.",
    )
    return redirect(f"{safe_next(request)}#list-title")


def chosen_ids(request: HttpRequest) -> list[int]:
    """Ids of tweets that the active version has scored, in a form's "tweet" fields."""
    values = request.POST.getlist("tweet")
    if len(values) > MOST_AT_ONCE or not all(v.isdecimal() and len(v) < 19 for v in values):
        raise BadRequest("Not a selection of tweets")
    version = scored_version()
    ids = list(dict.fromkeys(int(value) for value in values))
    return [row.tweet_id for row in flagged.rows_of(version, ids)] if version else []


def safe_next(request: HttpRequest) -> str:
    """Where the form came from: a page of this list, never another site."""
    target = request.POST.get("next", "")
    home = reverse("labeling:flagged")
    is_ours = target.startswith(home) and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return target if is_ours else home


# Export ---------------------------------------------------------------------------------------------------


@access.analyst
@require_GET
def flagged_export(request: HttpRequest) -> HttpResponseBase:
    """What is filtered, as a file. Recorded before the first byte leaves."""
    version = scored_version()
    if version is None:
        messages.warning(request, "There is nothing to export: no version with published scores is active.")
        return redirect("labeling:flagged")
    form = read_filters(request, version, beside={"format"})
    kind = request.GET.get("format", "csv")
    if kind not in EXPORT_FORMATS or not form.is_valid():
        raise BadRequest("Unknown format, or a filter with an error")
    name = f"flagged-version-{version.number}.{kind}"
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the response closes it
    count = exporting_flagged.export(
        version,
        form.filters,
        name=name,
        stream=file,
        limit=settings.EXPORT_LIMIT,
        user=request.user,  # type: ignore[arg-type]
        asked={key: str(value) for key, value in request.GET.items() if value},
    )
    file.seek(0)
    response = FileResponse(file, as_attachment=True, filename=name, content_type=EXPORT_FORMATS[kind])
    response["X-Content-Type-Options"] = "nosniff"
    response["X-Rows"] = str(count)
    return response
