"""Export the labels of the project."""

from __future__ import annotations

import getpass
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling import exporting
from labeling.models import Origin, Source


class Command(BaseCommand):
    help = (
        f"Export labels, one row for each tweet, to FILE: {exporting.FORMATS}. The column split says whether a tweet "
        "trains, validates or tests models. import_tweets reads what this writes. The export is audited."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="its name decides the format; an existing file is replaced")
        parser.add_argument("--source", choices=[source.label for source in Source], help="default: both")
        parser.add_argument(
            "--at-least",
            choices=[origin.label for origin in Origin],
            default=Origin.RULE.label,
            help="leave out labels that only weaker origins gave (rule < import < analyst < review). Default: rule",
        )
        parser.add_argument(
            "--raw",
            action="store_true",
            help="CSV: write cells exactly as they are. Without it, cells that a spreadsheet would run as formulas "
            "begin with an apostrophe",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        try:
            count = exporting.export_labels(
                options["file"],
                at_least=next(origin for origin in Origin if origin.label == options["at_least"]),
                source=Source[options["source"].upper()] if options["source"] else None,
                raw=options["raw"],
                by=getpass.getuser(),
                progress=self._print,
            )
        except (exporting.UnknownFormatError, OSError) as error:
            raise CommandError(str(error)) from error
        seconds = time.monotonic() - started
        self.stdout.write(f"exported {count:,} labels to {options['file']} in {seconds:.1f} s")

    def _print(self, done: int) -> None:
        self.stderr.write(f"{done:,} labels", ending="\r" if sys.stderr.isatty() else "\n")
