"""Queues: how their tweets are chosen, handed out, given back and judged."""

from __future__ import annotations

import random
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import queues, sampling
from labeling.annotation import annotate
from labeling.labels import derive_labels
from labeling.models import Annotation, Label, Origin, Queue, QueueItem, Source, Tweet, Verdict
from labeling.queues import ClaimLost, NothingToUndo
from labeling.sampling import CannotDraw, Order
from tests.factories import make_annotation, make_scores, make_tag, make_tweet, make_version
from tests.plans import rows_read

DA, NDA, UNSURE = Verdict.DA, Verdict.NDA, Verdict.UNSURE


def make_queue(user: User | None = None, *, size: int = 5, **fields) -> Queue:
    """A random queue over all tweets; some are made if there are none."""
    if not Tweet.objects.exists():
        for _ in range(size):
            make_tweet()
    fields.setdefault("strategy", Queue.Strategy.RANDOM)
    fields.setdefault("name", f"queue {Queue.objects.count()}")
    return queues.create_queue(size=size, user=user, **fields)


def claim(queue: Queue, user: User) -> QueueItem:
    item = queues.claim_next(queue, user)
    assert item is not None
    return item


def let_expire(item: QueueItem) -> None:
    QueueItem.objects.filter(pk=item.pk).update(claimed_until=timezone.now() - timedelta(seconds=1))


# Choosing -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("strategy", [s for s in sampling.STRATEGIES if s not in ("selected", "remainder")])
def test_no_strategy_takes_what_a_person_judged_or_what_waits_elsewhere(strategy, analyst):
    tag = make_tag("naloxone")
    tweets = [make_tweet(f"naloxone {n}") for n in range(12)]
    make_scores(make_version(), {tweet: (0.9 - n / 20, {tag: 0.8}) for n, tweet in enumerate(tweets)})
    annotate(tweet_id=tweets[0].pk, annotator=analyst, verdict=DA, tag_ids=[])
    make_queue(strategy="selected", tweet_ids=[tweets[1].pk])
    queue = make_queue(size=50, strategy=strategy, tag=tag)
    assert set(queue.items.values_list("tweet_id", flat=True)) == {tweet.pk for tweet in tweets[2:]}
    assert not queue.items.filter(stratum="").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("strategy", ["uncertain", "risk", "diverse"])
def test_without_scores_it_says_what_to_do(strategy):
    make_tweet()
    with pytest.raises(CannotDraw, match="Train a version"):
        make_queue(strategy=strategy)
    assert not Queue.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("strategy", ["uncertain", "risk", "diverse"])
def test_of_near_copies_one_is_taken(strategy):
    copies = [make_tweet(f"copy {n}", group_hash=5) for n in range(12)]
    others = [make_tweet(f"tweet {n}", group_hash=None) for n in range(3)]
    risks: Any = {tweet: (0.6 - n / 100, {}) for n, tweet in enumerate([*copies, *others])}
    make_scores(make_version(), risks)
    drawn = set(make_queue(size=3, strategy=strategy).items.values_list("tweet_id", flat=True))
    assert len(drawn & {tweet.pk for tweet in copies}) == 1
    assert len(drawn) == 3


def test_highest_risk_hands_out_the_riskiest_first(analyst):
    tweets = [make_tweet() for _ in range(6)]
    risks = [0.1, 0.9, 0.5, 0.01, 0.7, 0.2]
    make_scores(make_version(), {tweet: (risks[n], {}) for n, tweet in enumerate(tweets)})
    queue = make_queue(size=5, strategy="risk")
    order = queue.items.order_by("position").values_list("tweet_id", flat=True)
    assert list(order) == [tweets[n].pk for n in (1, 4, 2, 5, 0)]
    assert claim(queue, analyst).tweet == tweets[1]


@pytest.mark.django_db
def test_most_uncertain_weighs_the_verdict_and_the_tags():
    tag = make_tag()
    rows = {"sure": (0.99, 0.99), "near": (0.52, 0.99), "near_and_tag": (0.48, 0.5), "no": (0.001, 0.0)}
    tweets = {name: make_tweet(name) for name in rows}
    make_scores(make_version(), {tweets[name]: (risk, {tag: p}) for name, (risk, p) in rows.items()})
    queue = make_queue(size=2, strategy="uncertain")
    items = queue.items.order_by("position").select_related("tweet")
    assert [item.tweet.text for item in items] == ["near_and_tag", "near"]
    assert [item.stratum for item in items] == ["uncertain, below it", "uncertain, above the threshold"]
    assert items[0].inclusion_probability is None  # chosen, not drawn


@pytest.mark.django_db
def test_a_rare_tag_is_sought_by_the_model_by_rules_and_by_words(analyst):
    tag, common = make_tag("xylazine"), make_tag("opioids")
    judged = make_tweet()
    annotate(tweet_id=judged.pk, annotator=analyst, verdict=DA, tag_ids=[common.pk])
    by_model, by_rule, by_name, other = (make_tweet(text) for text in ("a", "b", "the xylazine c", "d"))
    make_scores(make_version(), {by_model: (0.3, {tag: 0.9}), other: (0.9, {tag: 0.1})})
    make_annotation(by_rule, origin=Origin.RULE, tag_ids=[tag.pk])
    derive_labels([by_rule.pk])
    queue = make_queue(size=10, strategy="rare_tag")
    found = dict(queue.items.values_list("tweet_id", "stratum"))
    assert found == {
        by_model.pk: "xylazine: by the model",
        by_rule.pk: "xylazine: by a rule",
        by_name.pk: "xylazine: by its words",
    }


@pytest.mark.django_db
@pytest.mark.parametrize("exact_range", [100_000, 0])
def test_a_random_draw_is_uniform_and_knows_its_probability(exact_range, monkeypatch, analyst):
    monkeypatch.setattr(sampling, "EXACT_RANGE", exact_range)
    for n in range(400):
        make_tweet(source=Source.SPECIFIC if n % 4 == 0 else Source.GENERAL)
    drawn = sampling.STRATEGIES["random"](Order(size=60, source=Source.GENERAL, randomness=random.Random(5)))
    assert len({one.tweet_id for one in drawn}) == 60
    sources = Tweet.objects.filter(pk__in=[one.tweet_id for one in drawn]).values_list("source", flat=True)
    assert set(sources) == {Source.GENERAL}
    assert {one.stratum for one in drawn} == {"random: general"}
    # 60 of 300 eligible: with random ids the number met varies a little.
    assert drawn[0].inclusion_probability == pytest.approx(60 / 300, rel=1e-9 if exact_range else 0.15)


@pytest.mark.django_db
def test_every_seat_of_a_tweet_is_an_item(analyst):
    queue = make_queue(size=3, annotators_per_tweet=2)
    assert queue.items.count() == 6
    assert set(queue.items.values_list("seat", flat=True)) == {1, 2}


@pytest.mark.django_db
def test_a_name_that_is_taken_and_an_empty_draw_are_refused_in_words(analyst):
    make_queue(name="first")
    with pytest.raises(CannotDraw, match="another name"):
        make_queue(name="first")
    with pytest.raises(CannotDraw, match="Choose another strategy"):
        make_queue(name="second")  # everything waits in the first
    assert Queue.objects.count() == 1


# Claims ---------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_asking_again_gives_the_same_tweet_and_a_colleague_another(analyst, second_analyst):
    queue = make_queue()
    first = claim(queue, analyst)
    assert claim(queue, analyst) == first
    assert claim(queue, second_analyst) != first


@pytest.mark.django_db
def test_the_next_tweet_of_a_new_queue_is_found_without_reading_the_queue(analyst, second_analyst):
    queue = make_queue(size=300)
    for _ in range(5):
        queues.skip(claim(queue, second_analyst).pk, second_analyst)
    with CaptureQueriesContext(connection) as queries:
        claim(queue, analyst)
    [statement] = [q["sql"] for q in queries.captured_queries if "SKIP LOCKED" in q["sql"]]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(queues.ONE_AT_A_TIME, {"queue": queue.pk, "user": analyst.pk})
            cursor.execute("SET LOCAL enable_seqscan = off")  # a table of 300 rows is quicker to read
        assert rows_read(statement) < 30


def test_an_expired_claim_goes_to_a_colleague_and_the_late_submit_is_refused(analyst, second_analyst):
    queue = make_queue(size=1)
    item = claim(queue, analyst)
    assert queues.claim_next(queue, second_analyst) is None
    let_expire(item)
    assert claim(queue, second_analyst) == item
    with pytest.raises(ClaimLost, match="colleague"):
        queues.submit(item.pk, analyst, verdict=DA, tag_ids=[])
    assert not Annotation.objects.exists()


@pytest.mark.django_db
def test_an_expired_claim_that_nobody_took_may_still_submit(analyst):
    queue = make_queue(size=1)
    item = claim(queue, analyst)
    let_expire(item)
    assert queues.submit(item.pk, analyst, verdict=DA, tag_ids=[]) is not None


@pytest.mark.django_db
def test_a_closed_tab_gives_the_tweet_back_but_a_reload_keeps_it(analyst, second_analyst, settings):
    settings.RELEASE_GRACE_SECONDS = -1
    queue = make_queue(size=1)
    shown = claim(queue, analyst)
    renewed = claim(queue, analyst)  # the reload came before the beacon of the page that it replaced
    assert shown.claimed_until is not None
    assert renewed.claimed_until is not None
    assert not queues.release(shown.pk, analyst, shown_until=shown.claimed_until)
    assert queues.claim_next(queue, second_analyst) is None

    assert queues.release(renewed.pk, analyst, shown_until=renewed.claimed_until)
    assert claim(queue, second_analyst) == shown


@pytest.mark.django_db
def test_the_beacon_before_the_reload_leaves_a_moment_of_grace(analyst, second_analyst):
    queue = make_queue(size=1)
    item = claim(queue, analyst)
    assert item.claimed_until is not None
    assert queues.release(item.pk, analyst, shown_until=item.claimed_until)
    assert queues.claim_next(queue, second_analyst) is None
    again = claim(queue, analyst)
    assert again.claimed_until is not None
    assert again.claimed_until > timezone.now() + timedelta(minutes=5)


@pytest.mark.django_db
def test_nobody_gets_two_seats_of_one_tweet_nor_a_tweet_they_judged_elsewhere(analyst, second_analyst):
    queue = make_queue(size=2, annotators_per_tweet=2)
    first = claim(queue, analyst)
    queues.submit(first.pk, analyst, verdict=DA, tag_ids=[])
    second = claim(queue, analyst)
    assert second.tweet_id != first.tweet_id
    queues.skip(second.pk, analyst)
    assert queues.claim_next(queue, analyst) is None
    annotate(tweet_id=first.tweet_id, annotator=second_analyst, verdict=NDA, tag_ids=[])
    assert claim(queue, second_analyst).tweet_id == second.tweet_id


@pytest.mark.django_db
def test_a_closed_queue_hands_out_nothing_and_ends_its_claims(analyst):
    queue = make_queue()
    claim(queue, analyst)
    queues.set_open(queue, is_open=False)
    queue.refresh_from_db()
    assert queues.claim_next(queue, analyst) is None
    assert not queue.items.exclude(state="waiting").exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_analysts_at_the_same_time_never_get_the_same_item(analyst, second_analyst, reviewer):
    """Three people with three tabs each, really at once: every item is judged once, by one of them."""
    queue = make_queue(size=60)
    barrier = threading.Barrier(9)
    judged: list[tuple[int, int]] = []
    problems: list[BaseException] = []

    def work(user: User) -> None:
        try:
            barrier.wait(10)
            while (item := queues.claim_next(queue, user)) is not None:
                try:
                    if queues.submit(item.pk, user, verdict=DA, tag_ids=[]) is not None:
                        judged.append((item.pk, user.pk))
                except ClaimLost as error:
                    problems.append(error)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(user,)) for user in (analyst, second_analyst, reviewer) * 3
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert sorted(item for item, _ in judged) == sorted(queue.items.values_list("pk", flat=True))
    assert Annotation.objects.count() == 60
    assert len({user for _, user in judged}) == 3


@pytest.mark.django_db(transaction=True)
def test_seats_go_to_different_people_at_the_same_time(analyst, second_analyst, reviewer):
    queue = make_queue(size=10, annotators_per_tweet=2)
    barrier = threading.Barrier(6)

    def work(user: User) -> None:
        try:
            barrier.wait(10)
            while (item := queues.claim_next(queue, user)) is not None:
                queues.submit(item.pk, user, verdict=DA, tag_ids=[])
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(user,)) for user in (analyst, second_analyst, reviewer) * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert queue.items.filter(state="done").count() == 20
    assert set(Label.objects.values_list("annotators", flat=True)) == {2}


# Judging --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_submit_writes_the_annotation_and_ends_the_item(analyst):
    queue = make_queue()
    item = claim(queue, analyst)
    annotation = queues.submit(item.pk, analyst, verdict=DA, tag_ids=[2, 1], note="n", seconds=3.5)
    assert annotation is not None
    assert (annotation.queue_item_id, annotation.tag_ids, annotation.seconds) == (item.pk, [1, 2], 3.5)
    item.refresh_from_db()
    assert (item.state, item.claimed_by) == ("done", analyst)
    assert item.finished_at is not None


@pytest.mark.django_db
def test_a_double_submit_is_harmless(analyst):
    queue = make_queue()
    item = claim(queue, analyst)
    queues.submit(item.pk, analyst, verdict=DA, tag_ids=[])
    assert queues.submit(item.pk, analyst, verdict=NDA, tag_ids=[]) is None
    assert Annotation.objects.count() == 1


@pytest.mark.django_db
def test_undo_goes_back_step_by_step_over_submits_and_skips(analyst):
    queue = make_queue()
    first = claim(queue, analyst)
    queues.submit(first.pk, analyst, verdict=DA, tag_ids=[4])
    second = claim(queue, analyst)
    queues.skip(second.pk, analyst)
    third = claim(queue, analyst)

    assert queues.undo(queue, analyst) == second
    assert claim(queue, analyst) == second
    assert queues.undo(queue, analyst) == first
    again = claim(queue, analyst)
    assert again == first
    assert not Label.objects.exists()
    choice = queues.earlier_choice(again, analyst)
    assert choice is not None
    assert (choice.verdict, choice.tag_ids) == (DA, [4])
    with pytest.raises(NothingToUndo):
        queues.undo(queue, analyst)

    queues.submit(first.pk, analyst, verdict=NDA, tag_ids=[])
    assert claim(queue, analyst) == second
    queues.submit(second.pk, analyst, verdict=NDA, tag_ids=[])
    assert claim(queue, analyst) == third
    assert Annotation.objects.count() == 4  # two judgements of the first, one retraction, one of the second


@pytest.mark.django_db
def test_undo_takes_back_only_ones_own_work_in_this_queue(analyst, second_analyst):
    queue = make_queue()
    item = claim(queue, second_analyst)
    queues.submit(item.pk, second_analyst, verdict=DA, tag_ids=[])
    with pytest.raises(NothingToUndo):
        queues.undo(queue, analyst)


@pytest.mark.django_db
def test_progress_counts_the_day_and_the_queue(analyst, second_analyst, django_assert_num_queries):
    queue = make_queue(size=5)
    for seconds in (1.0, 2.0, 9.0):
        queues.submit(claim(queue, analyst).pk, analyst, verdict=DA, tag_ids=[], seconds=seconds)
    queues.undo(queue, analyst)
    claim(queue, second_analyst)
    with django_assert_num_queries(1):
        progress = queues.progress(queue, analyst)
    assert (progress.today, progress.median_seconds) == (2, 1.5)
    assert (progress.seats, progress.finished, progress.claimed, progress.waiting) == (5, 2, 2, 1)
    assert progress.mine == 2
