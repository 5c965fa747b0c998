"""The job that finds near copies among all tweets, and what pages ask of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling import jobs, near_copies, score_tables, tasks
from labeling.models import Example, Job, Split, Tweet
from ml.groups import groups_of, split_of, text_key
from ml.near_copies import sign
from tests.factories import make_tweet, make_version

pytestmark = pytest.mark.django_db

NEWS = "the city council announced a new grant to fight the crisis in the county"
OTHERS = ("who else is going to the concert on saturday", "my cat sleeps on the warm keyboard all day")


@pytest.fixture(autouse=True)
def _files_of_its_own(settings, tmp_path):
    settings.VAR_DIR = tmp_path


def add(text: str, **fields: Any) -> Tweet:
    return make_tweet(text, **{"group_hash": None, **fields})


def look() -> Job:
    job = jobs.run_job(near_copies.request().pk, near_copies.work)
    assert job is not None
    return job


def group(tweet: Tweet) -> int | None:
    tweet.refresh_from_db()
    return tweet.group_hash


def test_near_copies_get_the_group_of_the_oldest_and_others_none():
    first, other, copy = add(NEWS), add(OTHERS[0]), add(f"RT @someone: {NEWS}!! https://t.co/x")
    changed = add(NEWS.replace("crisis", "problem"))
    job = look()
    assert job.state == Job.State.DONE
    assert group(first) == group(copy) == group(changed) == text_key(NEWS)
    assert group(other) is None
    assert {name: job.detail[name] for name in ("tweets", "groups", "near_copies", "written")} == {
        "tweets": 4, "groups": 1, "near_copies": 3, "written": 3,
    }  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_what_it_changed_is_vacuumed():
    """Counts of the home page read the index alone, and so only of pages that every reader may see."""
    add(NEWS), add(NEWS + " today")
    assert look().detail["written"] == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpages, relallvisible FROM pg_class WHERE oid = 'labeling_tweet'::regclass")
        pages, visible = cursor.fetchone()
    assert pages == visible > 0


def test_a_second_look_changes_nothing():
    add(NEWS), add(NEWS + " today")
    assert look().detail["written"] == 2
    Job.objects.all().delete()
    assert look().detail["written"] == 0


def test_a_group_that_is_there_keeps_its_hash_and_newcomers_take_it():
    first, second = add(NEWS, group_hash=77), add(OTHERS[0], group_hash=77)
    copy = add(NEWS + " today")
    look()
    assert [group(tweet) for tweet in (first, second, copy)] == [77, 77, 77]


def test_two_groups_that_turn_out_alike_become_one():
    tweets = [add(NEWS, group_hash=5), add(OTHERS[0], group_hash=5), add(NEWS + " now", group_hash=6)]
    tweets.append(add(OTHERS[1], group_hash=6))
    look()
    assert {group(tweet) for tweet in tweets} == {5}


def other_split(text: str) -> int:
    """A group of another split than that of the text alone."""
    return next(n for n in range(100) if split_of(n) != split_of(text_key(text)))


def in_snapshot(tweet: Tweet) -> Tweet:
    split = Split[split_of(int(groups_of([tweet.group_hash], [tweet.text])[0])).upper()]
    Example.objects.create(version=make_version(), tweet=tweet, split=split)
    return tweet


def test_a_tweet_of_a_snapshot_leads_its_group():
    first, seen = add(NEWS), in_snapshot(add(NEWS + " today", group_hash=other_split(NEWS + " today")))
    before = seen.group_hash
    look()
    assert group(first) == group(seen) == before


def test_a_tweet_of_a_snapshot_never_changes_its_split():
    seen = in_snapshot(add(NEWS))
    late = in_snapshot(add(NEWS + " today", group_hash=other_split(NEWS)))
    new = add(NEWS + " again")
    before = late.group_hash
    look()
    assert group(late) == before
    assert group(new) == group(seen) == text_key(NEWS)


# When and at what -------------------------------------------------------------------------------------------


def test_a_few_new_tweets_are_looked_at_among_themselves(monkeypatch):
    old = add(NEWS)
    add(OTHERS[0])
    assert look().detail["everything"]
    monkeypatch.setattr(near_copies, "NEW_SHARE", 2)  # as if the two were among many
    new, newer = add(NEWS + " today"), add(NEWS + " today!")
    job = look()
    assert (job.detail["everything"], job.detail["tweets"]) == (False, 2)
    assert group(old) is None
    assert group(new) == group(newer) == text_key(NEWS + " today")
    assert near_copies.to_look_at() is None
    assert not near_copies.coverage().is_complete

    day_before = timezone.now() - timedelta(days=2)
    Job.objects.update(finished_at=day_before)
    assert look().detail["everything"]
    assert {group(tweet) for tweet in (old, new, newer)} == {text_key(NEWS)}
    assert near_copies.coverage().is_complete


def test_many_new_tweets_are_looked_at_with_all_the_others():
    add(NEWS)
    look()
    add(NEWS)
    scope = near_copies.to_look_at()
    assert scope is not None
    assert scope.everything


def test_the_clock_asks_for_a_look_when_something_is_new():
    assert near_copies.request_when_needed() is None
    add(NEWS, import_id=12)
    importing = jobs.create_job(Job.Kind.IMPORT)
    assert near_copies.request_when_needed() is None  # it has not ended
    importing.delete()
    job = near_copies.request_when_needed()
    assert job is not None
    assert near_copies.request_when_needed() is None  # one is queued
    jobs.run_job(job.pk, tasks.work_for(job.kind))
    assert near_copies.request_when_needed() is None  # nothing is new
    assert near_copies.coverage() == near_copies.Coverage(Tweet.objects.get().pk, 12, True, None)


def test_the_clock_leaves_a_failed_look_alone_for_an_hour():
    add(NEWS)
    job = near_copies.request()
    jobs.request_cancel(job)
    assert near_copies.request_when_needed() is None
    Job.objects.update(finished_at=timezone.now() - timedelta(hours=2))
    assert near_copies.request_when_needed() is not None


def test_nothing_to_look_at_is_no_failure():
    assert look().state == Job.State.DONE
    add(NEWS)
    assert look().detail["tweets"] == 1
    assert look().detail["tweets"] == 1  # of the look before


# Going on and giving way ------------------------------------------------------------------------------------


def test_it_gives_way_to_a_waiting_job_and_goes_on_where_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(near_copies, "READ", 2)
    first, *_, last = [add(text) for text in (NEWS, *OTHERS, NEWS + " today")]
    waiting = jobs.create_job(Job.Kind.RULES)
    job = look()
    assert (job.state, job.attempt) == (Job.State.QUEUED, 1)
    assert group(first) is None
    waiting.delete()
    added = add(NEWS + " too late")  # the job looks at what it set out to
    read: list[tuple[int, int]] = []

    def recorded(first_id: int, last_id: int) -> score_tables.Tweets:
        read.append((first_id, last_id))
        return score_tables.read_tweets(first_id, last_id)

    monkeypatch.setattr(near_copies, "read_tweets", recorded)
    done = jobs.run_job(job.pk, near_copies.work)
    assert done is not None
    assert done.state == Job.State.DONE
    assert read[0][0] > first.pk
    assert group(first) == group(last) == text_key(NEWS)
    assert group(added) is None
    assert list((tmp_path / "near_copies").iterdir()) == []


def test_files_that_a_crash_left_uneven_are_cut_to_what_is_whole(tmp_path: Path):
    texts = [b"one text", b"another text", b"a third one"]
    signed = near_copies._Signed(tmp_path / "1")
    signed.append(np.array([3, 5, 9]), sign(texts))
    with (tmp_path / "1" / "band_7").open("r+b") as file:
        file.truncate(17)
    signed = near_copies._Signed(tmp_path / "1")
    assert (signed.count, signed.last_id) == (2, 5)
    assert [len(band) for band in signed.bands()] == [2] * 12


def test_a_failed_job_leaves_no_files(monkeypatch, tmp_path):
    add(NEWS)
    monkeypatch.setattr(near_copies, "_known_pairs", lambda ids: 1 / 0)
    assert look().state == Job.State.FAILED
    assert list((tmp_path / "near_copies").iterdir()) == []


# For pages --------------------------------------------------------------------------------------------------


def test_copies_are_counted_up_to_a_cap():
    copies = [add(f"{NEWS} {n}", group_hash=8) for n in range(5)]
    alone, ungrouped = add(OTHERS[0], group_hash=9), add(OTHERS[1])
    ids = [copies[0].pk, alone.pk, ungrouped.pk]
    assert near_copies.count_copies(ids) == {copies[0].pk: 4}
    assert near_copies.count_copies(ids, cap=3) == {copies[0].pk: 3}
    assert near_copies.count_copies([]) == {}
    assert set(near_copies.copies_of(copies[0])) == set(copies[1:])
    assert not near_copies.copies_of(ungrouped).exists()


def test_copies_are_counted_from_the_tweets_of_the_page_not_from_all_groups():
    """The planner takes the index of groups for cheap, and would read it from end to end."""
    made = Tweet.objects.bulk_create(
        Tweet(source=1, import_id=0, text=str(n), dedupe_key=-n - 1, group_hash=7 if n < 9 else None)
        for n in range(3_000)
    )
    with CaptureQueriesContext(connection) as queries:
        assert len(near_copies.count_copies([tweet.pk for tweet in made[:50]])) == 9
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_tweet")
        cursor.execute(f"EXPLAIN {queries[0]['sql']}")
        plan = " ".join(line for (line,) in cursor.fetchall())
    of_the_page, of_each = plan.split("SubPlan 1", 1)
    assert "tweet_group" in of_each
    assert "tweet_group" not in of_the_page


def test_one_of_each_group_keeps_the_order():
    a, b, c, d = (add(text, group_hash=group) for text, group in zip("abcd", (7, None, 7, None), strict=True))
    assert near_copies.one_of_each([d.pk, c.pk, b.pk, a.pk]) == [d.pk, c.pk, b.pk]
