"""manage.py audit: draw an audit, or write what the audits say as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import audit_samples, audits, corpus_share, estimate_words, estimates
from labeling.models import ModelVersion
from labeling.sampling import CannotDraw
from labeling.suggestions import published_version


class Command(BaseCommand):
    help = (
        "Draw a random sample of the general tweets, by the scores of the active version, into a queue to be judged"
        " blind (--draw, with --flagged among the flagged ones alone); or say what such labels tell of the corpus."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Here --version is a model's version, not Django's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--draw", type=int, metavar="N", help="draw N tweets")
        parser.add_argument(
            "--flagged", action="store_true", help="draw among the flagged tweets alone, for their precision"
        )
        parser.add_argument("--version", type=int, dest="number", help="estimate for this version")
        parser.add_argument("--json", metavar="FILE", help="all figures; - is standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["draw"] is not None:
            return self._draw(options["draw"], only_flagged=options["flagged"])
        version = self._version(options["number"])
        flagged = corpus_share.report(version)
        found = self._report(version, is_needed=flagged is None)
        if options["json"]:
            figures: dict[str, Any] = estimates.as_json(found) if found else {"version": version.number}
            figures["from_flagged"] = corpus_share.as_json(flagged) if flagged else None
            text = json.dumps(figures, indent=1, ensure_ascii=False)
            if options["json"] == "-":
                self.stdout.write(text)
                return None
            Path(options["json"]).write_text(text + "\n", encoding="utf-8")
        if found and found.found:
            self.stdout.write(estimate_words.sentence(found))
        if flagged:
            self.stdout.write(f"{corpus_share.sentence(flagged)} {corpus_share.assumption()}")
        return None

    def _draw(self, labels: int, *, only_flagged: bool) -> None:
        try:
            audit = audits.start(published_version(), labels=labels, user=None, only_flagged=only_flagged)
        except CannotDraw as error:
            raise CommandError(str(error)) from error
        drawn = audit.queue.items.count()
        self.stdout.write(
            f"{audit.queue.name}: {drawn:,} of {audit.tweets:,} general tweets drawn in {len(audit.strata)} strata"
            + (", the flagged ones alone" if only_flagged else "")
        )

    def _version(self, number: int | None) -> ModelVersion:
        version = (
            published_version() if number is None else ModelVersion.objects.filter(number=number).first()
        )
        if version is None:
            raise CommandError("There is no such version, or none is active with published scores.")
        return version

    def _report(self, version: ModelVersion, *, is_needed: bool) -> estimates.Report | None:
        """`is_needed`: an error where there is none, or none with figures."""
        try:
            found = estimates.report(version)
        except audit_samples.CannotEstimate as error:
            if is_needed:
                raise CommandError(str(error)) from error
            return None
        if is_needed and found is None:
            raise CommandError("There is no audit yet: draw one with --draw 300, and label its queue.")
        if is_needed and found and found.found is None:
            raise CommandError(
                f"Only {found.whole.judged} tweets of the audit are judged: {estimates.FEWEST} are needed."
            )
        return found
