"""manage.py make_demo: an invented corpus, imported and partly judged."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import demo
from labeling.demo.corpus import write_files


class Command(BaseCommand):
    help = (
        "Write invented tweets to files, then import them the way a user would, load the starter lexicon, apply "
        "the rules, write judgements of two demo analysts and open queues. What is true of each tweet stays in "
        "truth/truth.jsonl, for tests and evaluation; training never reads it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--specific", type=int, default=5_000, help="tweets with keywords and tags (5000)"
        )
        parser.add_argument(
            "--general", type=int, default=100_000, help="tweets of all kinds, 1 %% DA (100000)"
        )
        parser.add_argument("--seed", type=int, default=1, help="same seed and counts: same tweets (1)")
        parser.add_argument("--out", type=Path, default=settings.VAR_DIR / "demo", help="folder of the files")
        parser.add_argument("--no-import", action="store_true", help="write the files and stop")
        parser.add_argument(
            "--force",
            action="store_true",
            help="also where there are tweets already: the demo's are added to them, and cannot be told apart later",
        )
        parser.add_argument(
            "--queues", action="store_true", help="only open the demo's queues that are missing, then stop"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        if options["queues"]:
            self.stdout.write(f"Demo: {demo.open_queues()} queues opened.")
            return
        if options["specific"] < 1 or options["general"] < 1:
            raise CommandError("--specific and --general must be 1 or more.")
        counts = {key: options[key] for key in ("specific", "general", "seed")}
        if options["no_import"]:
            files = write_files(options["out"], **counts)
            seconds = time.monotonic() - started
            self.stdout.write(
                f"Demo: wrote {counts['specific'] + counts['general']:,} invented tweets to {files.specific.parent} "
                f"in {seconds:.1f} s."
            )
            return
        try:
            made = demo.make(options["out"], **counts, force=options["force"], say=self.stdout.write)
        except demo.NotEmpty as error:
            raise CommandError(
                "There are tweets in this database that are not the demo's. Use an empty database, or --force to "
                "add the demo's tweets to yours: they cannot be told apart later."
            ) from error
        seconds = time.monotonic() - started
        self.stdout.write(
            f"Demo: {made['tweets']:,} tweets, {made['judged']:,} judgements, {made['queues']} queues opened "
            f"in {seconds:.1f} s."
        )
