"""Plain functions that make rows for tests. Every text here is invented."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
from django.utils import timezone

from labeling import score_indexes, score_tables
from labeling.models import Annotation, Import, Job, ModelVersion, Origin, Rule, Source, Tag, Tweet, Verdict
from labeling.score_tables import ScoreTables
from labeling.training import key_figures

_numbers = itertools.count(1)


def make_tweet(text: str = "", *, source: Source = Source.GENERAL, **fields: Any) -> Tweet:
    n = next(_numbers)
    fields.setdefault("external_id", f"t{n}")
    fields.setdefault("dedupe_key", n)
    fields.setdefault("group_hash", n * 7919)
    fields.setdefault("import_id", 0)
    return Tweet.objects.create(text=text or f"invented tweet number {n}", source=source, **fields)


def make_tag(name: str = "", **fields: Any) -> Tag:
    n = next(_numbers)
    name = name or f"tag {n}"
    fields.setdefault("slug", name.lower().replace(" ", "-"))
    fields.setdefault("position", n)
    return Tag.objects.create(name=name, **fields)


def make_annotation(
    tweet: Tweet, *, origin: Origin = Origin.ANALYST, verdict: Verdict | None = None, **fields: Any
) -> Annotation:
    return Annotation.objects.create(tweet=tweet, origin=origin, verdict=verdict, **fields)


def make_import(**fields: Any) -> Import:
    fields.setdefault("source", Source.GENERAL)
    fields.setdefault("file_name", "tweets.csv")
    return Import.objects.create(**fields)


def make_version(*, report: dict[str, Any] | None = None, **fields: Any) -> ModelVersion:
    """A trained version without a model file; `report` as ml.train.train() returns it."""
    fields.setdefault("number", next(_numbers))
    fields.setdefault("state", ModelVersion.State.READY)
    if report is not None:
        fields.setdefault("threshold", report["thresholds"]["DA"])
        fields.setdefault("figures", key_figures(report))
        fields.setdefault("tag_thresholds", report["thresholds"]["tags"])
    return ModelVersion.objects.create(report=report or {}, **fields)


def make_scores(
    version: ModelVersion,
    rows: dict[Tweet, tuple[float, dict[Tag, float]]],
    *,
    tag_limit: float | None = 0.5,
    activate: bool = True,
) -> None:
    """Publish scores: {tweet: (risk, {tag: probability})}. Creates partitions: a test that commits drops them."""
    tags = list({tag.pk: tag for _, given in rows.values() for tag in given}.values())
    version.tag_ids = [tag.pk for tag in tags]
    version.tag_thresholds = {tag.name: tag_limit for tag in tags}
    version.report = {"tags": [tag.name for tag in tags]}
    version.threshold = version.threshold or 0.5
    version.score_summary = {"floor": score_tables.floor_of(version.threshold)}
    version.scores_published_at = timezone.now()
    version.is_active = activate
    tables = ScoreTables(version.pk)
    score_tables.create(tables)
    tweets = score_tables.Tweets(
        id=np.array([tweet.pk for tweet in rows], np.int64),
        posted=np.full(len(rows), score_tables.NO_DATE),
        source=np.array([tweet.source for tweet in rows], np.int16),
        text=pa.array([tweet.text for tweet in rows], pa.string()),
    )
    probabilities = np.array(
        [[risk, *(given.get(tag, 0.0) for tag in tags)] for risk, given in rows.values()], dtype=np.float32
    )
    given_tags = score_tables.given_tags(probabilities, [tag_limit] * len(tags))
    floor = version.score_summary["floor"]
    score_tables.copy_scores(
        tables, tweets, probabilities, tag_ids=version.tag_ids, given=given_tags, floor=floor
    )
    score_indexes.build(tables)
    score_indexes.build_words(tables)
    score_tables.attach(tables)
    version.save()


def make_rule(tag: Tag, pattern: str, kind: str = "term", **fields: Any) -> Rule:
    return Rule.objects.create(tag=tag, pattern=pattern, kind=kind, **fields)


def job_of(version: ModelVersion) -> Job:
    assert version.job is not None
    return version.job
