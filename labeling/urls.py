"""The product's URLs, one block per subject."""

from django.urls import path

from labeling.views import agreement, flagged, home, imports, jobs, theme, versions

app_name = "labeling"

urlpatterns = [
    path("", home.home, name="home"),
    path("theme/", theme.theme, name="theme"),
    path("agreement/", agreement.agreement, name="agreement"),
    # Model versions
    path("versions/", versions.version_list, name="version-list"),
    path("versions/new/", versions.retrain, name="retrain"),
    path("versions/compare/", versions.version_compare, name="version-compare"),
    path("versions/<int:number>/", versions.version_detail, name="version-detail"),
    path("versions/<int:number>/tweets/", versions.version_tweets, name="version-tweets"),
    path("versions/<int:number>/activate/", versions.version_activate, name="version-activate"),
    path("versions/<int:number>/score/", versions.version_score, name="version-score"),
    # Flagged tweets
    path("flagged/", flagged.flagged_list, name="flagged"),
    path("flagged/bulk/", flagged.flagged_bulk, name="flagged-bulk"),
    path("flagged/undo/", flagged.flagged_undo, name="flagged-undo"),
    path("flagged/export/", flagged.flagged_export, name="flagged-export"),
    # Imports
    path("imports/", imports.import_list, name="import-list"),
    path("imports/new/", imports.import_new, name="import-new"),
    path("imports/<int:pk>/", imports.import_detail, name="import-detail"),
    path("imports/<int:pk>/mapping/", imports.import_mapping, name="import-mapping"),
    path("imports/<int:pk>/discard/", imports.import_discard, name="import-discard"),
    path("imports/<int:pk>/resume/", imports.import_resume, name="import-resume"),
    path("imports/<int:pk>/rejected/", imports.import_rejected, name="import-rejected"),
    # Jobs
    path("jobs/<int:pk>/", jobs.job_detail, name="job-detail"),
    path("jobs/<int:pk>/cancel/", jobs.job_cancel, name="job-cancel"),
]
