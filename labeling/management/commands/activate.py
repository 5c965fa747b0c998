"""manage.py activate: make a version the active one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import versions
from labeling.models import ModelVersion


class Command(BaseCommand):
    help = "Make a model version the active one: its scores are what the pages show. Also the way back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="the version's number")

    def handle(self, *args: Any, **options: Any) -> None:
        version = ModelVersion.objects.filter(number=options["number"]).first()
        if version is None:
            raise CommandError(f"There is no version {options['number']}.")
        try:
            versions.activate(version, user=None)
        except versions.NotReady as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{version} is active; scores published {version.scores_published_at:%Y-%m-%d %H:%M}"
        )
