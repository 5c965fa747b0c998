"""How far analysts agree: percent agreement and Cohen's kappa, pair by pair and tag by tag.

Cohen, J. (1960). A coefficient of agreement for nominal scales. Kappa is agreement beyond what two people
with these habits would reach by chance: 1 is perfect, 0 is chance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db import connection

from labeling.models import Origin, Tag

NEWEST = 20_000  # judgements of each analyst that are read
TOO_FEW = 20  # tweets that both judged; with fewer, kappa says next to nothing

# The newest judgements of each analyst by index, then the latest of them for each tweet. Only what was said of a tweet
# that a queue handed out, without a suggestion on the screen: corrections on a tweet's page and judgements of many at once
# on the flagged list were made with others' answers, or the model's, in view.
LATEST = """
SELECT DISTINCT ON (a.tweet_id, u.id) a.tweet_id, u.username, a.verdict, a.tag_ids
FROM auth_user u
CROSS JOIN LATERAL (
    SELECT x.id, x.tweet_id, x.verdict, x.tag_ids, x.queue_item_id, x.suggested_by_id FROM labeling_annotation x
    WHERE x.annotator_id = u.id AND x.origin = %s AND x.retracts_id IS NULL
    ORDER BY x.created_at DESC LIMIT %s
) a
WHERE a.queue_item_id IS NOT NULL AND a.suggested_by_id IS NULL
  AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
ORDER BY a.tweet_id, u.id, a.id DESC
"""

Judgement = tuple[int | None, frozenset[int] | None]


@dataclass(frozen=True)
class Agreement:
    """Of one pair of analysts, or of all pairs on one tag. None where it is not defined."""

    n: int  # tweets that both judged
    share: float | None  # on how many of them they said the same, 0 to 1
    kappa: float | None

    @property
    def is_too_few(self) -> bool:
        return self.n < TOO_FEW


@dataclass(frozen=True)
class Pair:
    first: str
    second: str
    verdict: Agreement


@dataclass(frozen=True)
class OfTag:
    tag: Tag
    given: int  # tweets to which at least one of the two gave it
    agreement: Agreement


@dataclass(frozen=True)
class Report:
    overall: Agreement
    pairs: list[Pair]
    tags: list[OfTag]


def agreement(said: Iterable[tuple[object, object]]) -> Agreement:
    """Agreement and kappa of pairs of answers. Kappa is None when both always gave the same one answer."""
    table = Counter(said)
    n = sum(table.values())
    if not n:
        return Agreement(0, None, None)
    first: Counter[object] = Counter()
    second: Counter[object] = Counter()
    for (a, b), count in table.items():
        first[a] += count
        second[b] += count
    observed = sum(count for (a, b), count in table.items() if a == b) / n
    expected = sum(first[answer] * second[answer] for answer in first) / n**2
    kappa = (observed - expected) / (1 - expected) if expected < 1 else None
    return Agreement(n, observed, kappa)


def measure() -> Report:
    """Over all pairs of analysts who judged the same tweets, each for themselves. Two queries; a second or so when there is much."""
    by_tweet: dict[int, list[tuple[str, Judgement]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(LATEST, [int(Origin.ANALYST), NEWEST])
        for tweet_id, name, verdict, tag_ids in cursor.fetchall():
            by_tweet[tweet_id].append((name, (verdict, None if tag_ids is None else frozenset(tag_ids))))
    verdicts: dict[tuple[str, str], list[tuple[object, object]]] = defaultdict(list)
    tag_sets: list[tuple[frozenset[int], frozenset[int]]] = []
    for judged in by_tweet.values():
        for (first, one), (second, other) in combinations(sorted(judged), 2):
            if one[0] is not None and other[0] is not None:
                verdicts[first, second].append((one[0], other[0]))
            if one[1] is not None and other[1] is not None:
                tag_sets.append((one[1], other[1]))
    return Report(
        overall=agreement(said for pairs in verdicts.values() for said in pairs),
        pairs=[Pair(*names, agreement(said)) for names, said in sorted(verdicts.items())],
        tags=[_of_tag(tag, tag_sets) for tag in Tag.objects.in_use()],
    )


def _of_tag(tag: Tag, tag_sets: Sequence[tuple[frozenset[int], frozenset[int]]]) -> OfTag:
    said = [(tag.pk in one, tag.pk in other) for one, other in tag_sets]
    return OfTag(tag, sum(one or other for one, other in said), agreement(said))
