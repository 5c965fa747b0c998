"""Filters and fragments that more than one page uses."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from labeling import near_copies, search_index
from labeling.models import Verdict

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """42 → '42 s', 150 → '2 min 30 s', 7500 → '2 h 5 min'. None → '–'."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


@register.filter
def unlocalised(number: float) -> str:
    """A number as HTML attributes want it, whatever the language."""
    return f"{number:.4f}"


@register.filter
def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 → '12.3 %'. None → '–'."""
    return "–" if share is None else f"{share * 100:.{digits}f} %"


@register.filter
def verdict_name(verdict: int | None) -> str:
    """The name of a verdict as this installation has it; "not judged" for None."""
    names = {Verdict.DA: settings.VERDICT_DA, Verdict.NDA: settings.VERDICT_NDA, Verdict.UNSURE: "unsure"}
    return "not judged" if verdict is None else str(names[Verdict(verdict)])


@register.filter
def verdict_class(verdict: int | None) -> str:
    """The CSS classes of a verdict's badge: <span class="{{ v|verdict_class }}">{{ v|verdict_name }}</span>."""
    kinds = {Verdict.DA: "da", Verdict.NDA: "nda", Verdict.UNSURE: "unsure"}
    return "verdict verdict-" + ("none" if verdict is None else kinds[Verdict(verdict)])


@register.simple_tag
def jinja(name: str, **context: Any) -> SafeString:
    """A part of the page that Jinja2 writes: labeling/jinja.py says which and why."""
    return mark_safe(render_to_string(name, context, using="jinja2"))  # noqa: S308 - it escapes, too


@register.simple_tag
def tag_choice(choice: Hashable, show_keys: bool | str = False) -> SafeString:
    """The button of a tag (views.judgement.TagChoice) where people judge: 25 of them were a fifth of the label page's time."""
    return _tag_choice(choice, bool(show_keys))


@lru_cache(maxsize=4_096)
def _tag_choice(choice: Hashable, show_keys: bool) -> SafeString:
    return render_to_string("labeling/_tag_choice.html", {"choice": choice, "show_keys": show_keys})


@register.simple_tag
def judgement(label: Hashable) -> SafeString:
    """What the project holds true of a tweet: a views.tweets.Judgement, or None."""
    return _judgement(label, settings.VERDICT_DA, settings.VERDICT_NDA)


@lru_cache(maxsize=4_096)
def _judgement(label: Hashable, da: str, nda: str) -> SafeString:
    return render_to_string("labeling/_label.html", {"label": label, "DA": da, "NDA": nda})


@register.inclusion_tag("labeling/_search_coverage.html")
def search_coverage() -> dict[str, Any]:
    """What a search cannot find yet."""
    return {"coverage": search_index.coverage()}


@register.inclusion_tag("labeling/_copies_coverage.html")
def copies_coverage() -> dict[str, Any]:
    """How far near copies were looked for."""
    return {"coverage": near_copies.coverage()}
