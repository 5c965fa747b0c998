"""The full-text index of tweets. A large import leaves it a list of pending entries; this job files them."""

from __future__ import annotations

from django.db import connection

from labeling import jobs
from labeling.jobs import Progress
from labeling.models import Job

INDEX = "tweet_text_search"


def request_tidying() -> Job | None:
    """A queued job that files the pending entries; None when one is queued or running already."""
    try:
        return jobs.create_job(Job.Kind.SEARCH, exclusive_key="search")
    except jobs.AlreadyRunning:
        return None


def work(job: Job, progress: Progress) -> None:
    """File the pending entries. Searching is right before, during and after; it is fast again after."""
    progress.report(stage="Filing new tweets in the search index")
    with connection.cursor() as cursor:
        # Sorting in more memory needs fewer passes; the setting ends with the session's next statement.
        cursor.execute("SET maintenance_work_mem = '256MB'")
        try:
            cursor.execute("SELECT gin_clean_pending_list(%s::regclass)", [INDEX])
            pages = cursor.fetchone()
            if not connection.in_atomic_block:  # new rows do not call autovacuum: migration 0002 says why
                progress.report(stage="Renewing the statistics of tweets")
                cursor.execute("VACUUM (ANALYZE) labeling_tweet")
        finally:
            cursor.execute("RESET maintenance_work_mem")
    progress.report(detail={"pages": pages[0] if pages else 0})
