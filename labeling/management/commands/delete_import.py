"""manage.py delete_import: an import with its tweets and all that hangs on them."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import deleting, jobs, search_index
from labeling.models import Import, Job


class Command(BaseCommand):
    help = (
        "Delete an import: its tweets with their labels, judgements and scores, in every version. There is no way back,"
        " but the file can be imported again. Says what would go; does it with --yes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="the import's number, as in the address of its page")
        parser.add_argument("--yes", action="store_true", help="really delete")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        row = Import.objects.select_related("job", "deletion").filter(pk=options["number"]).first()
        if row is None:
            raise CommandError(f"There is no import {options['number']}.")
        if problem := deleting.why_not(row):
            raise CommandError(problem)
        loss = deleting.loss_of(row)
        self.stderr.write(
            f"{row.file_name}: {loss.tweets:,} tweets, {loss.judged_shown} of them judged by people,"
            f" {loss.examples_shown} rows of training snapshots"
        )
        if not options["yes"]:
            raise CommandError("Nothing was deleted. Add --yes to delete all of this.")
        job = jobs.run_job(deleting.start(row, user=None).pk, deleting.work)
        if job is None or job.state != Job.State.DONE:
            raise CommandError(job.error if job and job.error else "The deletion did not end. Run it again.")
        search_index.request()
        self.stdout.write(f"deleted {job.done:,} tweets in {time.monotonic() - started:.1f} s")
