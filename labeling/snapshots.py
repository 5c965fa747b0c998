"""The snapshot that a version is trained on: labelled tweets, assumed positives and drawn negatives.

Near copies share a split, and no tweet ever changes its split, in this version or the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from django.conf import settings
from django.db import connection
from numpy.typing import NDArray

from labeling.jobs import JobError
from labeling.models import Origin, Source, Split, Tag, Verdict
from labeling.rules import RuleSet
from ml import groups
from ml.config import PRIOR_SAMPLE

# Weight of an example in the loss, by who judged it (roughly 0.5 to 3; only the ratios matter).
WEIGHTS = {Origin.REVIEW: 3.0, Origin.ANALYST: 3.0, Origin.IMPORT: 1.5, Origin.RULE: 0.5}
ASSUMED_WEIGHT = 1.0  # nobody judged it: a specific tweet taken as DA, a drawn general tweet taken as NDA
PEOPLE = (Origin.REVIEW, Origin.ANALYST)

MIN_VERDICTS = 50  # of DA and of NDA each: below it, the test split holds a handful
MIN_TAG_EXAMPLES = 20  # tweets with the tag: below it, its threshold is noise
RULE_ONLY_LIMIT = 50_000  # general tweets that only rules have tagged: rules may catch 5 % of 20 M
EARLIER_LIMIT = 1_000_000  # tweets of earlier snapshots to compare with (1.3 kB and 0.1 ms each)
PRETRAINING = 1_000_000  # general texts to learn words from
RESERVED = {"id", "text", "verdict", "verdict_weight", "tags_weight", "split", "sample", "matches_rule", "DA"}
DRAW = 20_000  # ids per query
PERMUTE_UP_TO = 5_000_000  # ids: up to here a permutation (40 MB), above draws without return

COLUMNS = ["id", "source", "text", "group_hash", "verdict", "verdict_origin", "tag_ids", "tags_origin"]


class Tick(Protocol):
    """Called often while the snapshot is built; may raise to cancel."""

    def __call__(self, *, stage: str) -> None: ...


@dataclass
class Snapshot:
    """`examples` has COLUMNS and: sampled (bool), matches_rule (bool), split (int), earliest (float)."""

    examples: pd.DataFrame
    tags: list[Tag]
    counts: dict[str, Any]  # ModelVersion.snapshot
    new_groups: dict[int, int]  # tweet id → the group that it joins
    prior_sample: list[str]  # general texts of the validation split, labelled or not
    term_pattern: str  # of the rules of this moment: their terms are deleted and masked


@dataclass
class Draw:
    """General tweets drawn as negatives, in COLUMNS, and whether a rule matches each."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    matches: list[bool] = field(default_factory=list)


def build(*, negatives: int, seed: int, tick: Tick) -> Snapshot:
    """Reads the database; writes nothing. JobError when there is too little to learn from.

    1. tweets with a label, and specific tweets without a verdict, which count as DA until a person judges
    2. general tweets that nobody judged, drawn at random whether a rule matches them or not, as negatives
    3. near copies of each other, and of earlier snapshots, into one group; the group decides the split
    """
    rules = RuleSet.active()
    tick(stage="Collecting labels")
    labelled = pd.DataFrame(
        _labelled(seed), columns=COLUMNS, dtype=object
    )  # NULL must not make hashes floats
    labelled["sampled"] = False
    labelled["matches_rule"] = rules.matches_any(labelled["text"].tolist()) if len(labelled) else False
    tick(stage="Drawing negatives")
    draw = draw_negatives(negatives, seed=seed, rules=rules, tick=tick)
    drawn = pd.DataFrame(draw.rows, columns=COLUMNS, dtype=object)
    drawn["sampled"], drawn["matches_rule"] = True, draw.matches
    labelled = labelled[
        ~labelled["id"].isin(drawn["id"])
    ]  # that only rules had tagged: drawn with their tags
    examples = pd.concat(
        [frame for frame in (labelled, drawn) if len(frame)] or [labelled], ignore_index=True
    )
    examples = examples.astype(object).where(examples.notna(), None)
    _assume(examples)
    _check_verdicts(examples)
    tick(stage="Grouping near copies")
    examples, new_groups, grouping = group(examples)
    tags, left_out = _tags_to_learn(examples)
    counts = {
        "tweets": len(examples),
        "splits": _count(examples),
        "tags": _count_tags(examples, tags),
        "tags_left_out": left_out,
        "negatives": {
            "asked": negatives,
            "drawn": len(drawn),
            "with_rule": sum(draw.matches),
        },
        "groups": grouping,
        "rules": rules.fingerprint(),
    }
    return Snapshot(
        examples,
        tags,
        counts,
        new_groups,
        prior_sample=general_texts(Split.VALIDATION, PRIOR_SAMPLE, seed=seed, tick=tick),
        term_pattern=rules.term_pattern(),
    )


def column_of(tag: Tag) -> str:
    """What ml calls a tag: its name, unless that means something else there."""
    return f"{tag.name} (tag)" if tag.name in RESERVED else tag.name


def for_training(snapshot: Snapshot) -> pd.DataFrame:
    """The columns that ml.train.train() reads. NaN: not judged, left out of that loss."""
    e = snapshot.examples
    frame = pd.DataFrame({"id": e["id"].astype("int64"), "text": e["text"]})
    frame["verdict"] = [v if v in (Verdict.NDA, Verdict.DA) else np.nan for v in e["verdict"]]
    frame["verdict_weight"] = [_weight(origin) for origin in e["verdict_origin"]]
    for tag in snapshot.tags:
        frame[column_of(tag)] = [np.nan if ids is None else float(tag.pk in ids) for ids in e["tag_ids"]]
    frame["tags_weight"] = [_weight(origin) for origin in e["tags_origin"]]
    frame["split"] = [Split(split).label for split in e["split"]]
    frame["sample"] = [sample_of(*row) for row in e[["verdict_origin", "tags_origin", "sampled"]].values]
    frame["matches_rule"] = e["matches_rule"].astype(bool)
    return frame.astype({"verdict": float, **{column_of(tag): float for tag in snapshot.tags}})


def sample_of(verdict_origin: int | None, tags_origin: int | None, sampled: bool) -> str:
    """How an example came to its verdict; where it has tags only, how it came to those."""
    if sampled:
        return "negative"
    if verdict_origin in PEOPLE:
        return "people"
    if verdict_origin == Origin.IMPORT:
        return "import"
    return "assumed"


def _weight(origin: int | None) -> float:
    return ASSUMED_WEIGHT if origin is None else WEIGHTS[Origin(origin)]


# Reading -------------------------------------------------------------------------------------------------

# What an audit asked for measures this version and later ones: no version may learn it, nor what is assumed of it.
_OF_NO_AUDIT = """NOT EXISTS (
      SELECT FROM labeling_queueitem i JOIN labeling_audit a ON a.queue_id = i.queue_id
      WHERE i.tweet_id = t.id AND (i.state <> 'done' OR i.claimed_by_id IS NOT NULL)
  )"""

_LABELLED = f"""
SELECT t.id, t.source, t.text, t.group_hash, l.verdict, l.verdict_origin, l.tag_ids, l.tags_origin
FROM labeling_tweet t LEFT JOIN labeling_label l ON l.tweet_id = t.id
WHERE t.source = %(specific)s
UNION ALL
SELECT t.id, t.source, t.text, t.group_hash, l.verdict, l.verdict_origin, l.tag_ids, l.tags_origin
FROM labeling_label l JOIN labeling_tweet t ON t.id = l.tweet_id
WHERE t.source = %(general)s
  AND (l.verdict IS NOT NULL OR l.tags_origin > %(rule)s OR l.tweet_id = ANY(%(rule_only)s))
  AND {_OF_NO_AUDIT}
ORDER BY 1
"""  # noqa: S608 - a constant of this module

_RULE_ONLY = """
SELECT l.tweet_id FROM labeling_label l JOIN labeling_tweet t ON t.id = l.tweet_id
WHERE t.source = %s AND l.verdict IS NULL AND l.tags_origin = %s ORDER BY 1
"""

_GENERAL = f"""
SELECT t.id, t.source, t.text, t.group_hash, l.tag_ids, l.tags_origin
FROM labeling_tweet t LEFT JOIN labeling_label l ON l.tweet_id = t.id
WHERE t.id = ANY(%s) AND t.source = %s AND (l.tweet_id IS NULL OR (l.verdict IS NULL AND l.tags_origin = %s))
  AND {_OF_NO_AUDIT}
"""  # noqa: S608 - a constant of this module


def _labelled(seed: int) -> list[tuple[Any, ...]]:
    """Every specific tweet, and every general one with a label (of those that only rules tagged, a sample)."""
    with connection.cursor() as cursor:
        cursor.execute(_RULE_ONLY, [Source.GENERAL, Origin.RULE])
        rule_only = np.array([tweet_id for (tweet_id,) in cursor.fetchall()], dtype=np.int64)
        if len(rule_only) > RULE_ONLY_LIMIT:
            rng = np.random.default_rng([seed, 2])
            rule_only = rng.choice(rule_only, RULE_ONLY_LIMIT, replace=False)
        cursor.execute(
            _LABELLED,
            {
                "specific": Source.SPECIFIC,
                "general": Source.GENERAL,
                "rule": Origin.RULE,
                "rule_only": rule_only.tolist(),
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _id_range() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM labeling_tweet")
        low, high = cursor.fetchone()
    return low, high


def random_ids(low: int, high: int, *, rng: np.random.Generator) -> Iterator[list[int]]:
    """Ids of low … high in random order, each at most once, DRAW at a time. All of them in a small range;
    in a large one it stops when half were seen, which no sample that we draw comes near."""
    span = high - low + 1
    if span <= PERMUTE_UP_TO:
        order = rng.permutation(span) + low
        for start in range(0, span, DRAW):
            yield order[start : start + DRAW].tolist()
        return
    seen = np.empty(0, dtype=np.int64)
    while len(seen) < span // 2:
        ids = np.unique(rng.integers(low, high, DRAW, endpoint=True))
        ids = np.setdiff1d(ids, seen, assume_unique=True)
        seen = np.concatenate([seen, ids])
        yield rng.permutation(ids).tolist()  # sorted, whoever stops in the middle would take the lowest


def draw_negatives(count: int, *, seed: int, rules: RuleSet, tick: Tick) -> Draw:
    """`count` general tweets, uniformly at random among those that nobody judged.

    Among them such as a rule matches, as often as in the corpus: were they left out, "has a keyword" alone would tell
    all positives from all negatives.
    """
    draw = Draw()
    if count == 0:
        return draw
    rng = np.random.default_rng([seed, 0])
    for ids in random_ids(*_id_range(), rng=rng):
        found = _general(ids)[: count - len(draw.rows)]
        # Taken as NDA; nobody said so: the origin stays NULL. Tags that no rule gave were judged by nobody: they train
        # as "none", but are not counted in any figure.
        draw.rows += [(*row[:4], int(Verdict.NDA), None, *row[4:]) for row in found]
        draw.matches += rules.matches_any([row[2] for row in found]).tolist()
        if len(draw.rows) == count:
            return draw
        tick(stage="Drawing negatives")
    return draw


def _general(ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """General tweets without a label among these ids, or with one by rules alone, in the order of the ids: whoever
    stops early must not favour the low ones."""
    with connection.cursor() as cursor:
        cursor.execute(_GENERAL, [list(ids), Source.GENERAL, Origin.RULE])
        found = {row[0]: row for row in cursor.fetchall()}
    return [found[tweet_id] for tweet_id in ids if tweet_id in found]


def general_texts(split: Split, count: int, *, seed: int, tick: Tick) -> list[str]:
    """Texts of random general tweets of one split, labelled or not: what the corpus is like."""
    texts: list[str] = []
    with connection.cursor() as cursor:
        for ids in random_ids(*_id_range(), rng=np.random.default_rng([seed, 1])):
            tick(stage="Reading general tweets")
            cursor.execute(
                "SELECT id, text, group_hash FROM labeling_tweet WHERE id = ANY(%s) AND source = %s",
                [ids, Source.GENERAL],
            )
            found = {tweet_id: (text, group_hash) for tweet_id, text, group_hash in cursor.fetchall()}
            rows = [found[tweet_id] for tweet_id in ids if tweet_id in found]
            splits = split_numbers(
                groups.groups_of([stored for _, stored in rows], [text for text, _ in rows])
            )
            texts += [text for (text, _), own in zip(rows, splits, strict=True) if own == split]
            if len(texts) >= count:
                break
    return texts[:count]


# Deciding ------------------------------------------------------------------------------------------------


def _assume(examples: pd.DataFrame) -> None:
    """A specific tweet without a verdict counts as DA, with no origin. "Unsure" is a verdict: it stays."""
    missing = [
        source == Source.SPECIFIC and verdict is None
        for source, verdict in examples[["source", "verdict"]].values
    ]
    examples.loc[missing, "verdict"] = int(Verdict.DA)


def _check_verdicts(examples: pd.DataFrame) -> None:
    have, da, nda = Counter(examples["verdict"]), settings.VERDICT_DA, settings.VERDICT_NDA
    if have[Verdict.DA] < MIN_VERDICTS:
        raise JobError(
            f"You need at least {MIN_VERDICTS} tweets that count as {da}; you have {have[Verdict.DA]}. "
            f"Import specific tweets, or label more tweets as {da}, and train again."
        )
    if have[Verdict.NDA] < MIN_VERDICTS:
        raise JobError(
            f"You need at least {MIN_VERDICTS} tweets that count as {nda}; you have {have[Verdict.NDA]}. "
            "Import general tweets (negatives are drawn from those that nobody judged), "
            f"ask for more negatives, or label more tweets as {nda}, and train again."
        )


def split_numbers(group_hashes: NDArray[np.int64]) -> list[Split]:
    """The split that each group belongs to, for ever."""
    names = groups.splits_of(group_hashes)
    return [Split[name.upper()] for name in names]


def _earlier() -> pd.DataFrame:
    """Tweets of earlier snapshots: id, text, group_hash, number of the earliest version that held it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT t.id, t.text, t.group_hash, e.earliest
            FROM (
                SELECT x.tweet_id, min(v.number) AS earliest
                FROM labeling_example x JOIN labeling_modelversion v ON v.id = x.version_id
                GROUP BY x.tweet_id ORDER BY earliest, x.tweet_id LIMIT %s
            ) e JOIN labeling_tweet t ON t.id = e.tweet_id
            ORDER BY t.id
            """,
            [EARLIER_LIMIT],
        )
        earlier = pd.DataFrame(
            cursor.fetchall(), columns=["id", "text", "group_hash", "earliest"], dtype=object
        )
    earlier["group_hash"] = groups.groups_of(earlier["group_hash"].tolist(), earlier["text"].tolist())
    return earlier


def group(examples: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, int], dict[str, int]]:
    """Give each cluster of near copies one group, and each example the split of its group.

    1. cluster the examples together with all tweets of earlier snapshots
    2. a cluster takes the group of its member that was in the earliest snapshot, else of its lowest id;
       a tweet that was in a snapshot keeps its own
    3. a new tweet that is near to earlier tweets of *different* splits is left out: it fits in neither
    """
    earlier = _earlier()
    old = dict(zip(earlier["id"], earlier["earliest"], strict=True))
    examples["group_hash"] = groups.groups_of(examples["group_hash"].tolist(), examples["text"].tolist())
    examples["earliest"] = [old.get(tweet_id, np.inf) for tweet_id in examples["id"]]
    gone = earlier[~earlier["id"].isin(set(examples["id"]))]
    columns = ["id", "text", "group_hash", "earliest"]
    every = (
        pd.concat([examples[columns], gone[columns]], ignore_index=True) if len(gone) else examples[columns]
    )
    every = every.astype({"id": "int64", "earliest": float})
    keys = every["group_hash"].to_numpy()
    every["cluster"] = groups.near_duplicates(every["text"].tolist(), keys)
    every = every.sort_values(["earliest", "id"])
    every["takes"] = every.groupby("cluster", sort=False)["group_hash"].transform("first")
    was_in = np.isfinite(every["earliest"])
    every.loc[was_in, "takes"] = every.loc[was_in, "group_hash"]
    every["split"] = [int(split) for split in split_numbers(every["takes"].to_numpy())]
    torn = set(every[was_in].groupby("cluster")["split"].nunique().loc[lambda n: n > 1].index)
    every["left_out"] = every["cluster"].isin(torn) & ~was_in
    every = every.set_index("id")

    moved = every[(every["takes"] != every["group_hash"]) & ~every["left_out"]]
    kept = examples[~every.loc[examples["id"], "left_out"].to_numpy()].reset_index(drop=True)
    kept["group_hash"] = every.loc[kept["id"], "takes"].to_numpy()
    kept["split"] = every.loc[kept["id"], "split"].to_numpy()
    sizes = every["cluster"].value_counts()
    counts = {
        "clusters": int((sizes > 1).sum()),
        "near_copies": int(sizes[sizes > 1].sum()),
        "moved": len(moved),
        "left_out": int(every["left_out"].sum()),
        "torn": len(torn),  # clusters whose earlier members lie in different splits
    }
    new_groups = dict(zip(moved.index.tolist(), moved["takes"].tolist(), strict=True))
    return kept, new_groups, counts


def _tags_to_learn(examples: pd.DataFrame) -> tuple[list[Tag], list[dict[str, Any]]]:
    """Tags in use with enough examples, and the ones that must wait, with how many they have."""
    have: Counter[int] = Counter(tag_id for ids in examples["tag_ids"] for tag_id in ids or ())
    tags = list(Tag.objects.in_use())
    learnt = [tag for tag in tags if have[tag.pk] >= MIN_TAG_EXAMPLES]
    waiting = [
        {"name": tag.name, "examples": have[tag.pk], "needed": MIN_TAG_EXAMPLES}
        for tag in tags
        if have[tag.pk] < MIN_TAG_EXAMPLES
    ]
    return learnt, waiting


# Counting ------------------------------------------------------------------------------------------------


def origin_name(origin: int | None, *, sampled: bool) -> str:
    """people, import, rule, assumed or drawn."""
    if sampled:
        return "drawn"
    if origin is None:
        return "assumed"
    return "people" if origin in PEOPLE else Origin(origin).label


def _count(examples: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    """{split: {"DA" | "NDA" | "unsure" | "none": {origin: tweets}}}"""
    counts: dict[str, dict[str, dict[str, int]]] = {split.label: {} for split in Split}
    for split, verdict, origin, sampled in examples[["split", "verdict", "verdict_origin", "sampled"]].values:
        name = "none" if verdict is None else Verdict(verdict).name
        by_origin = counts[Split(split).label].setdefault(name, {})
        key = origin_name(origin if verdict is not None else Origin.RULE, sampled=sampled)
        by_origin[key] = by_origin.get(key, 0) + 1
    return counts


def _count_tags(examples: pd.DataFrame, tags: list[Tag]) -> dict[str, dict[str, int]]:
    """{tag: {"people": tweets with it, "import": …, "rule": …}}"""
    counts: dict[int, Counter[str]] = {tag.pk: Counter() for tag in tags}
    for ids, origin in examples[["tag_ids", "tags_origin"]].values:
        for tag_id in ids or ():
            if tag_id in counts:
                counts[tag_id][origin_name(origin, sampled=False)] += 1
    return {tag.name: dict(counts[tag.pk]) for tag in tags}
