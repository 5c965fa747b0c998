"""How the estimates page writes an interval."""

from __future__ import annotations

from django import template

from labeling import estimate_words
from ml.estimates import MOST_LABELS, Interval

register = template.Library()


@register.filter
def tweets(interval: Interval | None) -> str:
    """31,000 (24,000–39,000); None → '–'."""
    return "–" if interval is None else estimate_words.count(interval)


@register.filter
def share(interval: Interval | None) -> str:
    """71 % (58–82 %); None → '–'."""
    return estimate_words.share(interval)


@register.filter
def more_labels(number: int | None) -> str:
    """'about 2,600'; None, where so many are not enough: 'over 20,000'."""
    return f"over {MOST_LABELS:,}" if number is None else f"about {round(number, 2 - len(str(number))):,}"
