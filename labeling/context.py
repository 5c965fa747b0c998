"""What every page's template may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import resolve, reverse

from labeling.access import has_role, role_of

# Label, the page's URL name, and how the URL names begin that belong to it.
SECTIONS = (
    ("Home", "labeling:home", ("home",)),
    ("Label", "labeling:label-next", ("label",)),
    ("Flagged", "labeling:flagged", ("flagged",)),
    ("Tweets", "labeling:tweet-list", ("tweet",)),
    ("Models", "labeling:version-list", ("version", "retrain", "scoring", "estimates", "audit")),
    ("Tags & rules", "labeling:tag-list", ("tag", "rule")),
    ("Queues", "labeling:queue-list", ("queue",)),
    ("Imports", "labeling:import-list", ("import",)),
    ("Agreement", "labeling:agreement", ("agreement",)),
)


@dataclass(frozen=True)
class Section:
    label: str
    url: str
    is_active: bool


def page(request: HttpRequest) -> dict[str, Any]:
    """Names of the verdicts, the colour theme from its cookie (light, dark or auto), and the navigation."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "DA": settings.VERDICT_DA,
        "NDA": settings.VERDICT_NDA,
        "theme": theme if theme in ("light", "dark") else "auto",
        "sections": lambda: sections(request),
        "role": lambda: role_of(request.user) if hasattr(request, "user") else None,
    }


@cache
def _pages() -> list[tuple[str, str, tuple[str, ...], str]]:
    """SECTIONS with the address of each page and the role that it is for: looked up once, they never change."""
    pages: list[tuple[str, str, tuple[str, ...], str]] = []
    for label, name, begins in SECTIONS:
        url = reverse(name)
        pages.append((label, url, begins, getattr(resolve(url).func, "required_role", "analyst")))
    return pages


def sections(request: HttpRequest) -> list[Section]:
    """The main pages of whoever is logged in; nothing for visitors and outsiders."""
    if not hasattr(request, "user") or not has_role(request.user, "analyst"):
        return []
    match = request.resolver_match
    here = (match.url_name or "") if match and match.namespace == "labeling" else ""
    found = [
        Section(label, url, here.startswith(begins))
        for label, url, begins, role in _pages()
        if has_role(request.user, role)
    ]
    if has_role(request.user, "reviewer"):
        in_admin = bool(match and match.namespace == "admin")
        found.append(Section("Review", reverse("admin:labeling_reviewitem_changelist"), in_admin))
    return found
