"""manage.py activate: make a version the active one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import flips, versions
from labeling.models import ModelVersion

SHOWN = 10  # lost tweets of each output


class Command(BaseCommand):
    help = "Make a model version the active one: its scores are what the pages show. Also the way back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int, help="the version's number")
        parser.add_argument(
            "--force",
            action="store_true",
            help="also where tweets are lost that people judged and that the active version flags",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        version = ModelVersion.objects.filter(number=options["number"]).first()
        if version is None:
            raise CommandError(f"There is no version {options['number']}.")
        if not options["force"]:
            self._refuse_losses(version)
        try:
            versions.activate(version, user=None)
        except versions.NotReady as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{version} is active; scores published {version.scores_published_at:%Y-%m-%d %H:%M}"
        )

    def _refuse_losses(self, version: ModelVersion) -> None:
        """Raises CommandError, after the tweets that would be lost."""
        losses, active = flips.losses(version), ModelVersion.objects.active()
        if not losses or active is None:
            return
        for row in losses:
            flip = flips.Flip(active, version, row.tag.pk if row.tag else None)
            self.stderr.write(
                f"{row.name}: of {row.n:,} tweets that people judged so, {active} flags {row.before:,} and"
                f" {version} {row.after:,}. {row.lost:,} would be lost, {row.gained:,} gained. Lost are:"
            )
            for tweet in flips.judged_page(flip, size=SHOWN).rows:
                self.stderr.write(
                    f"  tweet {tweet.tweet_id}, {tweet.by:.3f} → {tweet.but_not:.3f}: {tweet.text[:100]!r}"
                )
        raise CommandError(
            f"{version} was not activated: it does not flag tweets that people judged and that {active} flags."
            f" See /versions/compare/?before={active.number}&after={version.number}, or add --force."
        )
