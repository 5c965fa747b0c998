"""The product's URLs, one block per subject."""

from django.urls import path

from labeling.views import (
    agreement,
    comparing,
    erasing,
    estimates,
    flagged,
    home,
    imports,
    jobs,
    label,
    queues,
    tags,
    theme,
    tweets,
    versions,
)

app_name = "labeling"

urlpatterns = [
    path("", home.home, name="home"),
    path("theme/", theme.theme, name="theme"),
    path("agreement/", agreement.agreement, name="agreement"),
    # Audits, and what they say of the corpus
    path("estimates/", estimates.estimates_page, name="estimates"),
    path("estimates/audits/", estimates.audit_start, name="audit-start"),
    # Model versions
    path("versions/", versions.version_list, name="version-list"),
    path("versions/new/", versions.retrain, name="retrain"),
    path("versions/compare/", comparing.version_compare, name="version-compare"),
    path("versions/flips/", comparing.version_flips, name="version-flips"),
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
    path("imports/<int:pk>/delete/", imports.import_delete, name="import-delete"),
    path("imports/<int:pk>/rejected/", imports.import_rejected, name="import-rejected"),
    # Tags and rules
    path("tags/", tags.tag_list, name="tag-list"),
    path("tags/new/", tags.tag_new, name="tag-new"),
    path("tags/starter/", tags.starter_lexicon, name="starter-lexicon"),
    path("tags/<int:pk>/", tags.tag_edit, name="tag-edit"),
    path("tags/<int:pk>/move/", tags.tag_move, name="tag-move"),
    path("tags/<int:pk>/archive/", tags.tag_archive, name="tag-archive"),
    path("tags/<int:pk>/rules/", tags.rule_add, name="rule-add"),
    path("rules/<int:pk>/", tags.rule_change, name="rule-change"),
    path("rules/preview/", tags.rule_preview_page, name="rule-preview"),
    path("rules/apply/", tags.rules_apply, name="rules-apply"),
    # Jobs
    path("jobs/<int:pk>/", jobs.job_detail, name="job-detail"),
    path("jobs/<int:pk>/cancel/", jobs.job_cancel, name="job-cancel"),
    # Tweets
    path("tweets/", tweets.tweet_list, name="tweet-list"),
    path("tweets/<int:pk>/", tweets.tweet_detail, name="tweet-detail"),
    path("tweets/<int:pk>/copies/", tweets.tweet_copies, name="tweet-copies"),
    path("tweets/<int:pk>/correct/", tweets.tweet_correct, name="tweet-correct"),
    path("tweets/<int:pk>/send/", tweets.tweet_send, name="tweet-send"),
    path("tweets/<int:pk>/erase/", erasing.tweet_erase, name="tweet-erase"),
    path("tweets/<int:pk>/retract/<int:annotation_id>/", tweets.tweet_retract, name="tweet-retract"),
    # Queues and the label page
    path("queues/", queues.queue_list, name="queue-list"),
    path("queues/new/", queues.queue_new, name="queue-new"),
    path("queues/check/", queues.queue_check_latest, name="queue-check-latest"),
    path("queues/<int:pk>/check/", queues.queue_check, name="queue-check"),
    path("queues/<int:pk>/check/more/", queues.queue_check_more, name="queue-check-more"),
    path("queues/wrong-labels/", queues.wrong_labels_start, name="wrong-labels"),
    path("queues/<int:pk>/open/", queues.queue_open, name="queue-open"),
    path("queues/<int:pk>/skipped/", queues.queue_skipped, name="queue-skipped"),
    path("label/", label.label_next, name="label-next"),
    path("queues/<int:queue_id>/label/", label.label, name="label"),
    path("queues/<int:queue_id>/label/submit/", label.label_submit, name="label-submit"),
    path("queues/<int:queue_id>/label/undo/", label.label_undo, name="label-undo"),
    path("queues/<int:queue_id>/label/release/", label.label_release, name="label-release"),
    path("queues/<int:queue_id>/label/renew/", label.label_renew, name="label-renew"),
]
