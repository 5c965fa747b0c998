"""The tables. One file per subject; import everything from here."""

from labeling.models.annotations import Annotation, Label, Origin, Verdict
from labeling.models.audit import AuditEvent
from labeling.models.erased import ErasedAuthor, ErasedTweet
from labeling.models.jobs import Job
from labeling.models.queues import Audit, Queue, QueueItem
from labeling.models.review import ReviewItem
from labeling.models.scores import FlaggedWords, Score, ScoreTag, ScoringChunk, ScoringRun
from labeling.models.search import SearchIndex
from labeling.models.tags import Rule, Tag
from labeling.models.tweets import Import, Source, Tweet
from labeling.models.versions import Example, ModelFilePiece, ModelVersion, Split

__all__ = [
    "Annotation",
    "Audit",
    "AuditEvent",
    "ErasedAuthor",
    "ErasedTweet",
    "Example",
    "FlaggedWords",
    "Import",
    "Job",
    "Label",
    "ModelFilePiece",
    "ModelVersion",
    "Origin",
    "Queue",
    "QueueItem",
    "ReviewItem",
    "Rule",
    "Score",
    "ScoreTag",
    "ScoringChunk",
    "ScoringRun",
    "SearchIndex",
    "Source",
    "Split",
    "Tag",
    "Tweet",
    "Verdict",
]
