"""Marking the rules' terms in a tweet, as pieces that a template escapes one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import TextField, Value
from django.db.models.functions import Cast, JSONArray

from labeling.models import Rule, Tag
from labeling.rules import RuleLine, RuleSet


@dataclass(frozen=True)
class Piece:
    text: str
    tags: str = ""  # names of the tags that a rule votes for here; empty: plain text


@lru_cache(maxsize=2)
def _compiled(lines: str) -> RuleSet:
    """Compiling takes milliseconds, and most pages ask for the rules of the page before."""
    return RuleSet(RuleLine(*line) for line in json.loads(f"[{lines}]"))


def active_rules() -> RuleSet:
    """The rules as they are now. One query, of one value: a thousand rows would take longer than matching."""
    line = JSONArray("tag_id", "kind", "pattern", "is_exclusion")
    lines = StringAgg(Cast(line, TextField()), delimiter=",", default=Value(""))
    return _compiled(Rule.objects.active().order_by().aggregate(lines=lines)["lines"])


def marked(text: str, tags: Mapping[int, Tag]) -> list[Piece]:
    """The text in pieces, those that a rule matches with the names of its tags. One query."""
    spans = active_rules().spans(text)
    edges = sorted({0, len(text), *(edge for start, end, _ in spans for edge in (start, end))})
    pieces: list[Piece] = []
    for start, end in pairwise(edges):
        names = {
            tags[tag_id].name
            for first, last, tag_id in spans
            if first <= start and end <= last and tag_id in tags
        }
        piece = Piece(text[start:end], ", ".join(sorted(names)))
        if pieces and pieces[-1].tags == piece.tags:
            piece = Piece(pieces.pop().text + piece.text, piece.tags)
        pieces.append(piece)
    return pieces
