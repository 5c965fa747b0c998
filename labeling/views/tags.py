"""Tags and their rules: the list, a tag's page, and what a rule would catch before it is saved."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection, transaction
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import access, lexicon, rule_preview, rules, tags, tasks
from labeling.jobs import AlreadyRunning
from labeling.models import Job, Rule, Tag

COUNT_LIMIT = 1_000  # labelled tweets of a tag are counted up to here
RULES_SHOWN = 500


# The list ------------------------------------------------------------------------------------------------


@access.analyst
@require_GET
def tag_list(request: HttpRequest) -> HttpResponse:
    votes, exclusions = Q(rules__is_active=True, rules__is_exclusion=False), Q(rules__is_exclusion=True)
    found = Tag.objects.annotate(
        votes=Count("rules", filter=votes),
        exclusions=Count("rules", filter=exclusions & Q(rules__is_active=True)),
    ).order_by("position", "id")
    in_use = [tag for tag in found if not tag.is_archived]
    keys, labelled = tags.keys_of(in_use), _labelled([tag.pk for tag in found])
    return render(
        request,
        "labeling/tag_list.html",
        {
            "rows": [(tag, keys[tag.pk], labelled.get(tag.pk)) for tag in in_use],
            "archived": [tag for tag in found if tag.is_archived],
            "limit": COUNT_LIMIT,
            "may_edit": access.has_role(request.user, "reviewer"),
            "fresh": rules.freshness() if in_use else None,
            "job": _running(),
        },
    )


def _running() -> Job | None:
    return Job.objects.active().filter(kind=Job.Kind.RULES).first()


LABELLED = """
SELECT tag_id, (
    SELECT count(*) FROM (
        SELECT 1 FROM labeling_label WHERE tag_ids @> ARRAY[tag_id] LIMIT %s
    ) AS capped
)
FROM unnest(%s::integer[]) AS tag_id
"""


def _labelled(tag_ids: list[int]) -> dict[int, int]:
    """Tag id → labelled tweets, counted to COUNT_LIMIT + 1; empty when even that takes too long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', '1000', true)")
            cursor.execute(LABELLED, [COUNT_LIMIT + 1, tag_ids])
            found = dict(cursor.fetchall())
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
            return found
    except OperationalError:
        return {}


# A tag ----------------------------------------------------------------------------------------------------


class TagForm(forms.Form):
    name = forms.CharField(max_length=60)
    colour = forms.ChoiceField(choices=[(colour, colour.replace("-", " ")) for colour in tags.COLOURS])
    key = forms.CharField(
        max_length=16,
        required=False,
        help_text="Empty: by position, 1 to 9 and 0, then with Shift, then with Shift and Alt. Or your own, as in shift+k.",
    )
    guideline = forms.CharField(
        max_length=5_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="When to give this tag, and when not. Shown on the label page.",
    )

    def __init__(self, *args: Any, tag: Tag | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tag = tag
        for field in self.fields.values():
            css = "form-select" if isinstance(field, forms.ChoiceField) else "form-control"
            field.widget.attrs["class"] = css

    def clean_name(self) -> str:
        return tags.clean_name(self.cleaned_data["name"], tag=self.tag)

    def clean_key(self) -> str:
        return tags.clean_key(self.cleaned_data["key"], tag=self.tag)


class RuleForm(forms.Form):
    kind = forms.ChoiceField(choices=Rule.Kind.choices)
    pattern = forms.CharField(max_length=rules.MAX_PATTERN_LENGTH, strip=False)
    is_exclusion = forms.BooleanField(required=False)

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("kind") and given.get("pattern"):
            given["pattern"] = rules.normalise_pattern(given["kind"], given["pattern"])
            rules.check_pattern(given["kind"], given["pattern"])
        return given

    def problem(self) -> str:
        """The first thing that is wrong, in plain words."""
        return next((str(words) for errors in self.errors.values() for words in errors), "")


@access.reviewer
@require_http_methods(["GET", "POST"])
def tag_new(request: HttpRequest) -> HttpResponseBase:
    taken = Tag.objects.in_use().values_list("colour", flat=True)
    form = TagForm(request.POST or None, initial={"colour": tags.next_colour(taken)})
    if request.method == "POST" and form.is_valid():
        tag = tags.create_tag(**form.cleaned_data)
        messages.success(request, f"The tag “{tag}” is there. Now add the rules that vote for it.")
        return redirect("labeling:tag-edit", tag.pk)
    return render(request, "labeling/tag_edit.html", {"form": form, "tag": None, "may_edit": True})


@access.analyst
@require_http_methods(["GET", "POST"])
def tag_edit(request: HttpRequest, pk: int) -> HttpResponseBase:
    tag = get_object_or_404(Tag, pk=pk)
    may_edit = access.has_role(request.user, "reviewer")
    if request.method == "POST" and not may_edit:
        raise PermissionDenied("Tags are changed by reviewers. Ask one of them.")
    fields = ("name", "colour", "key", "guideline")
    form = TagForm(request.POST or None, tag=tag, initial={field: getattr(tag, field) for field in fields})
    if request.method == "POST" and form.is_valid():
        tags.change_tag(tag, **form.cleaned_data)
        messages.success(request, "Saved.")
        return redirect("labeling:tag-edit", tag.pk)
    return render(request, "labeling/tag_edit.html", _tag_context(tag, form=form, may_edit=may_edit))


def _tag_context(
    tag: Tag, *, form: TagForm | None = None, rule_form: RuleForm | None = None, may_edit: bool
) -> dict[str, Any]:
    fields = ("name", "colour", "key", "guideline")
    return {
        "tag": Tag.objects.get(pk=tag.pk),  # as it is stored: a form that failed has changed nothing
        "form": form or TagForm(tag=tag, initial={field: getattr(tag, field) for field in fields}),
        "rule_form": rule_form or RuleForm(initial={"kind": Rule.Kind.TERM}),
        "kinds": Rule.Kind.choices,
        "rules": list(tag.rules.order_by("is_exclusion", "kind", "pattern")[:RULES_SHOWN]),
        "key": "" if tag.is_archived else tags.key_for(tag),
        "may_edit": may_edit,
    }


@access.reviewer
@require_POST
def tag_move(request: HttpRequest, pk: int) -> HttpResponseBase:
    tags.move(get_object_or_404(Tag, pk=pk), by=-1 if request.POST.get("to") == "up" else 1)
    return redirect(f"{reverse('labeling:tag-list')}#tag-{pk}")


@access.reviewer
@require_POST
def tag_archive(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Archive; or restore an archived one."""
    tag = get_object_or_404(Tag, pk=pk)
    if tag.is_archived:
        tags.restore(tag)
        messages.success(request, f"The tag “{tag}” is back in its place.")
    else:
        tags.archive(tag)
        messages.success(request, f"The tag “{tag}” is archived. What was judged with it stays.")
    return redirect("labeling:tag-list")


@access.reviewer
@require_POST
def starter_lexicon(request: HttpRequest) -> HttpResponseBase:
    result = lexicon.load_starter(user=cast("User", request.user))
    messages.success(request, f"The starter lexicon is loaded: {result} Apply the rules to tag the tweets.")
    return redirect("labeling:tag-list")


# Rules ------------------------------------------------------------------------------------------------------


@access.reviewer
@require_POST
def rule_add(request: HttpRequest, pk: int) -> HttpResponseBase:
    tag = get_object_or_404(Tag, pk=pk)
    form = RuleForm(request.POST)
    if not form.is_valid():
        return render(request, "labeling/tag_edit.html", _tag_context(tag, rule_form=form, may_edit=True))
    rule, is_new = Rule.objects.get_or_create(
        **form.cleaned_data, tag=tag, defaults={"created_by": cast("User", request.user)}
    )
    if is_new:
        messages.success(request, f"Added “{rule}”. It takes effect when the rules are applied.")
    else:
        messages.info(request, f"“{rule}” was there already.")
    return redirect("labeling:tag-edit", tag.pk)


@access.reviewer
@require_POST
def rule_change(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Enable, disable or remove."""
    rule = get_object_or_404(Rule, pk=pk)
    action = request.POST.get("action")
    if action == "remove":
        rule.delete()
        messages.success(request, f"Removed “{rule}”. Its provisional labels go when the rules are applied.")
    elif action in ("enable", "disable"):
        Rule.objects.filter(pk=pk).update(is_active=action == "enable")
    return redirect("labeling:tag-edit", rule.tag_id)


@access.analyst
@require_GET
def rule_preview_page(request: HttpRequest) -> HttpResponse:
    """A page of its own, and under htmx the fragment below the form."""
    number = request.GET.get("tag", "")
    tag = Tag.objects.filter(pk=number).first() if number.isdecimal() and len(number) < 10 else None
    form = RuleForm(request.GET)
    context: dict[str, Any] = {"form": form, "tag": tag, "kinds": Rule.Kind.choices}
    if form.is_valid():
        line = rules.RuleLine(tag.pk if tag else 0, **form.cleaned_data)
        try:
            context["preview"] = rule_preview.preview(line, tag=tag)
            context["line"] = line
        except rule_preview.TooSlow:
            context["problem"] = (
                "Reading the sample took too long. The database is busy: try again in a moment."
            )
    elif request.GET.get("pattern", "").strip():
        context["problem"] = form.problem()
    htmx = request.htmx  # type: ignore[attr-defined]
    return render(request, "labeling/_rule_preview.html" if htmx else "labeling/rule_preview.html", context)


@access.reviewer
@require_POST
def rules_apply(request: HttpRequest) -> HttpResponseBase:
    try:
        job = rules.start_apply(user=cast("User", request.user))
    except AlreadyRunning as error:
        messages.info(request, str(error))
    else:
        tasks.run_job.delay_on_commit(job.pk)  # type: ignore[attr-defined]  # of Celery's DjangoTask
    return redirect("labeling:tag-list")
