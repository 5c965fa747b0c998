"""What a version is trained on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from labeling import snapshots
from labeling.jobs import JobError
from labeling.labels import derive_labels
from labeling.models import Annotation, Example, ModelVersion, Origin, Rule, Source, Split, Tweet, Verdict
from labeling.rules import RuleSet
from ml.groups import split_of, text_key
from tests.factories import make_annotation, make_tag, make_tweet

pytestmark = pytest.mark.django_db

hashes = itertools.count(1)
LETTERS = list("abcdefghijklmnopqrstuvwxyz")


def group_of(tweet):
    return text_key(tweet.text) if tweet.group_hash is None else tweet.group_hash


def text_of(n: int, topic: str = "") -> str:
    """Twelve words that no other text has."""
    rng = np.random.default_rng(n)
    return " ".join([topic, *("".join(rng.choice(LETTERS, 7)) for _ in range(12))]).strip()


def add_tweets(count: int, *, source: Source, topic: str = "", start: int = 0) -> list[Tweet]:
    texts = [text_of(n, topic) for n in range(start, start + count)]
    return Tweet.objects.bulk_create(
        Tweet(text=text, source=source, import_id=0, dedupe_key=text_key(text)) for text in texts
    )


@pytest.fixture
def corpus(db: None) -> tuple[list[Tweet], list[Tweet]]:
    """60 specific and 200 general tweets, 20 of which the one rule matches."""
    tag = make_tag("opioids")
    Rule.objects.create(tag=tag, pattern="oxy")
    specific = add_tweets(60, source=Source.SPECIFIC, topic="oxy tonight")
    general = add_tweets(180, source=Source.GENERAL, topic="weather", start=1000)
    general += add_tweets(20, source=Source.GENERAL, topic="oxy", start=2000)
    return specific, general


def build(negatives: int = 100, seed: int = 1) -> snapshots.Snapshot:
    return snapshots.build(negatives=negatives, seed=seed, tick=lambda *, stage: None)


def judge(tweet: Tweet, **fields) -> Annotation:
    annotation = make_annotation(tweet, **fields)
    derive_labels([tweet.pk])
    return annotation


def keep(snapshot: snapshots.Snapshot, number: int) -> ModelVersion:
    """Store a snapshot's rows the way a version does."""
    version = ModelVersion.objects.create(number=number, state=ModelVersion.State.READY)
    Example.objects.bulk_create(
        Example(version=version, tweet_id=tweet_id, split=split)
        for tweet_id, split in snapshot.examples[["id", "split"]].values
    )
    for tweet_id, group_hash in snapshot.new_groups.items():
        Tweet.objects.filter(pk=tweet_id).update(group_hash=group_hash)
    return version


def rows(snapshot: snapshots.Snapshot, tweets: Iterable[Tweet]):
    return snapshot.examples.set_index("id").loc[[tweet.pk for tweet in tweets]]


def test_specific_tweets_without_a_verdict_are_assumed_positive_and_say_so(corpus):
    specific, _ = corpus
    examples = rows(build(), specific)
    assert set(examples["verdict"]) == {Verdict.DA}
    assert set(examples["verdict_origin"]) == {None}
    assert not examples["sampled"].any()


def test_a_persons_verdict_replaces_the_assumption_and_unsure_teaches_nothing(corpus):
    specific, general = corpus
    judge(specific[0], verdict=Verdict.NDA)
    judge(specific[1], verdict=Verdict.UNSURE)
    judge(general[0], verdict=Verdict.DA)
    snapshot = build()
    frame = snapshots.for_training(snapshot).set_index("id")
    assert frame.loc[specific[0].pk, ["verdict", "sample"]].tolist() == [0.0, "people"]
    assert np.isnan(frame.loc[specific[1].pk, "verdict"])
    assert frame.loc[general[0].pk, ["verdict", "sample"]].tolist() == [1.0, "people"]
    assert frame.loc[general[0].pk, "verdict_weight"] > frame.loc[specific[5].pk, "verdict_weight"]
    assert snapshot.examples["id"].is_unique


def test_people_outweigh_imports_and_imports_outweigh_rules():
    weights = snapshots.WEIGHTS
    assert weights[Origin.REVIEW] >= weights[Origin.ANALYST] > weights[Origin.IMPORT] > weights[Origin.RULE]


def test_negatives_are_general_tweets_that_nobody_judged_with_a_keyword_or_without(corpus):
    _, general = corpus
    judge(general[3], tag_ids=[])
    snapshot = build(negatives=1000)
    sampled = snapshot.examples[snapshot.examples["sampled"]]
    assert len(sampled) == 199  # 200 general, less the labelled one
    assert set(sampled["verdict"]) == {Verdict.NDA}
    assert general[3].pk not in set(sampled["id"])
    with_term = sampled["text"].str.contains("oxy")
    assert with_term.sum() == 20  # or a keyword alone would tell positives from negatives
    assert (sampled["matches_rule"] == with_term).all()
    assert snapshot.counts["negatives"] == {"asked": 1000, "drawn": 199, "with_rule": 20}


def test_a_general_tweet_that_rules_tagged_is_drawn_once_with_their_tags(corpus):
    _, general = corpus
    tag_id = Rule.objects.get().tag_id
    judge(general[-1], origin=Origin.RULE, tag_ids=[tag_id])
    examples = build(negatives=1000).examples
    assert examples["id"].is_unique
    drawn = examples.set_index("id").loc[general[-1].pk]
    assert (drawn["verdict"], drawn["tag_ids"], drawn["sampled"]) == (Verdict.NDA, [tag_id], True)


def test_the_seed_decides_the_negatives(corpus):
    def drawn(seed: int) -> list[int]:
        draw = snapshots.draw_negatives(50, seed=seed, rules=RuleSet.active(), tick=lambda *, stage: None)
        return [row[0] for row in draw.rows]

    assert drawn(1) == drawn(1)
    assert len(set(drawn(1))) == 50
    assert set(drawn(1)) != set(drawn(2))


@pytest.mark.parametrize("permute_up_to", [0, 10_000_000])
def test_random_ids_are_distinct_and_spread(monkeypatch, permute_up_to):
    monkeypatch.setattr(snapshots, "PERMUTE_UP_TO", permute_up_to)
    monkeypatch.setattr(snapshots, "DRAW", 100)
    ids: list[int] = []
    for some in snapshots.random_ids(5, 10_004, rng=np.random.default_rng(1)):
        ids += some
        if len(ids) > 2000:
            break
    assert len(set(ids)) == len(ids)
    assert min(ids) >= 5
    assert max(ids) <= 10_004
    assert abs(np.mean(ids) - 5000) < 300


@pytest.mark.parametrize("permute_up_to", [0, 10_000_000])
def test_whoever_stops_in_the_middle_of_random_ids_has_old_and_new_tweets(monkeypatch, permute_up_to):
    monkeypatch.setattr(snapshots, "PERMUTE_UP_TO", permute_up_to)
    monkeypatch.setattr(snapshots, "DRAW", 2_000)
    for some in itertools.islice(snapshots.random_ids(1, 20_000, rng=np.random.default_rng(1)), 3):
        assert abs(np.mean(some[:200]) - 10_000) < 1_500


def test_general_tweets_that_only_rules_tagged_are_capped(corpus, monkeypatch):
    _, general = corpus
    tag = make_tag("weather")
    for tweet in general[:30]:
        judge(tweet, origin=Origin.RULE, tag_ids=[tag.pk])
    judge(general[40], origin=Origin.IMPORT, tag_ids=[tag.pk])
    monkeypatch.setattr(snapshots, "RULE_ONLY_LIMIT", 10)
    origins = [row[-1] for row in snapshots._labelled(1)]
    assert origins.count(Origin.RULE) == 10
    assert origins.count(Origin.IMPORT) == 1
    assert build(negatives=60).examples["id"].is_unique


def test_tags_with_too_few_examples_wait_and_are_named(corpus):
    specific, _ = corpus
    often, seldom = make_tag("often"), make_tag("seldom")
    for n, tweet in enumerate(specific[:30]):
        judge(tweet, origin=Origin.IMPORT, tag_ids=sorted([often.pk, seldom.pk] if n < 5 else [often.pk]))
    snapshot = build()
    assert [tag.name for tag in snapshot.tags] == ["often"]
    assert {"name": "seldom", "examples": 5, "needed": snapshots.MIN_TAG_EXAMPLES} in snapshot.counts[
        "tags_left_out"
    ]
    frame = snapshots.for_training(snapshot).set_index("id")
    assert frame.loc[specific[0].pk, "often"] == 1.0
    assert np.isnan(frame.loc[specific[40].pk, "often"])  # tags not judged
    assert frame.loc[frame["sample"] == "negative", "often"].isna().all()  # judged by nobody


def test_too_few_examples_fail_with_what_to_do(db):
    with pytest.raises(JobError, match=r"at least 50 .*you have 0\. Import specific tweets"):
        build()
    add_tweets(60, source=Source.SPECIFIC)
    with pytest.raises(JobError, match=r"count as NDA; you have 0\. Import general tweets"):
        build()


def near_copy(text: str) -> str:
    return text + " again"


def other_split_copy(tweet: Tweet, *, source: Source) -> Tweet:
    """A near copy whose own hash would put it into another split than the original's."""
    for n in hashes:
        if split_of(n) != split_of(group_of(tweet)):
            return make_tweet(near_copy(tweet.text), source=source, group_hash=n)
    raise AssertionError


def test_near_copies_share_a_split_within_a_version_and_the_next(corpus):
    specific, general = corpus
    copies = [other_split_copy(tweet, source=Source.SPECIFIC) for tweet in specific[:10]]
    first = build(negatives=50, seed=1)
    for tweet, copy in zip(specific[:10], copies, strict=True):
        assert rows(first, [tweet, copy])["split"].nunique() == 1
        assert first.new_groups[copy.pk] == group_of(tweet)
    keep(first, 1)

    newcomers = [other_split_copy(tweet, source=Source.SPECIFIC) for tweet in specific[:20]]
    for tweet in general[:100:5]:
        judge(tweet, verdict=Verdict.NDA)
    second = build(negatives=100, seed=2)
    before = first.examples.set_index("id")["split"]
    after = second.examples.set_index("id")["split"]
    both = before.index.intersection(after.index)
    assert len(both) > 60
    assert (before[both] == after[both]).all()
    for tweet, newcomer in zip(specific, newcomers, strict=False):
        assert after[newcomer.pk] == before[tweet.pk]


def test_a_newcomer_follows_an_earlier_near_copy_that_the_new_snapshot_does_not_hold(corpus):
    first = build(negatives=1000)
    keep(first, 1)
    sampled = first.examples[first.examples["sampled"]]
    tweet = Tweet.objects.get(pk=sampled["id"].iloc[0])
    newcomer = other_split_copy(tweet, source=Source.SPECIFIC)
    second = build(negatives=60, seed=3)
    assert rows(second, [newcomer])["split"].item() == sampled["split"].iloc[0]


def test_a_tweet_of_an_earlier_snapshot_never_moves_and_one_near_to_two_splits_is_left_out(corpus):
    specific, _ = corpus
    a = specific[0]
    b = other_split_copy(a, source=Source.SPECIFIC)
    version = ModelVersion.objects.create(number=1, state=ModelVersion.State.READY)
    for tweet in (a, b):  # they were not recognised as near copies when version 1 was trained
        Example.objects.create(version=version, tweet=tweet, split=Split[split_of(group_of(tweet)).upper()])
    c = make_tweet(near_copy(near_copy(a.text)), source=Source.SPECIFIC, group_hash=77)
    snapshot = build()
    for tweet in (a, b):
        assert rows(snapshot, [tweet])["split"].item() == Split[split_of(group_of(tweet)).upper()]
        assert tweet.pk not in snapshot.new_groups
    assert c.pk not in set(snapshot.examples["id"])
    assert snapshot.counts["groups"]["left_out"] == 1
    assert snapshot.counts["groups"]["torn"] == 1


def test_the_counts_say_who_judged_and_add_up(corpus):
    specific, _ = corpus
    judge(specific[0], verdict=Verdict.NDA)
    snapshot = build()
    total = sum(
        n
        for by_verdict in snapshot.counts["splits"].values()
        for by in by_verdict.values()
        for n in by.values()
    )
    assert total == snapshot.counts["tweets"] == len(snapshot.examples)
    by_origin: dict[tuple[str, str], int] = {}
    for split in snapshot.counts["splits"].values():
        for verdict, by in split.items():
            for origin, n in by.items():
                by_origin[verdict, origin] = by_origin.get((verdict, origin), 0) + n
    assert by_origin == {("DA", "assumed"): 59, ("NDA", "people"): 1, ("NDA", "drawn"): 100}


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALIDATION])
def test_texts_of_the_corpus_come_from_one_split_and_include_what_rules_match(corpus, split):
    texts = snapshots.general_texts(split, 1000, seed=1, tick=lambda *, stage: None)
    expected = {
        t.text for t in Tweet.objects.filter(source=Source.GENERAL) if split_of(group_of(t)) == split.label
    }
    assert set(texts) == expected
    assert len(snapshots.general_texts(split, 3, seed=1, tick=lambda *, stage: None)) == 3


def test_a_tag_may_be_called_like_a_column(corpus):
    specific, _ = corpus
    tag = make_tag("text")
    for tweet in specific[:30]:
        judge(tweet, origin=Origin.IMPORT, tag_ids=[tag.pk])
    frame = snapshots.for_training(build())
    assert frame["text (tag)"].sum() == 30
