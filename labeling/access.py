"""Who may do what: analyst < reviewer < admin, held as Django groups. Access is stated in decorators."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

ROLES = ("analyst", "reviewer", "admin")  # each may do what the ones before it may


def role_of(user: AbstractBaseUser | AnonymousUser) -> str | None:
    """The highest role of a user; superusers are admins; None for anyone in no group (an outsider)."""
    if not user.is_authenticated or not user.is_active:
        return None
    if getattr(user, "is_superuser", False):
        return "admin"
    if not hasattr(user, "_role"):  # one query for each request
        names = set(user.groups.values_list("name", flat=True))  # type: ignore[attr-defined]
        user._role = next((role for role in reversed(ROLES) if role in names), None)  # type: ignore[attr-defined]
    role: str | None = user._role  # type: ignore[attr-defined]
    return role


def has_role(user: AbstractBaseUser | AnonymousUser, role: str) -> bool:
    own = role_of(user)
    return own is not None and ROLES.index(own) >= ROLES.index(role)


def _requires(role: str, view: View[P]) -> View[P]:
    @wraps(view)
    def guarded(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not has_role(request.user, role):
            raise PermissionDenied(f"This page is for the role {role}. Ask an admin to add you to it.")
        return view(request, *args, **kwargs)

    guarded.required_role = role  # type: ignore[attr-defined]  # read by the test of every route
    return cast("View[P]", guarded)


def analyst(view: View[P]) -> View[P]:
    """For everyone on the team. Anonymous visitors are sent to the log-in by LoginRequiredMiddleware."""
    return _requires("analyst", view)


def reviewer(view: View[P]) -> View[P]:
    return _requires("reviewer", view)


def admin(view: View[P]) -> View[P]:
    return _requires("admin", view)
