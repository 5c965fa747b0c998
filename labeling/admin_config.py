"""Makes our admin site the default one."""

from django.contrib.admin.apps import AdminConfig


class TaggerAdminConfig(AdminConfig):
    default_site = "labeling.admin_site.TaggerAdminSite"
