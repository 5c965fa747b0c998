"""What the flagged list may be filtered by, and the SQL of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.models import TextChoices
from django.utils import timezone

from labeling.models import ModelVersion, Origin, ReviewItem
from labeling.score_tables import tag_word
from labeling.scoring import threshold_of
from labeling.search_index import WORDS


class LabelState(TextChoices):
    UNLABELLED = "unlabelled", "No verdict yet"
    LABELLED = "labelled", "Verdict by people"
    DA = "da", "DA"
    NDA = "nda", "NDA"
    UNSURE = "unsure", "Unsure"
    IN_REVIEW = "in_review", "Waiting for review"
    REVIEWED = "reviewed", "Reviewed"


@dataclass(frozen=True)
class Filters:
    """What a visitor asked for. Everything that is None or empty does not filter."""

    min_risk: float | None = None  # None: the version's threshold
    tag: int | None = None
    date_from: date | None = None
    date_to: date | None = None  # inclusive
    source: int | None = None
    state: str = ""
    q: str = ""

    @property
    def is_plain(self) -> bool:
        """Nothing but the threshold."""
        return self == Filters()

    @property
    def is_known_to_labels(self) -> bool:
        """There are words, and a label state of tweets that all have a label, which knows their words."""
        return bool(self.q and self.state) and self.state not in (
            LabelState.UNLABELLED,
            LabelState.IN_REVIEW,
        )


def floor_of(version: ModelVersion) -> float:
    return float(version.score_summary.get("floor", 0.0))


def min_risk_of(version: ModelVersion, filters: Filters) -> float:
    """What was asked for, else the threshold; never below the floor of the list."""
    asked = threshold_of(version) if filters.min_risk is None else filters.min_risk
    return max(asked, floor_of(version))


# Conditions -----------------------------------------------------------------------------------------------


@dataclass
class Sql:
    """Conditions and their parameters, in order."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values.extend(values)

    def include(self, other: Sql) -> None:
        self.conditions += other.conditions
        self.values += other.values

    @property
    def where(self) -> str:
        return " AND ".join(self.conditions) or "true"


def carried(filters: Filters, table: str) -> Sql:
    """Conditions on what the listed scores carry themselves, beside their risk."""
    sql = Sql()
    if filters.source is not None:
        sql.add(f"{table}.source = %s", filters.source)
    if filters.date_from:
        sql.add(f"{table}.posted_at >= %s", _midnight(filters.date_from))
    if filters.date_to and filters.date_to < date.max:
        sql.add(f"{table}.posted_at < %s", _midnight(filters.date_to + timedelta(days=1)))
    if filters.q:
        sql.add(f"{table}.words @@ {WORDS}", filters.q)
    if filters.tag is not None:
        sql.add(f"{table}.words @@ %s::tsquery", tag_word(filters.tag))
    return sql


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


PEOPLE = [Origin.ANALYST, Origin.REVIEW]


def state_source(state: str) -> tuple[str, str, list[Any]]:
    """Table and condition that list the tweets of a label state, by index."""
    if state == LabelState.IN_REVIEW:
        return "labeling_reviewitem t", "t.state = %s", [ReviewItem.State.OPEN.value]
    condition, values = _label_condition(state, "t")
    return "labeling_label t", condition, values


def state_check(state: str) -> tuple[str, list[Any]]:
    if state == LabelState.UNLABELLED:
        return (
            "NOT EXISTS (SELECT 1 FROM labeling_label l WHERE l.tweet_id = c.tweet_id AND l.verdict IS NOT NULL)",
            [],
        )
    if state == LabelState.IN_REVIEW:
        return (
            "EXISTS (SELECT 1 FROM labeling_reviewitem r WHERE r.tweet_id = c.tweet_id AND r.state = %s)",
            [ReviewItem.State.OPEN.value],
        )
    condition, values = _label_condition(state, "l")
    return f"EXISTS (SELECT 1 FROM labeling_label l WHERE l.tweet_id = c.tweet_id AND {condition})", values


def _label_condition(state: str, table: str) -> tuple[str, list[Any]]:
    verdicts = {LabelState.DA: [1], LabelState.NDA: [0], LabelState.UNSURE: [2]}.get(
        LabelState(state), [0, 1, 2]
    )
    condition, values = f"{table}.verdict = ANY(%s)", [verdicts]
    if state in (LabelState.LABELLED, LabelState.REVIEWED):
        origins = PEOPLE if state == LabelState.LABELLED else [Origin.REVIEW]
        condition += f" AND {table}.verdict_origin = ANY(%s)"
        values.append([int(origin) for origin in origins])
    return condition, values


def fetch(sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as db:
        db.execute(sql, values)
        rows: list[tuple[Any, ...]] = db.fetchall()
        return rows
