"""The admin site: for reviewers and admins, behind the same log-in as everything else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator

from labeling.access import has_role


class TaggerAdminSite(admin.AdminSite):
    site_header = "Tagger"
    site_title = "Tagger"
    index_title = "Review and administration"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        """By role, like every other page; Django's own is_staff does not count."""
        return has_role(request.user, "reviewer")

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """One log-in for the whole site: one page to guard against guessing."""
        if request.user.is_authenticated:
            raise PermissionDenied("These pages are for reviewers and admins. Ask an admin for the role.")
        return redirect_to_login(request.GET.get("next", "/admin/"))
