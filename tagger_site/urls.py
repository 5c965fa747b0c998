"""Every URL of the site. The product's own pages are in labeling/urls.py."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path, reverse_lazy

from tagger_site import health

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("admin/", admin.site.urls),
    path("log-in/", auth_views.LoginView.as_view(), name="log-in"),
    path("log-out/", auth_views.LogoutView.as_view(), name="log-out"),
    path(
        "password/",
        auth_views.PasswordChangeView.as_view(
            template_name="registration/password.html", success_url=reverse_lazy("labeling:home")
        ),
        name="password",
    ),
    path("", include("labeling.urls")),
]
