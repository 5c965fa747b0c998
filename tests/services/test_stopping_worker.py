"""A background worker is stopped at once in the middle of a job, as Ctrl-C and `docker stop` do it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from labeling import jobs, search_index, tasks
from labeling.models import Job
from labeling.models.jobs import STALE_AFTER
from tagger_site import inline_pool
from tests.e2e.conftest import ROOT, database_url
from tests.services.conftest import wait_until

pytestmark = pytest.mark.worker


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_cut_off_by_a_stop_goes_on_in_the_next_worker(tmp_path: Path) -> None:
    worker = [sys.executable, "-m", "celery", "-A", "tests.long_background", "worker", "-Q", "background"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*worker, "--pool", "custom", "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database_url(),
                "REDIS_URL": settings.REDIS_URL,
                "CELERY_CUSTOM_WORKER_POOL": inline_pool.POOL,
                "REMAP_SIGTERM": "SIGQUIT",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        job = search_index.request()
        assert job is not None
        tasks.enqueue(job)
        wait_until(lambda: Job.objects.get().stage == "Taking long")
        process.terminate()
        process.wait(10)
    finally:
        process.kill()
    job.refresh_from_db()
    assert (job.state, job.error) == (Job.State.RUNNING, "")
    Job.objects.update(heartbeat_at=timezone.now() - STALE_AFTER)
    assert jobs.jobs_to_ring_for() == [job.pk]
    done = jobs.run_job(job.pk, lambda job, progress: None, heartbeat=False)
    assert done is not None
    assert (done.state, done.attempt) == (Job.State.DONE, 2)
