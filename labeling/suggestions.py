"""What a model version says of one tweet: the probabilities shown on the label page and the tweet page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from django.contrib.postgres.expressions import ArraySubquery

from labeling.models import ModelVersion, Score, ScoreTag, Tag

DEFAULT_THRESHOLD = 0.5  # of a version that has chosen none


@dataclass(frozen=True)
class TagProbability:
    tag: Tag
    probability: float
    is_given: bool  # at or above the tag's threshold; a tag too rare for one is never given


@dataclass(frozen=True)
class Suggestion:
    version: ModelVersion
    risk: float
    tags: list[TagProbability]  # most probable first

    @property
    def threshold(self) -> float:
        return threshold_of(self.version)

    @property
    def is_da(self) -> bool:
        return self.risk >= self.threshold

    @property
    def by_tag(self) -> dict[int, TagProbability]:
        return {given.tag.pk: given for given in self.tags}


def threshold_of(version: ModelVersion) -> float:
    return DEFAULT_THRESHOLD if version.threshold is None else version.threshold


def published_version() -> ModelVersion | None:
    """The active version, if its scores are there to read."""
    return ModelVersion.objects.filter(scores_published_at__isnull=False).active()


def suggestion_for(tweet_id: int, version: ModelVersion | None, tags: Mapping[int, Tag]) -> Suggestion | None:
    """The version's published probabilities; None when it has not scored the tweet. One query, by key."""
    if version is None or version.scores_published_at is None:
        return None
    given_tags = ScoreTag.objects.filter(version_id=version.pk, tweet_id=tweet_id).values("tag_id")
    score = Score.objects.filter(version_id=version.pk, tweet_id=tweet_id)
    row = score.values_list("risk", "tag_bytes", ArraySubquery(given_tags)).first()
    if row is None:
        return None
    risk, tag_bytes, given = row
    probabilities = [
        TagProbability(tag, byte / 255, is_given=tag_id in given)
        for tag_id, byte in zip(version.tag_ids, bytes(tag_bytes), strict=False)
        if (tag := tags.get(tag_id)) is not None
    ]
    probabilities.sort(key=lambda given: -given.probability)
    return Suggestion(version, float(risk), probabilities)


def tag_limits(version: ModelVersion) -> list[float | None]:
    """The threshold of each tag, in the order of version.tag_ids. They are stored by the name of that day."""
    limits = [version.tag_thresholds.get(name) for name in _tag_names(version.pk, version.sha256)]
    return limits + [None] * (len(version.tag_ids) - len(limits))


@lru_cache(maxsize=8)
def _tag_names(version_id: int, sha256: str) -> list[str]:
    """Out of the report, which is large and does not change once the version is trained."""
    names = ModelVersion.objects.filter(pk=version_id).values_list("report__tags", flat=True).first()
    return list(names or [])
