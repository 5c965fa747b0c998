"""The colour theme, kept in a cookie: light, dark, or as the system has it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

YEAR = 365 * 24 * 3600


@login_not_required  # the log-in page has the switch too
@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    chosen = request.POST.get("theme", "")
    if chosen not in ("light", "dark", "auto"):
        return HttpResponseBadRequest("The theme is light, dark or auto.")
    target = request.POST.get("next", "")
    own = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    response = redirect(target if own else "labeling:home")
    response.set_cookie(
        "theme", chosen, max_age=YEAR, samesite="Lax", secure=request.is_secure(), httponly=True
    )
    return response
