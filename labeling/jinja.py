"""The environment of the templates that Jinja2 writes: lists of fifty lines, and tables of hundreds of cells.

Django's own templates take several times as long for them, which was half of a page's time. They ask for such a part
with {% jinja "labeling/_name.jinja" rows=rows %} of labeling_tags; everything else stays with Django's.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any
from urllib.parse import quote

from django.urls import reverse
from django.utils import timezone
from jinja2 import Environment, StrictUndefined

from labeling.models import Origin, Source
from labeling.templatetags import flagged_tags, labeling_tags, version_tags


def environment(**options: Any) -> Environment:
    """A name that the context lacks is an error. Values are escaped, as Django does it."""
    options |= {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    made = Environment(**options)  # noqa: S701 - autoescape is among the options
    made.filters |= {
        "risk": flagged_tags.risk,
        "marked": flagged_tags.marked,
        "unlocalised": labeling_tags.unlocalised,
        "judgement": labeling_tags.judgement,
        "urlencode": partial(quote, safe=""),
        "verdict_name": labeling_tags.verdict_name,
        "verdict_class": labeling_tags.verdict_class,
        "source_name": lambda source: Source(source).label,
        "origin_name": lambda origin: Origin(origin).label,
        "localtime": timezone.localtime,
        "intcomma": lambda number: f"{number:,}",
        "figure": version_tags.figure,
        "two_decimals": lambda number: f"{number:.2f}",
        "tweet_url": tweet_url,
    }
    return made


def tweet_url(tweet_id: int, page: str = "detail") -> str:
    """The address of labeling:tweet-<page>, by a pattern that is looked up once: reverse() takes 10 µs a line."""
    return _pattern(page).replace("/0/", f"/{tweet_id}/")


@cache
def _pattern(page: str) -> str:
    return reverse(f"labeling:tweet-{page}", args=[0])
