"""The Celery application. The broker carries ids, as JSON; every job's truth is its row in Postgres."""

import os
import signal
from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")

app = Celery("tagger")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def die_with_worker(**_: Any) -> None:
    """A killed worker takes its pool along: nobody else would end an hour of training."""
    from tagger_site.embedded.processes import die_with_parent

    if follow := die_with_parent(signal.SIGKILL):
        follow()


@beat_init.connect
def begin_at_once(**_: Any) -> None:
    """After a start PostgreSQL's memory is empty: its task is not to wait until the clock has gone round once."""
    entry = app.conf.beat_schedule["keep-list-near"]
    app.send_task(entry["task"], **entry["options"])
