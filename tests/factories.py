"""Plain functions that make rows for tests. Every text here is invented."""

from __future__ import annotations

import itertools
from typing import Any

from labeling.models import Annotation, Import, ModelVersion, Origin, Source, Tag, Tweet, Verdict
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
