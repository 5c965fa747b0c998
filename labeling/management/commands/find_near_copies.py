"""manage.py find_near_copies: groups of near copies among all tweets."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling import jobs, near_copies
from labeling.management.progress import printer
from labeling.models import Job


class Command(BaseCommand):
    help = (
        "Find groups of near copies (retweets, copies with another link or a changed word) among the tweets that "
        "came since the last look, or among all of them where many did. The workers do the same by themselves."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            job = near_copies.request()
        except jobs.AlreadyRunning as error:
            raise CommandError(str(error)) from error
        finished = jobs.run_job(
            job.pk, partial(near_copies.work, gives_way=False), watch=printer(self.stdout)
        )
        if finished is None or finished.state != Job.State.DONE:
            reason = (
                (finished.error or finished.get_state_display()) if finished else "another process has it"
            )
            raise CommandError(f"Not finished: {reason}. Start it again.")
        if self.stdout.isatty():
            self.stdout.write("")
        seconds, n = time.monotonic() - started, finished.detail
        self.stdout.write(
            f"Looked at {n.get('tweets', 0):,} tweets in {seconds:,.1f} s: {n.get('near_copies', 0):,} are in "
            f"{n.get('groups', 0):,} groups of near copies, {n.get('written', 0):,} of them changed."
        )
