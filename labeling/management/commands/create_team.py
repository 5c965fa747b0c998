"""manage.py create_team: the first accounts."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from labeling.team import create_team


class Command(BaseCommand):
    help = (
        "Create the first accounts (admin, reviewer, analyst, analyst2) with random passwords, written to a file "
        "that only you can read. Does nothing where there are accounts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--file", type=Path, default=settings.VAR_DIR / "log-in.txt", help="where the log-ins go"
        )

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        users = create_team(file)
        if users:
            self.stdout.write(f"Accounts created: {len(users)}; their passwords are in {file}")
        elif options["verbosity"]:
            self.stdout.write(
                "There are accounts already; nothing was changed. Add more in the admin, under Users."
            )
