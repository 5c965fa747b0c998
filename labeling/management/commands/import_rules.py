"""manage.py import_rules: tags and rules from a file."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import lexicon


class Command(BaseCommand):
    help = (
        "Add tags and rules from a CSV, TSV or JSONL file with the columns tag, kind (term, phrase or regex), "
        "pattern, exclusion (1 or 0) and, if you like, colour, key and guideline. "
        "What exists already stays. “starter” in place of a file loads the opioid-monitoring lexicon; "
        "“-” reads JSONL from standard input."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        result = self._import(options["file"])
        for line, reason in result.rejected:
            self.stderr.write(f"line {line}: {reason}")
        self.stdout.write(f"Rules: {result}")
        if result.rejected:
            raise CommandError(f"{len(result.rejected)} rows were rejected; everything else is in.")

    def _import(self, name: str) -> lexicon.Result:
        if name == "starter":
            return lexicon.load_starter()
        if name == "-":
            return lexicon.import_rules(lexicon.read_rows(sys.stdin, name="standard input.jsonl"))
        try:
            with open(name, encoding="utf-8-sig", newline="") as file:
                return lexicon.import_rules(lexicon.read_rows(file, name=name))
        except OSError as error:
            raise CommandError(f"Cannot open {name}: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise CommandError(f"{name} is not UTF-8. Save it as UTF-8 and try again.") from error
        except lexicon.UnreadableFile as error:
            raise CommandError(str(error)) from error
