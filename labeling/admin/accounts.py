"""Accounts: admins make them, give them a role and disable them. Nobody is deleted: judgements keep names."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import ManyToManyField
from django.http import HttpRequest

from labeling.admin.base import RoleAdmin

admin.site.unregister(User)
admin.site.unregister(Group)  # the roles are fixed; accounts are put into them below

ROLE_HELP = (
    "Analyst: labels. Reviewer: also decides in the review queue, imports, trains and activates. "
    "Admin: also manages accounts. Without a role an account sees nothing."
)


@admin.register(User)
class AccountAdmin(RoleAdmin, UserAdmin):  # type: ignore[type-arg]
    may_read = "admin"
    list_display = ("username", "first_name", "last_name", "roles", "is_active", "last_login")
    list_filter = ("groups", "is_active")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    filter_horizontal = ()
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Access", {"fields": ("groups", "is_active")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "usable_password", "password1", "password2")}),
        ("Access", {"fields": ("groups",)}),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="role")
    def roles(self, user: User) -> str:
        names = [group.name for group in user.groups.all()]
        return ", ".join(names) or ("admin" if user.is_superuser else "none")

    def formfield_for_manytomany(
        self, db_field: ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None and db_field.name == "groups":
            field.widget = forms.CheckboxSelectMultiple()
            field.widget.choices = field.choices
            field.label = "Role"
            field.help_text = ROLE_HELP
        return field
