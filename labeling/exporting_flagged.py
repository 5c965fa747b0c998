"""Exports of flagged tweets: every match of a filter as a file, recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from labeling import exporting, flagged
from labeling.flagged import Cursor, Row
from labeling.flagged_filters import Filters
from labeling.models import AuditEvent, ModelVersion, Origin, Source, Tag, Verdict

PAGE = 2_000  # matches that are read at a time
COLUMNS = (
    "id", "tweet", "text", "source", "posted_at", "version", "risk", "tags", "tag_probabilities",
    "verdict", "verdict_origin", "label_tags", "disputed", "in_review",
)  # fmt: skip


def export(
    version: ModelVersion,
    filters: Filters,
    *,
    name: str | Path,
    limit: int | None,
    user: AbstractBaseUser | None,
    asked: dict[str, str],
    stream: IO[bytes] | None = None,
) -> int:
    """Write the matches to a file whose name says the format, and record who took what. Returns how many."""
    count = exporting.write_rows(name, COLUMNS, rows(version, filters, limit=limit), stream=stream)
    AuditEvent.objects.create(
        action=AuditEvent.Action.EXPORT,
        user=user,  # type: ignore[misc]
        detail={"what": "flagged", "version": version.number, "filter": asked, "limit": limit},
        tweets=count,
    )
    return count


def rows(version: ModelVersion, filters: Filters, *, limit: int | None) -> Iterator[tuple[Any, ...]]:
    names = dict(Tag.objects.values_list("pk", "name"))
    verdicts = {Verdict.DA: settings.VERDICT_DA, Verdict.NDA: settings.VERDICT_NDA, Verdict.UNSURE: "unsure"}
    for row in matches(version, filters, limit=limit):
        label_tags = None if row.tag_ids is None else [names[t] for t in row.tag_ids if t in names]
        yield (
            row.external_id,
            row.tweet_id,
            row.text,
            Source(row.source).label,
            row.posted_at,
            version.number,
            row.risk,
            [names[tag] for tag, _ in row.tags if tag in names],
            {
                names[t]: round(b / 255, 3)
                for t, b in zip(version.tag_ids, row.tag_bytes, strict=False)
                if t in names
            },
            None if row.verdict is None else verdicts[Verdict(row.verdict)],
            None if row.verdict_origin is None else Origin(row.verdict_origin).label,
            label_tags,
            row.is_disputed,
            row.in_review,
        )


def matches(version: ModelVersion, filters: Filters, *, limit: int | None = None) -> Iterator[Row]:
    """Every match, page after page; for exports."""
    after: Cursor | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = flagged.page_of(version, filters, after=after, size=size)
        yield from page.rows
        if page.after is None:
            return
        after = page.after
        left = None if left is None else left - len(page.rows)
