"""What the admin's lists share: access by role, and no counting of large tables."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest

from labeling.access import has_role

COUNT_UP_TO = 1000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than COUNT_UP_TO: what lies behind is reached by a filter, not by page 20,000."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list.order_by()[:COUNT_UP_TO].count())  # type: ignore[attr-defined]


class RoleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Reviewers read, admins write. Subclasses narrow it further."""

    may_read = "reviewer"
    may_write = "admin"
    show_full_result_count = False
    paginator = CappedPaginator
    list_per_page = 50
    list_max_show_all = 0
    show_facets = admin.ShowFacets.NEVER

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, self.may_read)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, self.may_read)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, self.may_write)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, self.may_write)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(RoleAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
