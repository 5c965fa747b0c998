"""The form with which a person judges a tweet, on the label page and on a tweet's own page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django import forms
from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.utils.http import url_has_allowed_host_and_scheme

from labeling.models import Annotation, Label, Tag, Verdict
from labeling.suggestions import Suggestion
from labeling.tags import keys_of

MAX_NOTE = 2_000


@dataclass(frozen=True)
class TagChoice:
    """All that its button shows, as plain values: equal choices are written down alike (see labeling_tags.tag_choice)."""

    value: str  # the tag's id
    name: str
    colour: str
    key: str  # "1", "shift+1", "shift+alt+1"; empty: none
    is_checked: bool
    probability: float | None = None  # by the model, where its suggestion is shown
    is_suggested: bool = False

    @property
    def percent(self) -> str:
        return "" if self.probability is None else f"{self.probability * 100:.0f} %"

    @property
    def key_cap(self) -> str:
        return self.key.replace("shift+", "⇧").replace("alt+", "⌥").upper()


@dataclass(frozen=True)
class VerdictChoice:
    value: int
    name: str
    slug: str
    is_checked: bool


class JudgementForm(forms.Form):
    verdict = forms.TypedChoiceField(
        choices=[(str(v.value), v.name) for v in Verdict],
        coerce=int,
        error_messages={
            "required": "Choose a verdict first; unsure is one too.",
            "invalid_choice": "Choose one of the three verdicts.",
        },
    )
    tags = forms.TypedMultipleChoiceField(
        required=False,
        coerce=int,
        error_messages={"invalid_choice": "A tag was archived or deleted meanwhile. Load the page again."},
    )
    note = forms.CharField(required=False, max_length=MAX_NOTE, widget=forms.Textarea)

    def __init__(self, data: Any = None, *, tags: Iterable[Tag], needs_verdict: bool = True) -> None:
        super().__init__(data)
        self.fields["tags"].choices = [(str(tag.pk), tag.name) for tag in tags]  # type: ignore[attr-defined]
        self.fields["verdict"].required = needs_verdict

    @property
    def problem(self) -> str:
        """The first error, in words."""
        return next((str(errors[0]) for errors in self.errors.values()), "")


def verdict_choices(chosen: int | None) -> list[VerdictChoice]:
    names = [
        (Verdict.DA, settings.VERDICT_DA, "da"),
        (Verdict.NDA, settings.VERDICT_NDA, "nda"),
        (Verdict.UNSURE, "Unsure", "unsure"),
    ]
    return [VerdictChoice(verdict.value, name, slug, chosen == verdict) for verdict, name, slug in names]


def tag_choices(
    tags: Sequence[Tag], chosen: Collection[int], *, suggestion: Suggestion | None = None
) -> list[TagChoice]:
    keys = keys_of(tags)
    suggested = suggestion.by_tag if suggestion else {}
    choices = []
    for tag in tags:
        model = suggested.get(tag.pk)
        choices.append(
            TagChoice(
                value=str(tag.pk),
                name=tag.name,
                colour=tag.colour,
                key=keys.get(tag.pk, ""),
                is_checked=tag.pk in chosen,
                probability=model.probability if model else None,
                is_suggested=bool(model and model.is_given),
            )
        )
    return choices


def chosen_in(
    form: JudgementForm | None, otherwise: Annotation | Label | None
) -> tuple[int | None, set[int]]:
    """Verdict and tags to show as chosen: what was posted, else an earlier judgement."""
    if form is not None and form.is_bound:
        data = cast("QueryDict", form.data)
        verdict = data.get("verdict") or ""
        tags = {int(value) for value in data.getlist("tags") if value.isdecimal()}
        return (int(verdict) if verdict.isdecimal() else None), tags
    if otherwise is None:
        return None, set()
    return otherwise.verdict, set(otherwise.tag_ids or [])


def safe_next(request: HttpRequest) -> str:
    """The page to return to, if it is one of ours; else empty."""
    back = request.POST.get("next") or request.GET.get("next") or ""
    return back if url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()) else ""
