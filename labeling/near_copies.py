"""Groups of near copies across all tweets: found by a job after imports, in bounded memory, kept as group_hash.

A tweet without a group_hash is a group by itself: ml.groups.groups_of says which. Why: docs/decisions/0008-near-copies.md.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection, transaction
from django.db.models import Max, Min, QuerySet
from django.utils import timezone
from numpy.typing import NDArray

from labeling import jobs
from labeling.binary_copy import COPY_HEADER, COPY_TRAILER
from labeling.jobs import Progress
from labeling.models import Job, Tweet
from labeling.score_tables import read_tweets
from ml import groups, near_copies

NEW_SHARE = 0.01  # of all tweets: from so many new ones on, all are looked at again
RENEW_AFTER = timedelta(days=1)  # where anything is new at all
RETRY_AFTER = timedelta(hours=1)  # after a look that failed or was cancelled
READ = 50_000  # ids read and signed at a time: half a second
WRITE = 5_000  # tweets of a transaction: as much
COUNT_CAP = 1_000
_LOCK = 0x6E656172  # advisory: groups and the snapshots that rely on them are written one after the other


# What to look at ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scope:
    """Ids to look at. With `everything` they are all there are; else the new ones, looked at among themselves."""

    first_id: int
    last_id: int
    everything: bool


def to_look_at() -> Scope | None:
    """All tweets when enough of them are new, or any and the last look at all was a day ago; else the new ones
    since that look. None when there are none."""
    ids = Tweet.objects.aggregate(first=Min("id"), last=Max("id"))
    first, last = ids["first"], ids["last"]
    if last is None:
        return None
    at_all = _done().filter(detail__everything=True).first()
    if at_all is None:
        return Scope(first, last, everything=True)
    new = last - at_all.detail["last_id"]
    is_old = at_all.finished_at is not None and at_all.finished_at < timezone.now() - RENEW_AFTER
    if new > 0 and (is_old or new >= NEW_SHARE * (last - first + 1)):
        return Scope(first, last, everything=True)
    if _seen() < last:
        return Scope(at_all.detail["last_id"] + 1, last, everything=False)
    return None


def _done() -> QuerySet[Job]:
    """Finished looks, the newest first."""
    done = Job.objects.filter(kind=Job.Kind.NEAR_COPIES, state=Job.State.DONE, detail__has_key="last_id")
    return done.order_by("-id")


def _seen() -> int:
    look = _done().first()
    return look.detail["last_id"] if look else 0


def request(*, user: AbstractBaseUser | None = None) -> Job:
    """A queued job. Raises jobs.AlreadyRunning."""
    return jobs.create_job(Job.Kind.NEAR_COPIES, exclusive_key="near_copies", user=user)


def request_when_needed() -> Job | None:
    """For the clock: a queued job when imports have brought something new, and all other jobs have ended."""
    recent = Job.objects.filter(
        kind=Job.Kind.NEAR_COPIES,
        state__in=[Job.State.FAILED, Job.State.CANCELLED],
        finished_at__gt=timezone.now() - RETRY_AFTER,
    )
    if Job.objects.active().exists() or recent.exists() or to_look_at() is None:
        return None
    try:
        return request()
    except jobs.AlreadyRunning:
        return None


@dataclass(frozen=True)
class Coverage:
    """How far tweets were looked at, for pages."""

    among_all: int  # up to this id all tweets were compared with each other; 0: never yet
    last_import: int | None  # the import that brought the tweet with that id
    is_complete: bool  # no tweet came after it
    job: Job | None  # that looks at this moment


def coverage() -> Coverage:
    """Three look-ups by index."""
    at_all = _done().filter(detail__everything=True).first()
    last = Tweet.objects.aggregate(last=Max("id"))["last"] or 0
    seen = at_all.detail["last_id"] if at_all else 0
    job = Job.objects.active().filter(kind=Job.Kind.NEAR_COPIES).first()
    return Coverage(seen, at_all.detail["last_import"] if at_all else None, seen >= last, job)


# The job --------------------------------------------------------------------------------------------------


def work(job: Job, progress: Progress, *, gives_way: bool = True) -> None:
    """Look at what is new, or at everything, and write the groups that it finds. Safe to repeat.

    1. read and sign the texts; signatures go to files, where a later attempt goes on
    2. join what is alike, and what was one group before
    3. write the group of each member of a group of two or more, where it changes, and vacuum what changed

    With `gives_way` it makes room for any other job, waiting or running: nobody waits for this one.
    """
    scope = _scope_of(job)
    if scope is None:
        progress.report(stage="Nothing is new", detail=last.detail if (last := _done().first()) else {})
        return

    def report(*, done: int, total: int, stage: str) -> None:
        if gives_way and Job.objects.active().exclude(pk=job.pk).exists():
            raise jobs.Postponed
        progress.report(done=done, total=total, stage=stage)

    with _signatures(job) as signed:
        for done in _sign(scope, signed):
            report(done=done, total=scope.last_id - scope.first_id + 1, stage="Reading tweets")
        compared = partial(report, total=near_copies.BANDS, stage="Comparing them, band by band")
        parents = near_copies.join(
            signed.bands(), joined=_known_pairs(signed.ids()), tick=lambda band: compared(done=band)
        )
        counts = _write_groups(signed.ids(), parents, partial(report, stage="Writing groups"))
    if counts["written"] and not connection.in_atomic_block:
        # Counts of tweets read an index alone only where all rows of a page are of one age. Changed rows are too few
        # of the table for autovacuum to come by itself.
        progress.report(stage="Tidying")
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (TRUNCATE OFF) labeling_tweet")
    by = Tweet.objects.filter(id=scope.last_id).values_list("import_id", flat=True).first()
    progress.report(detail={"last_import": by, "tweets": signed.count, **counts})


def _scope_of(job: Job) -> Scope | None:
    """What the job is to look at; the same in every attempt."""
    if "last_id" in job.detail:
        return Scope(**{field.name: job.detail[field.name] for field in fields(Scope)})
    scope = to_look_at()
    if scope is not None:
        job.detail = asdict(scope)
    return scope


def _sign(scope: Scope, signed: _Signed) -> Iterator[int]:
    """Sign what is not signed yet; yields the number of ids done."""
    first = max(scope.first_id, signed.last_id + 1)
    for start in range(first, scope.last_id + 1, READ):
        tweets = read_tweets(start, min(start + READ - 1, scope.last_id))
        signed.append(tweets.id, near_copies.sign(groups.normalise(tweets.text.to_pylist())))
        yield start - scope.first_id


class _Signed:
    """Files of ids and of each band of their signatures, in order of id: 8 + 96 bytes a tweet."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ids = folder / "ids"
        self._bands = [folder / f"band_{number}" for number in range(near_copies.BANDS)]
        files = [self._ids, *self._bands]
        for file in files:
            file.touch()
        self.count = min(file.stat().st_size for file in files) // 8
        for file in files:  # a crash may have written some of them further than others
            os.truncate(file, 8 * self.count)
        self.last_id = int(self.ids()[-1]) if self.count else 0

    def append(self, ids: NDArray[np.int64], signatures: NDArray[np.uint64]) -> None:
        for path, values in zip([self._ids, *self._bands], [ids, *signatures], strict=True):
            with path.open("ab") as file:
                file.write(values.tobytes())
        self.count += len(ids)

    def ids(self) -> NDArray[np.int64]:
        return np.fromfile(self._ids, dtype=np.int64)

    def bands(self) -> _Bands:
        return _Bands(self._bands)


class _Bands(Sequence[NDArray[np.uint64]]):
    """Each band is mapped from its file while it is read, and no longer: two are in memory at a time."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: Any) -> Any:
        file = self._files[number]
        if not file.stat().st_size:  # cannot be mapped
            return np.empty(0, dtype=np.uint64)
        return np.memmap(file, dtype=np.uint64, mode="r")


@contextmanager
def _signatures(job: Job) -> Iterator[_Signed]:
    """The job's files. They stay when it is to go on later, or when its process is killed."""
    folder = Path(settings.VAR_DIR) / "near_copies" / str(job.pk)
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    try:
        yield _Signed(folder)
    except (jobs.Postponed, jobs.Superseded):
        raise
    except Exception:
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


_PAIR = np.dtype(
    [("fields", ">i2"), ("id_length", ">i4"), ("id", ">i8"), ("group_length", ">i4"), ("group", ">i8")]
)


def _known_pairs(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Pairs of numbers in `ids` that share a group already: of an earlier look, or of a training."""
    if not len(ids):
        return None
    buffer = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(
            "COPY (SELECT id, group_hash FROM labeling_tweet WHERE group_hash IS NOT NULL"
            f" AND id BETWEEN {int(ids[0])} AND {int(ids[-1])}) TO STDOUT (FORMAT binary)",
            buffer,
        )
    rows = np.frombuffer(buffer.getbuffer()[len(COPY_HEADER) : -len(COPY_TRAILER)], dtype=_PAIR)
    numbers = np.searchsorted(ids, rows["id"].astype(np.int64))
    there = (numbers < len(ids)) & (ids[np.minimum(numbers, len(ids) - 1)] == rows["id"])
    numbers, group = numbers[there], rows["group"][there].astype(np.int64)
    order = np.argsort(group, kind="stable")
    numbers, group = numbers[order], group[order]
    together = np.flatnonzero(group[1:] == group[:-1])
    return numbers[together], numbers[together + 1]


# Writing groups -------------------------------------------------------------------------------------------


def _write_groups(
    ids: NDArray[np.int64], parents: NDArray[np.int64], report: Callable[..., None]
) -> dict[str, int]:
    """Give the members of each group of two or more the group of its leader, in order of id."""
    joined = near_copies.joined_texts(parents)
    members = np.union1d(joined, parents[joined])
    member_ids = ids[members]
    number = np.unique(parents[members], return_inverse=True)[1]
    values = _leaders_groups(member_ids, number)
    written = 0
    for start in range(0, len(member_ids), WRITE):
        part = slice(start, start + WRITE)
        written += _write(member_ids[part], values[number[part]])
        report(done=min(start + WRITE, len(member_ids)), total=len(member_ids))
    return {"groups": len(values), "near_copies": len(member_ids), "written": written}


def _leaders_groups(member_ids: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group of each group's leader: of its member in the earliest snapshot, else of its lowest id.

    `number` says which group each member belongs to: 0, 1, 2, …
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT x.tweet_id, min(v.number) FROM labeling_example x"
            " JOIN labeling_modelversion v ON v.id = x.version_id GROUP BY 1 ORDER BY 1"
        )
        snapshot = np.array(cursor.fetchall(), dtype=np.int64).reshape(-1, 2)
    earliest = np.full(len(member_ids), np.inf)
    _, here, there = np.intersect1d(member_ids, snapshot[:, 0], assume_unique=True, return_indices=True)
    earliest[here] = snapshot[there, 1]
    order = np.lexsort((member_ids, earliest, number))
    leaders = member_ids[order][np.unique(number[order], return_index=True)[1]]
    parts = [_groups_of(leaders[start : start + READ]) for start in range(0, len(leaders), READ)]
    return np.concatenate(parts) if parts else leaders


def _groups_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group that each tweet is in at this moment. One deleted meanwhile leaves its id: as good as any."""
    found = {
        row[0]: row
        for row in Tweet.objects.filter(pk__in=ids.tolist()).values_list("id", "group_hash", "text")
    }
    rows = [found.get(tweet_id, (tweet_id, tweet_id, "")) for tweet_id in ids.tolist()]
    return groups.groups_of([row[1] for row in rows], [row[2] for row in rows])


def _write(ids: NDArray[np.int64], values: NDArray[np.int64]) -> int:
    """Groups of some tweets, in one short transaction. How many changed. No tweet of a snapshot changes its split."""
    with transaction.atomic(), connection.cursor() as cursor:
        hold_groups()
        cursor.execute(
            "SELECT DISTINCT tweet_id FROM labeling_example WHERE tweet_id = ANY(%s)", [ids.tolist()]
        )
        used = np.isin(ids, np.array([row[0] for row in cursor.fetchall()], dtype=np.int64))
        moves = np.ones(len(ids), dtype=bool)
        moves[used] = groups.splits_of(_groups_of(ids[used])) == groups.splits_of(values[used])
        cursor.execute(
            "UPDATE labeling_tweet t SET group_hash = n.group_hash"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS n (id, group_hash)"
            " WHERE t.id = n.id AND t.group_hash IS DISTINCT FROM n.group_hash",
            [ids[moves].tolist(), values[moves].tolist()],
        )
        return int(cursor.rowcount)


def hold_groups() -> None:
    """Until the transaction ends, nobody else changes groups or adds a snapshot that relies on them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


# Showing them ---------------------------------------------------------------------------------------------


def copies_of(tweet: Tweet) -> QuerySet[Tweet]:
    """The other members of its group; none while no near copy is known."""
    if tweet.group_hash is None:
        return Tweet.objects.none()
    return Tweet.objects.filter(group_hash=tweet.group_hash).exclude(pk=tweet.pk)


def count_copies(tweet_ids: Iterable[int], *, cap: int = COUNT_CAP) -> dict[int, int]:
    """{tweet: its near copies}, counted up to `cap`; tweets without any are left out. One query for a page.

    The tweets come first, by their key: with both conditions in one, the planner reads the whole index of groups.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.id, (SELECT count(*) FROM ("
            " SELECT FROM labeling_tweet o WHERE o.group_hash = t.group_hash LIMIT %s) few) - 1"
            " FROM (SELECT id, group_hash FROM labeling_tweet WHERE id = ANY(%s) OFFSET 0) t"
            " WHERE t.group_hash IS NOT NULL",
            [cap + 1, list(tweet_ids)],
        )
        return {tweet_id: count for tweet_id, count in cursor.fetchall() if count}


def one_of_each(tweet_ids: Sequence[int]) -> list[int]:
    """The tweets in their order, without those of whose group one came before."""
    tweets = Tweet.objects.filter(pk__in=tweet_ids).values_list("id", "group_hash")
    group_of = {tweet_id: group for tweet_id, group in tweets if group is not None}
    firsts: dict[int, int] = {}
    for tweet_id in tweet_ids:
        if tweet_id in group_of:
            firsts.setdefault(group_of[tweet_id], tweet_id)
    return [n for n in tweet_ids if n not in group_of or firsts[group_of[n]] == n]
