"""Tags and rules from files (JSONL or CSV), and the starter lexicon that comes with the product.

A row is {"tag", "colour", "key", "guideline"} or {"tag", "kind", "pattern", "exclusion"}, or both in one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from labeling import tags
from labeling.models import Rule, Tag
from labeling.rules import check_pattern, normalise_pattern

STARTER = Path(__file__).with_name("opioid_monitoring.jsonl")
COLUMNS = ("tag", "kind", "pattern", "exclusion", "colour", "key", "guideline")
YES = ("1", "true", "yes", "y", "x")
MAX_LINE = 20_000  # characters


class UnreadableFile(Exception):
    """The file as a whole cannot be read; the message says what to do."""


@dataclass
class Result:
    tags_added: int = 0
    tags_changed: int = 0
    rules_added: int = 0
    rules_known: int = 0
    rejected: list[tuple[int, str]] = field(default_factory=list)  # line, reason

    def __str__(self) -> str:
        return (
            f"{self.tags_added} tags added, {self.tags_changed} changed; {self.rules_added} rules added, "
            f"{self.rules_known} known already, {len(self.rejected)} rows rejected."
        )


Row = tuple[int, dict[str, Any] | str]  # line number; what it holds, or why it cannot be read


def read_rows(file: TextIO, *, name: str) -> Iterator[Row]:
    """Rows of a CSV or JSONL file, told by its name. Raises UnreadableFile."""
    lower = name.lower()
    if lower.endswith((".jsonl", ".ndjson")):
        return _read_jsonl(file)
    if lower.endswith((".csv", ".tsv")):
        return _read_csv(file, "\t" if lower.endswith(".tsv") else ",")
    raise UnreadableFile("Name the file .csv, .tsv or .jsonl, so that its format is known.")


def _read_jsonl(file: TextIO) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line) if len(line) <= MAX_LINE else None
        except ValueError:
            row = None
        yield number, row if isinstance(row, dict) else "This line is no JSON object."


def _read_csv(file: TextIO, delimiter: str) -> Iterator[Row]:
    reader = csv.DictReader(file, delimiter=delimiter)
    names = [(name or "").strip().lower() for name in reader.fieldnames or []]
    if "tag" not in names:
        raise UnreadableFile(f"There is no column “tag”. The columns are: {', '.join(COLUMNS)}.")
    reader.fieldnames = names
    try:
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key and value is not None}
    except csv.Error as error:
        yield reader.line_num, f"The CSV breaks off here: {error}."


@transaction.atomic
def import_rules(rows: Iterable[Row], *, user: AbstractBaseUser | None = None) -> Result:
    """Add tags and rules that are not there yet; everything valid goes in, the rest is listed.

    A tag that exists keeps its colour, key and guideline where it has them.
    """
    result = Result()
    known = {tag.name.lower(): tag for tag in Tag.objects.all()}
    there = set(Rule.objects.values_list("tag_id", "kind", "pattern", "is_exclusion"))
    added: list[Rule] = []
    for number, row in rows:
        try:
            if isinstance(row, str):
                raise ValidationError(row)
            tag = _tag_of(row, known, result)
            if not str(row.get("pattern") or "").strip():
                continue
            rule = _rule_of(row, tag, user)
        except ValidationError as error:
            result.rejected.append((number, " ".join(error.messages)))
            continue
        key = (rule.tag_id, rule.kind, rule.pattern, rule.is_exclusion)
        if key in there:
            result.rules_known += 1
        else:
            there.add(key)
            added.append(rule)
    Rule.objects.bulk_create(added, batch_size=1_000)
    result.rules_added = len(added)
    return result


def _tag_of(row: dict[str, Any], known: dict[str, Tag], result: Result) -> Tag:
    name = " ".join(str(row.get("tag") or "").split())
    fields = {key: str(row.get(key) or "").strip() for key in ("colour", "key", "guideline")}
    tag = known.get(name.lower())
    if tag is None:
        tag = known[name.lower()] = tags.create_tag(name, **fields)
        result.tags_added += 1
        return tag
    if fields["guideline"] and not tag.guideline:
        tag.guideline = fields["guideline"]
        tag.save(update_fields=["guideline"])
        result.tags_changed += 1
    return tag


def _rule_of(row: dict[str, Any], tag: Tag, user: AbstractBaseUser | None) -> Rule:
    kind = str(row.get("kind") or Rule.Kind.TERM).strip().lower()
    pattern = normalise_pattern(kind, str(row["pattern"]))
    check_pattern(kind, pattern)
    is_exclusion = str(row.get("exclusion") or "").strip().lower() in YES
    return Rule(tag=tag, kind=kind, pattern=pattern, is_exclusion=is_exclusion, created_by=user)  # type: ignore[misc]


def load_starter(*, user: AbstractBaseUser | None = None) -> Result:
    """The 25 tags for opioid monitoring and their rules."""
    with STARTER.open(encoding="utf-8") as file:
        return import_rules(read_rows(file, name=STARTER.name), user=user)
