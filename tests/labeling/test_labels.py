"""Labels: the rules of derivation, checked against a plain Python model of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labeling import annotation as annotating
from labeling import labels
from labeling.labels import derive_labels
from labeling.models import Annotation, Label, Origin, Verdict
from tests.factories import make_annotation, make_tweet

DA, NDA, UNSURE = Verdict.DA, Verdict.NDA, Verdict.UNSURE


def label_of(tweet) -> Label | None:
    derive_labels([tweet.pk])
    return Label.objects.filter(pk=tweet.pk).first()


@pytest.mark.django_db
def test_many_first_labels_cost_no_pass_over_a_table_each():
    """PostgreSQL takes a table for empty that was empty when the statement began, and so for quick to read again and again."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE labeling_label, labeling_annotation CASCADE")
        parameters = labels.parameters_of(list(range(1, 10_000)))
        cursor.execute(f"EXPLAIN (FORMAT JSON) {labels.DERIVE}", parameters)
        ((plans,),) = cursor.fetchall()
    joins = [node for node in nodes_of(plans[0]["Plan"]) if "Join Filter" in node]
    readings = [
        node
        for node in nodes_of(plans[0]["Plan"])
        if node["Node Type"] == "Seq Scan" and node["Parent Relationship"] == "SubPlan" and "Filter" in node
    ]
    assert (joins, readings) == ([], [])


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


# A plain model of the rules -------------------------------------------------------------------------------


def expected(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The label of one tweet. `rows`: annotations in the order in which they were written."""
    retracted = {row["retracts"] for row in rows if row["retracts"] is not None}
    live = [r for i, r in enumerate(rows) if r["retracts"] is None and i not in retracted]
    verdict, verdict_origin, verdicts_differ = _part(live, "verdict", _most)
    tags, tags_origin, tags_differ = _part(live, "tags", _more_than_half)
    if tags_origin == Origin.RULE and not tags:
        tags, tags_origin = None, None
    if verdict is None and tags is None:
        return None
    people = {
        r["user"]
        for r in live
        if r["origin"] >= Origin.ANALYST and (r["verdict"] is not None or r["tags"] is not None)
    }
    return {
        "verdict": verdict,
        "verdict_origin": verdict_origin,
        "tag_ids": tags,
        "tags_origin": tags_origin,
        "is_disputed": verdicts_differ or tags_differ,
        "annotators": len(people),
    }


def _part(live, part, combine):
    for origin in sorted(Origin, reverse=True):
        rows = [r for r in live if r["origin"] == origin and r[part] is not None]
        if not rows:
            continue
        latest = {r["user"] if origin == Origin.ANALYST else None: r[part] for r in rows}
        votes = list(latest.values())
        return combine(votes), origin, any(vote != votes[0] for vote in votes)
    return None, None, False


def _most(votes):
    ranked = Counter(votes).most_common()
    tie = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    return UNSURE if tie else ranked[0][0]


def _more_than_half(votes):
    counts = Counter(tag for tags in votes for tag in tags)
    return sorted(tag for tag, n in counts.items() if 2 * n > len(votes))


# Mostly analysts, and mostly about one tweet, so that votes meet.
annotation_rows = st.fixed_dictionaries(
    {
        "tweet": st.sampled_from([0, 0, 0, 1]),
        "origin": st.sampled_from([*Origin, *[Origin.ANALYST] * 5]),
        "user": st.integers(0, 3),
        "verdict": st.sampled_from([None, *Verdict]),
        "tags": st.sampled_from([None, [], [1], [2], [1, 2], [1, 2, 3]]),
        "retracts": st.sampled_from([None, None, None, None, 0, 1, 3, 6]),
    }
)


@pytest.mark.slow
@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(annotation_rows, max_size=10))
def test_labels_agree_with_a_plain_model_of_the_rules(rows):
    with transaction.atomic():
        users = [User.objects.create(username=f"u{i}") for i in range(4)]
        tweets = [make_tweet() for _ in range(2)]
        written: list[Annotation] = []
        kept: list[dict[str, Any]] = []
        retracted: set[int] = set()
        for row in rows:
            target = row["retracts"]
            if target is not None:
                if target >= len(written) or target in retracted or kept[target]["retracts"] is not None:
                    continue
                retracted.add(target)
                row = {**row, "tweet": kept[target]["tweet"], "verdict": None, "tags": None}  # noqa: PLW2901
            written.append(
                make_annotation(
                    tweets[row["tweet"]],
                    origin=row["origin"],
                    verdict=row["verdict"],
                    tag_ids=row["tags"],
                    annotator=users[row["user"]] if row["origin"] >= Origin.ANALYST else None,
                    retracts=written[target] if target is not None else None,
                )
            )
            kept.append(row)
            derive_labels([tweets[0].pk])  # some tweets step by step, others only at the end
        derive_labels([tweet.pk for tweet in tweets])
        for n, tweet in enumerate(tweets):
            position = [i for i, r in enumerate(kept) if r["tweet"] == n]
            mine = [
                {**kept[i], "retracts": None if (t := kept[i]["retracts"]) is None else position.index(t)}
                for i in position
            ]
            fields = Label.objects.filter(pk=tweet.pk).values(
                "verdict", "verdict_origin", "tag_ids", "tags_origin", "is_disputed", "annotators"
            )
            assert fields.first() == expected(mine)
        transaction.set_rollback(True)


# The rules, one by one, for people to read ----------------------------------------------------------------


@pytest.mark.django_db
def test_a_review_beats_analysts_who_beat_the_import_which_beats_rules(analyst, reviewer):
    tweet = make_tweet()
    make_annotation(tweet, origin=Origin.RULE, tag_ids=[1])
    assert (label := label_of(tweet))
    assert (label.tag_ids, label.tags_origin, label.verdict) == ([1], Origin.RULE, None)
    make_annotation(tweet, origin=Origin.IMPORT, tag_ids=[2], verdict=NDA)
    assert (label := label_of(tweet))
    assert (label.tag_ids, label.verdict, label.verdict_origin) == ([2], NDA, Origin.IMPORT)
    make_annotation(tweet, annotator=analyst, verdict=DA)
    assert (label := label_of(tweet))
    assert (label.verdict, label.verdict_origin, label.tag_ids) == (DA, Origin.ANALYST, [2])
    make_annotation(tweet, origin=Origin.REVIEW, annotator=reviewer, verdict=NDA, tag_ids=[])
    assert (label := label_of(tweet))
    assert (label.verdict, label.tag_ids, label.tags_origin) == (NDA, [], Origin.REVIEW)
    assert label.annotators == 2


@pytest.mark.django_db
def test_analysts_who_disagree_make_it_disputed_until_a_review_settles_it(analyst, second_analyst, reviewer):
    tweet = make_tweet()
    make_annotation(tweet, annotator=analyst, verdict=DA, tag_ids=[1])
    make_annotation(tweet, annotator=second_analyst, verdict=NDA, tag_ids=[1])
    assert (label := label_of(tweet))
    assert (label.verdict, label.is_disputed, label.tag_ids) == (UNSURE, True, [1])
    make_annotation(tweet, origin=Origin.REVIEW, annotator=reviewer, verdict=DA)
    assert (label := label_of(tweet))
    assert (label.verdict, label.is_disputed) == (DA, False)


@pytest.mark.django_db
def test_an_unchanged_label_is_not_written_again(analyst):
    tweet = make_tweet()
    make_annotation(tweet, annotator=analyst, verdict=DA)
    assert derive_labels([tweet.pk]) == 1
    assert derive_labels([tweet.pk]) == 0


@pytest.mark.django_db
def test_any_number_of_tweets_takes_the_same_few_statements(analyst, django_assert_num_queries):
    tweets = [make_tweet() for _ in range(30)]
    for tweet in tweets:
        make_annotation(tweet, annotator=analyst, verdict=DA)
    with django_assert_num_queries(1):  # lock and derive
        assert derive_labels([tweet.pk for tweet in tweets]) == 30


@pytest.mark.django_db(transaction=True)
def test_two_analysts_at_the_same_moment_both_count(analyst, second_analyst):
    """Without the lock each derivation misses the other's row and the later one wins."""
    tweet = make_tweet()
    barrier = threading.Barrier(2)

    def judge(user, verdict):
        try:
            with transaction.atomic():
                make_annotation(tweet, annotator=user, verdict=verdict)
                barrier.wait(5)  # both rows are written, neither is committed
                derive_labels([tweet.pk])
        finally:
            connection.close()

    threads = [threading.Thread(target=judge, args=args) for args in [(analyst, DA), (second_analyst, NDA)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    label = Label.objects.get(pk=tweet.pk)
    assert (label.annotators, label.verdict, label.is_disputed) == (2, UNSURE, True)
    assert annotating.normal([3, 1, 3]) == [1, 3]
