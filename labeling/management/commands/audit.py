"""manage.py audit: draw an audit, or write what the audits say as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import audits, estimates
from labeling.models import ModelVersion
from labeling.sampling import CannotDraw
from labeling.suggestions import published_version


class Command(BaseCommand):
    help = (
        "Draw a random sample of the general tweets, by the scores of the active version, into a queue to be judged"
        " blind (--draw); or say what such labels tell of the corpus."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Here --version is a model's version, not Django's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--draw", type=int, metavar="N", help="draw N tweets")
        parser.add_argument("--version", type=int, dest="number", help="estimate for this version")
        parser.add_argument("--json", metavar="FILE", help="all figures; - is standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["draw"] is not None:
            return self._draw(options["draw"])
        found = self._report(options["number"])
        if options["json"]:
            text = json.dumps(estimates.as_json(found), indent=1, ensure_ascii=False)
            if options["json"] == "-":
                self.stdout.write(text)
                return None
            Path(options["json"]).write_text(text + "\n", encoding="utf-8")
        self.stdout.write(estimates.sentence(found))
        return None

    def _draw(self, labels: int) -> None:
        try:
            audit = audits.start(published_version(), labels=labels, user=None)
        except CannotDraw as error:
            raise CommandError(str(error)) from error
        drawn = audit.queue.items.count()
        self.stdout.write(
            f"{audit.queue.name}: {drawn:,} of {audit.tweets:,} general tweets drawn in {len(audit.strata)} strata"
        )

    def _report(self, number: int | None) -> estimates.Report:
        version = (
            published_version() if number is None else ModelVersion.objects.filter(number=number).first()
        )
        if version is None:
            raise CommandError("There is no such version, or none is active with published scores.")
        try:
            found = estimates.report(version)
        except estimates.CannotEstimate as error:
            raise CommandError(str(error)) from error
        if found is None:
            raise CommandError("There is no audit yet: draw one with --draw 300, and label its queue.")
        if found.found is None:
            raise CommandError(
                f"Only {found.progress.judged} tweets of the audit are judged: {estimates.FEWEST} are needed."
            )
        return found
