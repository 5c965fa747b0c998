"""Every URL of the site. The product's own pages are in labeling/urls.py."""

from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("log-in/", auth_views.LoginView.as_view(), name="log-in"),
    path("log-out/", auth_views.LogoutView.as_view(), name="log-out"),
    path("", include("labeling.urls")),
]
