"""The review queue: what needs a reviewer, side by side, and the decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localtime

from labeling.admin.base import RoleAdmin
from labeling.deciding import CannotDecide, Decision, decide, decide_many
from labeling.models import Annotation, Label, ModelVersion, Origin, ReviewItem, Score, ScoreTag, Tag, Verdict
from labeling.review import contradicts

State = ReviewItem.State


class StateFilter(admin.SimpleListFilter):
    """Open items unless something else is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [*[(s.value, str(s.label)) for s in State if s != State.OPEN], ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        first, *others = super().choices(changelist)
        yield {**first, "display": "Open"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(state=self.value() or State.OPEN)


@dataclass
class Shown:
    """One judgement, ready for the page."""

    annotation: Annotation
    who: str
    tags: list[Tag]
    is_latest: bool = False
    is_retracted: bool = False


class ReviewChangeList(ChangeList):
    """Adds what each row shows beside its item: a few queries for the whole page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        items = list(self.result_list)
        tags = {tag.pk: tag for tag in Tag.objects.all()}
        version = ModelVersion.objects.filter(scores_published_at__isnull=False).active()
        risks = risks_of([item.tweet_id for item in items], version)
        for item in items:
            item.shown = judgements(item.tweet.people, tags)
            item.risk = risks.get(item.tweet_id)
            item.threshold = version.threshold if version else None
        self.result_list = items


class DecisionForm(forms.Form):
    """What a reviewer says. The buttons carry the decision; that beside a judgement, `chosen`, approves this one."""

    verdict = forms.TypedChoiceField(choices=Verdict.choices, coerce=int, required=False, empty_value=None)
    tags = forms.ModelMultipleChoiceField(Tag.objects.all(), required=False)
    note = forms.CharField(required=False, max_length=2000)
    chosen = forms.ModelChoiceField(Annotation.objects.all(), required=False)
    decision = forms.ChoiceField(choices=Decision.choices, required=False)

    def clean_decision(self) -> str:
        decision: str = self.cleaned_data["decision"]
        if not decision and not self.cleaned_data.get("chosen"):
            raise forms.ValidationError("Choose one of the buttons.")
        return decision or Decision.APPROVE.value


@admin.register(ReviewItem)
class ReviewItemAdmin(RoleAdmin):
    list_display = ("excerpt", "why", "judged", "model_says", "opened")
    list_display_links = ("excerpt",)
    list_filter = (StateFilter, "reason")
    list_select_related = ("tweet", "tweet__label", "decided_by")
    ordering = ("id",)
    actions = ("approve_labels", "reject_items")
    change_form_template = "admin/labeling/reviewitem/change_form.html"

    # Access: every reviewer decides; nobody adds or deletes here.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_view_permission(request, obj)

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ReviewChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[ReviewItem]:
        people = Annotation.objects.filter(
            origin__gte=Origin.ANALYST, retracts=None, retracted_by=None
        ).select_related("annotator", "retracted_by")
        return (
            super()
            .get_queryset(request)
            .prefetch_related(
                Prefetch("tweet__annotations", queryset=people.order_by("id"), to_attr="people")
            )
        )

    @admin.display(description="tweet")
    def excerpt(self, item: ReviewItem) -> str:
        return Truncator(item.tweet.text).chars(180)

    @admin.display(description="why", ordering="reason")
    def why(self, item: Any) -> str:
        return _cell("why", item=item)

    @admin.display(description="judgements")
    def judged(self, item: Any) -> str:
        return _cell("judged", item=item)

    @admin.display(description="model")
    def model_says(self, item: Any) -> str:
        return _cell("model", item=item)

    @admin.display(description="opened", ordering="id")
    def opened(self, item: ReviewItem) -> str:
        return f"{localtime(item.created_at):%Y-%m-%d %H:%M}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), "title": "Review queue"})

    @admin.action(description="Approve the label as it stands")
    def approve_labels(self, request: HttpRequest, queryset: QuerySet[ReviewItem]) -> None:
        self._bulk(request, queryset, Decision.APPROVE)

    @admin.action(description="Reject: leave the label as it is")
    def reject_items(self, request: HttpRequest, queryset: QuerySet[ReviewItem]) -> None:
        self._bulk(request, queryset, Decision.REJECT)

    def _bulk(self, request: HttpRequest, queryset: QuerySet[ReviewItem], decision: Decision) -> None:
        ids = list(queryset.values_list("id", flat=True))
        outcome = decide_many(ids, reviewer=request.user, decision=decision)  # type: ignore[arg-type]
        if outcome.decided:
            messages.success(request, f"{outcome.decided:,} decided. Every judgement stays in the history.")
        if outcome.left:
            messages.warning(
                request,
                f"{outcome.left:,} left as they were: already decided, or without a majority to approve. "
                "Open them one by one.",
            )

    # One item

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        number = int(object_id) if object_id.isascii() and object_id.isdigit() else 0
        item = get_object_or_404(ReviewItem.objects.select_related("tweet", "decided_by"), pk=number)
        if not self.has_change_permission(request, item):
            return self.admin_site.login(request)
        form = DecisionForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                return self._decided(request, item, form)
            except CannotDecide as refusal:
                form.add_error(None, str(refusal))
        context = {**self.admin_site.each_context(request), **self._page(item, form)}
        context |= {"opts": self.opts, "title": "Review", "has_permission": True}
        return TemplateResponse(request, self.change_form_template, context)

    def _decided(self, request: HttpRequest, item: ReviewItem, form: DecisionForm) -> HttpResponse:
        answer = form.cleaned_data
        decision = Decision(answer["decision"])
        decide(
            item,
            reviewer=request.user,  # type: ignore[arg-type]
            decision=decision,
            verdict=answer["verdict"],
            tag_ids=[tag.pk for tag in answer["tags"]],
            chosen=answer["chosen"],
            note=answer["note"],
        )
        self.log_change(request, item, f"{decision.label}")
        asked = request.GET.get("_changelist_filters", "")  # of the list that the reviewer came from
        list_address = f"{reverse('admin:labeling_reviewitem_changelist')}{'?' if asked else ''}{asked}"
        following = _after(item, reason=dict(parse_qsl(asked)).get("reason__exact", ""))
        if following is None:
            messages.success(request, "Decided. Nothing else is open here.")
            return redirect(list_address)
        messages.success(request, "Decided. Here is the next one.")
        page = reverse("admin:labeling_reviewitem_change", args=[following.pk])
        return redirect(f"{page}?{urlencode({'_changelist_filters': asked})}" if asked else page)

    def _page(self, item: ReviewItem, form: DecisionForm) -> dict[str, Any]:
        tags = {tag.pk: tag for tag in Tag.objects.all()}
        version = ModelVersion.objects.filter(scores_published_at__isnull=False).active()
        risk = risks_of([item.tweet_id], version).get(item.tweet_id)
        label = Label.objects.filter(pk=item.tweet_id).first()
        every = item.tweet.annotations.select_related("annotator", "retracted_by__annotator").order_by("id")
        history = judgements(list(every), tags)
        checked = [tag.pk for tag in form.cleaned_data.get("tags", [])] if form.is_bound else None
        if checked is None:
            checked = (label.tag_ids or []) if label else []
        return {
            "item": item,
            "form": form,
            "label": label,
            "label_tags": [tags[pk] for pk in (label.tag_ids or []) if pk in tags] if label else [],
            "can_approve": label is not None
            and label.verdict is not None
            and not (label.is_disputed and label.verdict == Verdict.UNSURE),
            "history": history,
            "latest": [shown for shown in history if shown.is_latest],
            "version": version,
            "risk": risk,
            "contradicts": contradicts(
                label.verdict if label else None, risk, version.threshold if version else None
            ),
            "model_tags": _model_tags(item.tweet_id, version, tags),
            "tag_choices": [(tag, tag.pk in checked) for tag in tags.values() if not tag.is_archived],
            "chosen_verdict": _verdict_of(form, label),
            "following": None if item.state == State.OPEN else _after(item, reason=""),
            "verdicts": (Verdict.DA, Verdict.NDA, Verdict.UNSURE),  # as on the label page
            "tweet_url": _tweet_url(item.tweet_id),
        }


def _after(item: ReviewItem, *, reason: str) -> ReviewItem | None:
    """The next open item, of this reason where the list showed one alone; from the beginning after the last."""
    found = ReviewItem.objects.open().order_by("id")
    if reason:
        found = found.filter(reason=reason)
    return found.filter(pk__gt=item.pk).first() or found.first()


def _verdict_of(form: DecisionForm, label: Label | None) -> int | None:
    """What is ticked: what was sent, where it comes back with a problem; else the label's."""
    if form.is_bound:
        return form.cleaned_data.get("verdict")
    return label.verdict if label else None


def risks_of(tweet_ids: Sequence[int], version: ModelVersion | None) -> dict[int, float]:
    """P(DA) by the active version, where there is one. One query."""
    if version is None:
        return {}
    scores = Score.objects.filter(version=version, tweet_id__in=tweet_ids)
    return dict(scores.values_list("tweet_id", "risk"))


def judgements(annotations: Sequence[Annotation], tags: dict[int, Tag]) -> list[Shown]:
    """In the order of time, each with its tags; the latest that counts of each person is marked."""
    shown = []
    latest: dict[tuple[int, int | None], Shown] = {}
    for annotation in annotations:
        origin = Origin(annotation.origin)
        who = annotation.annotator.get_username() if annotation.annotator else str(origin.label)
        taken_back = hasattr(annotation, "retracted_by") if annotation.retracts_id is None else False
        row = Shown(
            annotation,
            who,
            [tags[pk] for pk in annotation.tag_ids or [] if pk in tags],
            is_retracted=taken_back,
        )
        shown.append(row)
        if not taken_back and annotation.retracts_id is None:
            latest[annotation.origin, annotation.annotator_id] = row
    for row in latest.values():
        row.is_latest = True
    return shown


def _model_tags(tweet_id: int, version: ModelVersion | None, tags: dict[int, Tag]) -> list[tuple[Tag, float]]:
    if version is None:
        return []
    given = ScoreTag.objects.filter(version=version, tweet_id=tweet_id).values_list("tag_id", "probability")
    return sorted(((tags[t], p) for t, p in given if t in tags), key=lambda pair: -pair[1])


def _cell(name: str, **context: Any) -> SafeString:
    context["DA"] = settings.VERDICT_DA
    return render_to_string(f"admin/labeling/reviewitem/_{name}.html", context)


def _tweet_url(tweet_id: int) -> str:
    return reverse("admin:labeling_tweet_change", args=[tweet_id])
