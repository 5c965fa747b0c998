"""manage.py erase: tweets, or all tweets of an author, everywhere and for good."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from labeling import erased, erasing, jobs
from labeling.identity import dedupe_keys
from labeling.models import Job, Source, Tweet

INTERNAL, EXTERNAL = "internal:", "external:"
DIGITS = 18  # of a number that fits in the database


class Command(BaseCommand):
    help = (
        "Erase tweets, or all tweets of an author, with labels, judgements and scores in every version. There is no way"
        " back: later imports leave them out too. Says what would go; does it with --yes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument(
            "--tweet",
            nargs="+",
            metavar="ID",
            help="ids that tweets came with, or their numbers here; external:ID or internal:ID says which it is",
        )
        what.add_argument("--author", metavar="NAME", help="the author as it stands in the original file")
        parser.add_argument("--yes", action="store_true", help="really erase")

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        ids: list[int] = []
        author = None
        if options["author"] is not None:
            if not options["author"].strip():
                raise CommandError("The author's name is empty.")
            author = erasing.author_of(options["author"])
            self.stderr.write(f"the author: {erasing.count_of(author):,} tweets")
        else:
            ids = erasing.posts_of([tweet_id for name in options["tweet"] for tweet_id in self._find(name)])
            for tweet in Tweet.objects.filter(pk__in=ids):
                loss = erasing.loss_of(tweet)
                self.stderr.write(
                    f"tweet {tweet.pk}: {loss.annotations:,} judgements, scored by {loss.versions:,} versions, in"
                    f" {loss.snapshots:,} training snapshots; {loss.copies:,} near copies stay"
                )
        if not options["yes"]:
            raise CommandError("Nothing was erased. Add --yes to erase all of this.")
        job = jobs.run_job(erasing.start(tweet_ids=ids, author=author, user=None).pk, erasing.work)
        if job is None or job.state != Job.State.DONE:
            raise CommandError(job.error if job and job.error else "The erasure did not end. Run it again.")
        self.stdout.write(
            f"erased {job.done:,} tweets and {job.detail['rejected_rows']:,} rejected rows"
            f" in {time.monotonic() - started:.1f} s"
        )

    def _find(self, name: str) -> list[int]:
        """Numbers of the tweets that are meant. None of a tweet that was erased before: doing it twice is no error."""
        number = name.removeprefix(INTERNAL)
        external = name.removeprefix(EXTERNAL)
        by_number: list[int] = []
        by_id: list[int] = []
        if not name.startswith(EXTERNAL) and number.isascii() and number.isdigit() and len(number) <= DIGITS:
            by_number = list(Tweet.objects.filter(pk=int(number)).values_list("pk", flat=True))
        if not name.startswith(INTERNAL):
            by_id = list(Tweet.objects.with_external_id(external).values_list("pk", flat=True))
        if by_number and by_id and not set(by_number) <= set(by_id):
            raise CommandError(
                f"{name} is the number of one tweet and the id that another came with."
                f" Write {INTERNAL}{name} or {EXTERNAL}{name}."
            )
        if not by_number and not by_id and not _was_erased(external):
            raise CommandError(f"There is no tweet {name}.")
        return by_number + by_id


def _was_erased(external_id: str) -> bool:
    keys = np.concatenate([dedupe_keys(source, [(external_id, "")]) for source in Source])
    with connection.cursor() as cursor:
        return bool(np.isin(erased.marks_of(keys), erased.known_marks(cursor)).any())
