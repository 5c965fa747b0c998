"""The product's URLs, one block per subject."""

from django.urls import path

from labeling.views import home, jobs, theme

app_name = "labeling"

urlpatterns = [
    path("", home.home, name="home"),
    path("theme/", theme.theme, name="theme"),
    # Jobs
    path("jobs/<int:pk>/", jobs.job_detail, name="job-detail"),
    path("jobs/<int:pk>/cancel/", jobs.job_cancel, name="job-cancel"),
]
