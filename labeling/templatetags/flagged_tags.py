"""How flagged tweets are written down: marked words, and links that change one part of the address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape  # Django's own looks for lazy strings first, fifty times a line

from django import template
from django.http import QueryDict
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

NEEDS_ESCAPING = re.compile(r"""[&<>"']""")  # one look at a text, not one at each of its thirty parts
FAINT, CLEAR, STRONG = 0.1, 0.33, 0.66  # weights of words, from 0 to 1


@register.filter
def risk(value: float | None) -> str:
    """0.30012 → '0.300', 0.00041 → '0.00041': three decimals, or two digits where those would be zeros.

    Never "1.000" below 1: a risk is not a certainty.
    """
    if value is None:
        return "–"
    if 0.9995 <= value < 1:
        return ">0.999"
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2g}"


@register.filter
def marked(text: str, spans: Sequence[Sequence[float]] | None) -> SafeString:
    """The text, escaped, with the words that drove its score in <mark>; stray or overlapping spans are left out."""
    parts: list[str] = []
    at = 0
    write = escape if NEEDS_ESCAPING.search(text) else str
    for start, end, weight in sorted(spans or [], key=lambda span: span[0]):
        first, last, strength = int(start), int(end), abs(weight)
        if strength < FAINT or first < at or not first < last <= len(text):
            continue
        level = 3 if strength >= STRONG else 2 if strength >= CLEAR else 1
        parts.append(write(text[at:first]))
        side = "towards" if weight > 0 else "against"
        parts.append(f'<mark class="{side} w{level}">{write(text[first:last])}</mark>')
        at = last
    parts.append(write(text[at:]))
    return mark_safe("".join(parts))  # noqa: S308 - every part is escaped above, where it needs to be


@register.simple_tag
def address(query: QueryDict, **changes: object) -> str:
    """ "?…" of a query with some parameters replaced; None or "" removes one."""
    copy = query.copy()
    for name, value in changes.items():
        copy.pop(name, None)
        if value not in (None, ""):
            copy[name] = str(value)
    return f"?{copy.urlencode()}" if copy else "?"
