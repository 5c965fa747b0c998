"""The product's URLs, one block per subject."""

from django.urls import path

from labeling.views import home

app_name = "labeling"

urlpatterns = [
    path("", home.home, name="home"),
]
