"""Indexes of a version's scores: built by two connections, by two workers at once, and after one was cut off."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from django.db import IntegrityError, connection, connections, transaction

from labeling import score_indexes, score_tables
from labeling.score_tables import ScoreTables
from tests.factories import make_tweet, make_version
from tests.services.conftest import wait_until

TWEETS = 500


@pytest.fixture
def tables(transactional_db: None) -> Iterator[ScoreTables]:
    """Scores of TWEETS tweets, committed and without an index, in an order that is not that of their risks."""
    made = [make_tweet(f"word{number % 7} tweet {number}") for number in range(TWEETS)]
    tables = ScoreTables(make_version(tag_ids=[1]).pk)
    score_tables.create(tables)
    write(tables, [tweet.pk for tweet in made])
    yield tables
    with score_tables.dropping(tables):
        pass


def write(tables: ScoreTables, ids: list[int]) -> None:
    risks = np.random.default_rng(1).permutation(np.linspace(0.2, 0.9, len(ids)))
    tweets = score_tables.Tweets(
        id=np.array(ids, np.int64),
        posted=np.full(len(ids), score_tables.NO_DATE),
        source=np.ones(len(ids), np.int16),
        text=pa.array([""] * len(ids), pa.string()),
    )
    probabilities = np.column_stack([risks, risks]).astype(np.float32)
    score_tables.copy_scores(
        tables, tweets, probabilities, tag_ids=[1], given=probabilities[:, 1:] > 0.5, floor=0.1
    )


def worker(tables: ScoreTables, failures: list[Exception]) -> threading.Thread:
    """One that builds the indexes when it is started; what it fails with is added to `failures`."""

    def build() -> None:
        try:
            score_indexes.build(tables)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    return threading.Thread(target=build)


def built(tables: ScoreTables) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname FROM pg_indexes WHERE tablename = ANY(%s)", [list(tables.all)])
        return {name for (name,) in cursor.fetchall()}


def in_order_of_the_table(tables: ScoreTables) -> list[float]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT risk FROM {tables.listed} ORDER BY ctid")
        return [risk for (risk,) in cursor.fetchall()]


def analyzed(tables: ScoreTables) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tablename FROM pg_stats WHERE tablename = ANY(%s)", [list(tables.all)]
        )
        return {name for (name,) in cursor.fetchall()}


def names(tables: ScoreTables) -> set[str]:
    return {index.name for index in score_indexes.indexes(tables)}


def test_every_index_is_there_the_list_in_order_and_all_known_to_the_planner(tables: ScoreTables) -> None:
    assert in_order_of_the_table(tables) != sorted(in_order_of_the_table(tables), reverse=True)
    score_indexes.build(tables)
    assert built(tables) == names(tables)
    assert in_order_of_the_table(tables) == sorted(in_order_of_the_table(tables), reverse=True)
    assert analyzed(tables) == set(tables.all)
    for _ in range(2):
        score_indexes.build_words(tables)
    assert built(tables) == {*names(tables), f"{tables.listed}_words"}


def test_two_workers_may_build_at_once(tables: ScoreTables) -> None:
    """A worker that was taken for dead goes on beside the one that took over."""
    failures: list[Exception] = []
    workers = [worker(tables, failures) for _ in range(3)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert failures == []
    assert built(tables) == names(tables)


@pytest.mark.parametrize("there", range(7))
def test_it_goes_on_where_a_worker_was_cut_off(tables: ScoreTables, there: int) -> None:
    for index in score_indexes.indexes(tables)[:there]:
        score_indexes._build(index)
    assert len(built(tables)) == there
    score_indexes.build(tables)
    assert built(tables) == names(tables)
    assert in_order_of_the_table(tables) == sorted(in_order_of_the_table(tables), reverse=True)
    assert analyzed(tables) == set(tables.all)


def test_a_tweet_that_was_scored_twice_is_found_and_nothing_is_published(tables: ScoreTables) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT min(tweet_id) FROM {tables.score}")
        twice = cursor.fetchone()[0]
    write(tables, [twice])
    with pytest.raises(IntegrityError, match=f"{tables.score}_tweet|{tables.listed}_tweet"):
        score_indexes.build(tables)
    assert f"{tables.score}_tweet" not in built(tables)


def test_inside_a_transaction_they_are_built_one_after_the_other(tables: ScoreTables) -> None:
    """In that transaction, which sees tables that no other connection can."""
    with transaction.atomic():
        score_indexes.build(tables)
        assert built(tables) == names(tables)
        transaction.set_rollback(True)
    assert built(tables) == set()


def test_a_recount_that_holds_the_scores_is_waited_for(tables: ScoreTables) -> None:
    """With the lock of an index alone, each would have waited for the other at its next statement."""
    failures: list[Exception] = []
    builder = worker(tables, failures)
    with transaction.atomic():
        score_tables.hold_writers(tables)
        builder.start()
        wait_until(lambda: waiting_for_a_lock() > 0)
        score_tables.remove_orphans(tables, 0, 10)
    builder.join()
    assert failures == []
    assert built(tables) == names(tables)


def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return int(cursor.fetchone()[0])
