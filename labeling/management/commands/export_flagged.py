"""manage.py export_flagged: what the active version flags, as CSV, JSONL or Parquet."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling import exporting, exporting_flagged
from labeling.flagged_filters import Filters, LabelState
from labeling.models import ModelVersion, Source, Tag


class Command(BaseCommand):
    help = "Write the flagged tweets of the active version, highest risk first, to a file. The export is recorded."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help=f"its name says the format: {exporting.FORMATS}")
        parser.add_argument("--min-risk", type=float, help="default: the version's threshold")
        parser.add_argument("--tag", help="only tweets to which the version gives this tag, by its name")
        parser.add_argument("--from", dest="date_from", type=date.fromisoformat, help="first day, YYYY-MM-DD")
        parser.add_argument("--to", dest="date_to", type=date.fromisoformat, help="last day, YYYY-MM-DD")
        parser.add_argument("--source", choices=[source.label for source in Source])
        parser.add_argument(
            "--state", choices=LabelState.values, default="", help="by the label of the tweet"
        )
        parser.add_argument("--words", default="", help="only tweets with these words")
        parser.add_argument("--limit", type=int, help="at most so many tweets")

    def handle(self, **options: Any) -> None:
        version = ModelVersion.objects.active()
        if version is None or version.scores_published_at is None:
            raise CommandError("No version with published scores is active: manage.py score --activate.")
        asked = {
            name: str(options[name])
            for name in ("min_risk", "tag", "date_from", "date_to", "source", "state", "words")
            if options[name] not in (None, "")
        }
        started = time.monotonic()
        try:
            count = exporting_flagged.export(
                version,
                self.filters(options),
                name=options["file"],
                limit=options["limit"],
                user=None,
                asked=asked,
            )
        except (exporting.UnknownFormatError, OSError) as error:
            raise CommandError(str(error)) from error
        seconds = time.monotonic() - started
        self.stdout.write(f"Wrote {count:,} tweets flagged by version {version.number} in {seconds:,.1f} s.")

    def filters(self, options: dict[str, Any]) -> Filters:
        tag = None
        if options["tag"]:
            tag = Tag.objects.filter(name__iexact=options["tag"]).values_list("pk", flat=True).first()
            if tag is None:
                raise CommandError(f"There is no tag {options['tag']}.")
        source = next((source.value for source in Source if source.label == options["source"]), None)
        return Filters(
            min_risk=options["min_risk"],
            tag=tag,
            date_from=options["date_from"],
            date_to=options["date_to"],
            source=source,
            state=options["state"],
            q=options["words"],
        )
