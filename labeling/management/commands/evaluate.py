"""manage.py evaluate: the whole evaluation report of a version as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import training
from labeling.models import ModelVersion


class Command(BaseCommand):
    help = "Write a version's evaluation report, snapshot counts, configuration and thresholds as JSON."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Here --version is a model's version, not Django's."""
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--version",
            type=int,
            dest="number",
            help="the version's number (the active one; else the newest)",
        )
        parser.add_argument(
            "--json", required=True, metavar="FILE", help="where to write; - is standard output"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        version = self._version(options["number"])
        text = json.dumps(training.evaluation(version), indent=1, ensure_ascii=False)
        if options["json"] == "-":
            self.stdout.write(text)
            return
        Path(options["json"]).write_text(text + "\n", encoding="utf-8")
        self.stdout.write(training.headline(version))

    def _version(self, number: int | None) -> ModelVersion:
        ready = ModelVersion.objects.ready()
        if number is not None:
            version = ready.filter(number=number).first()
            if version is None:
                raise CommandError(f"There is no trained version {number}.")
            return version
        version = ready.active() or ready.order_by("-number").first()
        if version is None:
            raise CommandError("No version has been trained yet: run manage.py train first.")
        return version
