"""Import tweets from a file."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand, CommandError

from labeling import jobs
from labeling.imports import importing
from labeling.imports.mapping import UNKNOWN_TAGS, Mapping
from labeling.imports.sheets import UnreadableFileError
from labeling.models import Import, Job, Source, Tag

HELP = """Import tweets from a CSV, TSV, JSONL, Parquet or XLSX file, plain or packed with gzip or zstd.

The file's content decides how it is read. Columns are guessed from their names; options overrule the guess.
Rows that cannot be imported are listed with line number and reason; all other rows are imported. Importing
the same file again adds nothing, and an import that was stopped can simply be run again.

  manage.py import_tweets specific.csv --source specific --tag-separator ';' --unknown-tags create
  zcat tweets.jsonl.gz | manage.py import_tweets - --source general --text-column full_text
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(
            prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("file", help="path of the file; - reads standard input")
        add("--source", required=True, choices=[source.label for source in Source], help="kind of tweets")
        add("--text-column", help="column of the text")
        add("--id-column", help="column of the tweet's id; without one, equal texts are one tweet")
        add("--author-column", help="column of the author; stored as a keyed hash only")
        add("--date-column", help="column of the date: ISO 8601, Twitter's own form, or epoch (milli)seconds")
        add("--tags-column", help="column of the tags: in one cell, or a list")
        add("--tag-columns", help="0/1 columns, one for each tag, separated by commas; - for none")
        add("--tag-separator", help="between tags in one cell; guessed when not given")
        add("--verdict-column", help="column of the verdict: DA, NDA, unsure, 1, 0, or your names of these")
        add(
            "--unknown-tags",
            choices=UNKNOWN_TAGS,
            help="what to do with a tag that the project does not have: reject the row, create the tag (up to 200 "
            "tags), or ignore the tag. Default: create while the project has no tags at all, else reject",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        started = time.monotonic()
        row = self._row(options)
        path = row.file.path if row.file else str(Path(options["file"]).resolve())
        mapping = self._mapping(path, options)
        row.save()
        job = importing.start(row, mapping, user=None, path="" if row.file else path)
        finished = jobs.run_job(job.pk, self._work)
        row.refresh_from_db()
        self._report(row, finished, time.monotonic() - started)

    def _row(self, options: dict[str, Any]) -> Import:
        source = Source[options["source"].upper()]
        if options["file"] != "-":
            return Import(source=source, file_name=Path(options["file"]).name[:255])
        # A copy, so that its columns can be looked at before it is read, and the import can go on after a crash.
        return importing.store_upload(File(sys.stdin.buffer, name="standard input"), source=source)

    def _mapping(self, path: str, options: dict[str, Any]) -> Mapping:
        """The guess from the first rows, overruled by options."""
        try:
            sample = importing.sample_of(path, name=options["file"])
        except UnreadableFileError as error:
            raise CommandError(str(error)) from error
        mapping = importing.guess(sample)
        for part in ("text", "id", "author", "date", "tags", "verdict"):
            if (name := options[f"{part}_column"]) is not None:
                setattr(mapping, part, "" if name == "-" else name)
        if options["tag_columns"] is not None:
            given = options["tag_columns"].split(",")
            mapping.tag_columns = [name.strip() for name in given if name.strip() not in ("", "-")]
            mapping.tags = "" if mapping.tag_columns and options["tags_column"] is None else mapping.tags
        elif options["tags_column"] is not None:
            mapping.tag_columns = []
        mapping.separator = options["tag_separator"] or mapping.separator
        mapping.unknown_tags = options["unknown_tags"] or ("reject" if Tag.objects.exists() else "create")
        if problems := mapping.problems(sample["columns"]):
            raise CommandError(" ".join(problems))
        self._say("columns: " + ", ".join(f"{part} = {name}" for part, name in _named(mapping)))
        return mapping

    def _work(self, job: Job, progress: jobs.Progress) -> None:
        importing.work(job, _Printed(progress, self))

    def _say(self, line: str, end: str = "\n") -> None:
        self.stderr.write(line, ending=end)

    def _report(self, row: Import, job: Job | None, seconds: float) -> None:
        rate = row.rows_read / seconds if seconds else 0
        if row.rejected_file:
            self._say(f"rejected rows: {row.rejected_file.path}")
        self.stdout.write(
            f"imported {row.imported:,}, duplicates {row.duplicates:,}, rejected {row.rejected:,}, "
            f"erased before {row.erased:,}, without a readable date {row.undated:,}, rows read {row.rows_read:,} "
            f"in {seconds:.1f} s ({rate:,.0f} rows/s)"
        )
        if job is None or job.state != Job.State.DONE:
            raise CommandError(
                job.error if job and job.error else f"The import was {job.state if job else 'taken over'}."
            )


def _named(mapping: Mapping) -> list[tuple[str, str]]:
    parts = [(part, getattr(mapping, part)) for part in ("text", "id", "author", "date", "tags", "verdict")]
    flags = [("0/1 tag", name) for name in mapping.tag_columns]
    return [(part, name) for part, name in parts + flags if name]


class _Printed(jobs.Progress):
    """Progress that is also printed, on a terminal in place."""

    def __init__(self, progress: jobs.Progress, command: Command) -> None:
        super().__init__(progress.job)
        self.command = command
        self.printed = 0.0

    def report(self, **fields: Any) -> None:
        super().report(**fields)
        now = time.monotonic()
        if now - self.printed >= 1:
            self.printed = now
            job, total = self.job, f" of about {self.job.total:,}" if self.job.total else ""
            end = "\r" if sys.stderr.isatty() else "\n"
            self.command._say(f"{job.stage}: {job.done:,}{total} rows", end=end)
