"""The first page."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, resolve, reverse
from django.views.decorators.http import require_safe

from labeling import access
from labeling.overview import Step, overview


@access.analyst
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    found = overview(request.user)
    steps = [(step, *_way(step, request.user)) for step in found.steps]
    following = next((entry for entry in steps if entry[0].is_next), None)
    context = {"overview": found, "steps": steps, "next": following}
    return render(request, "labeling/home.html", context)


def _way(step: Step, user: User) -> tuple[str, str]:
    """The address of a step's page, and the role that this user lacks for it ("" when none)."""
    try:
        url = reverse(step.url_name)
    except NoReverseMatch:
        return "", ""
    if step.url_name.startswith("admin:"):
        needed = "reviewer"
    else:
        needed = getattr(resolve(url).func, "required_role", "analyst")
    return url, "" if access.has_role(user, needed) else needed
