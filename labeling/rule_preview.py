"""What a rule would catch, before it is saved: on a random sample, in bounded time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.db import OperationalError, connection, transaction

from labeling.models import Import, Rule, Source, Tag
from labeling.rules import RuleLine, RuleSet

SAMPLE = 20_000  # tweets: read and matched in a few hundred milliseconds
SHOWN = 8
TIMEOUT_MS = 3_000  # for reading the sample
Z = 1.96  # 95 %
Tweets = Sequence[tuple[int, str, int]]  # id, text, source


class TooSlow(Exception):
    """The sample could not be read in time."""


@dataclass(frozen=True)
class Count:
    """How many of a sample match."""

    words: str  # which tweets they are
    n: int
    matched: int
    unseen: int  # of those matched: by no rule of the tag so far
    is_random: bool

    @property
    def share(self) -> float:
        return self.matched / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share by Wilson (1927)."""
        if not self.n:
            return 0.0, 1.0
        centre = self.share + Z**2 / (2 * self.n)
        half = Z * (self.share * (1 - self.share) / self.n + Z**2 / (4 * self.n**2)) ** 0.5
        scale = 1 + Z**2 / self.n
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class Shown:
    tweet_id: int
    source: str
    pieces: list[tuple[str, bool]]  # text, whether it is marked


@dataclass(frozen=True)
class Preview:
    counts: list[Count] = field(default_factory=list)
    tweets: list[Shown] = field(default_factory=list)


def preview(line: RuleLine, *, tag: Tag | None, timeout_ms: int = TIMEOUT_MS) -> Preview:
    """Counts and some tweets. An exclusion counts the tweets that the tag's rules vote for and it silences.

    Raises TooSlow. The pattern must have passed check_pattern().
    """
    present = RuleSet(_present(tag, without=line))
    candidate = RuleSet([RuleLine(line.tag_id, line.kind, line.pattern)])
    counts: list[Count] = []
    shown: list[Shown] = []
    for words, tweets, is_random in _samples(timeout_ms):
        texts = [text for _, text, _ in tweets]
        matched, caught = candidate.matches_any(texts), present.matches_any(texts)
        if line.is_exclusion:
            matched &= caught
        unseen = matched & ~caught
        counts.append(Count(words, len(tweets), int(matched.sum()), int(unseen.sum()), is_random))
        order = [*np.flatnonzero(unseen)[:SHOWN], *np.flatnonzero(matched & ~unseen)[:SHOWN]]
        shown += [_shown(tweets[place], line) for place in order[: SHOWN // 2 if shown else SHOWN]]
    distinct = {one.tweet_id: one for one in shown}
    return Preview(counts, list(distinct.values())[:SHOWN])


def _present(tag: Tag | None, *, without: RuleLine) -> Iterable[RuleLine]:
    if tag is None:
        return []
    rows = Rule.objects.filter(tag=tag, is_active=True).values_list(
        "tag_id", "kind", "pattern", "is_exclusion"
    )
    lines = (RuleLine(*row) for row in rows)
    return [line for line in lines if line != without]


def _samples(timeout_ms: int) -> list[tuple[str, Tweets, bool]]:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(timeout_ms)])
            everything, is_all = _random_tweets(cursor)
            words = (
                f"all {len(everything):,} tweets"
                if is_all
                else f"a random sample of {len(everything):,} tweets"
            )
            samples = [(words, everything, not is_all)] if everything else []
            specific = [] if is_all else _specific_tweets(cursor)
            if specific:
                which = "the first" if len(specific) == SAMPLE else "all"
                samples.append((f"{which} {len(specific):,} specific tweets", specific, False))
            cursor.execute("SELECT set_config('statement_timeout', '0', true)")
    except OperationalError as error:
        raise TooSlow from error
    return samples


def _random_tweets(cursor: Any) -> tuple[Tweets, bool]:
    """A simple random sample by id: gaps only make it a little smaller. The same one until tweets are added."""
    cursor.execute("SELECT min(id), max(id) FROM labeling_tweet")
    low, high = cursor.fetchone()
    if low is None:
        return [], True
    is_all = high - low < SAMPLE
    rng = random.Random(high)  # noqa: S311 - a sample, not a secret
    ids = list(range(low, high + 1)) if is_all else rng.sample(range(low, high + 1), SAMPLE)
    cursor.execute("SELECT id, text, source FROM labeling_tweet WHERE id = ANY(%s)", [ids])
    return cursor.fetchall(), is_all


def _specific_tweets(cursor: Any) -> Any:
    """Specific tweets are few among millions: a sample of all would hardly hold one."""
    imports = list(Import.objects.filter(source=Source.SPECIFIC).values_list("id", flat=True))
    cursor.execute(
        "SELECT id, text, source FROM labeling_tweet WHERE import_id = ANY(%s) LIMIT %s", [imports, SAMPLE]
    )
    return cursor.fetchall()


def _shown(tweet: tuple[int, str, int], line: RuleLine) -> Shown:
    tweet_id, text, source = tweet
    pieces, position = [], 0
    for start, end in line.spans(text):
        pieces += [(text[position:start], False), (text[start:end], True)]
        position = end
    pieces.append((text[position:], False))
    return Shown(tweet_id, Source(source).label, [piece for piece in pieces if piece[0]])
