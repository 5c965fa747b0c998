"""The tables of one version's scores: created standalone, filled chunk by chunk, indexed, attached.

Every score is in the first, by tweet. What may appear in a list, the scores at the floor or above, is in `listed` once
more, with all that a list is filtered and ordered by: its date, its source, its words, its tags. The lists read nothing
else. The tags stand among the words, so that one index answers for both at once.
"""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from django.db import OperationalError, connection, transaction

from labeling.binary_copy import COPY_HEADER, COPY_TRAILER, binary_rows
from labeling.search_index import VECTOR

NO_DATE = np.iinfo(np.int64).min  # Postgres' form of -infinity, which stands for NULL here
MAX_FLOOR = 0.1
LOCK_NOT_AVAILABLE = "55P03"
COPY_PIECE = 1 << 20  # bytes handed to the driver at a time
LIST_PIECE = 5_000  # tweets of one statement

# A worker that is cut off in the middle of a transaction holds its locks until the server notices: so long.
SILENCE_SECONDS = 60
# A reader of all versions may hold a DROP up; readers behind the DROP wait for it, so it waits so long at a time.
DROP_WAIT_MS = 200
DROP_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class ScoreTables:
    """Names of one version's tables. The id is an integer, so that the names are safe in SQL."""

    version_id: int

    @property
    def score(self) -> str:
        return f"labeling_score_v{int(self.version_id)}"

    @property
    def tag(self) -> str:
        return f"labeling_scoretag_v{int(self.version_id)}"

    @property
    def listed(self) -> str:
        return f"labeling_listed_v{int(self.version_id)}"

    @property
    def all(self) -> dict[str, str]:
        """Each table, and the partitioned one that it becomes a part of."""
        return {
            self.score: "labeling_score",
            self.tag: "labeling_scoretag",
            self.listed: "labeling_listed",
        }


def floor_of(threshold: float) -> float:
    """Scores below it are kept, but not listed."""
    return min(MAX_FLOOR, threshold / 2)


def tag_word(tag_id: int) -> str:
    """What stands for a tag among the words of a listed tweet: no word of a text has a blank in it."""
    return f"'tag {int(tag_id)}'"


def create(tables: ScoreTables) -> None:
    """Standalone tables, invisible to readers. Does nothing when they exist, attached or not."""
    with connection.cursor() as cursor:
        for table, parent in tables.all.items():
            # The CHECK lets ATTACH PARTITION skip its scan.
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {table}"
                f" (LIKE {parent}, CHECK (version_id = {int(tables.version_id)}))"
                # Their own job vacuums (score_indexes.vacuum): autovacuum after so many new rows would hold up a drop.
                " WITH (autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2000000000)"
            )


def exist(tables: ScoreTables) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name",
            [list(tables.all)],
        )
        return bool(cursor.fetchone()[0])


def is_attached(tables: ScoreTables) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [tables.score])
        return cursor.fetchone() is not None


@contextmanager
def bounded_transaction() -> Iterator[Any]:
    """A transaction with its cursor. The server ends it when its client falls silent: dead, or cut off."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL idle_in_transaction_session_timeout = '{SILENCE_SECONDS}s';"
            " SET LOCAL client_connection_check_interval = '1s'"
        )
        yield cursor


def pages_of(tables: ScoreTables) -> int:
    """How many pages the table of all scores has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size(%s) / current_setting('block_size')::integer", [tables.score])
        return int(cursor.fetchone()[0])


def note_committed(tables: ScoreTables, pages: range) -> None:
    """Read scores that were committed a moment ago, so that the server notes on their rows that they are.

    Whoever reads a row first does so, and the page is written again. Now it is in memory and not written yet; when the
    index is built, every page of the table would be written once more, log and all, before anybody sees a score.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {tables.score} WHERE ctid >= %s::tid AND ctid < %s::tid",
            [f"({pages.start},0)", f"({pages.stop},0)"],
        )


def hold_writers(tables: ScoreTables) -> None:
    """Until the transaction ends, nobody adds scores: waits for the chunks that are just being written."""
    with connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {tables.score} IN SHARE MODE")


def remove_orphans(tables: ScoreTables, first: int, last: int) -> None:
    """Scores of tweets between these ids that are gone: a chunk had read them a moment before."""
    for table in tables.all:
        with connection.cursor() as cursor:
            cursor.execute(
                f"DELETE FROM {table} s WHERE tweet_id BETWEEN %s AND %s"
                " AND NOT EXISTS (SELECT FROM labeling_tweet t WHERE t.id = s.tweet_id)",
                [first, last],
            )


def attach(tables: ScoreTables) -> None:
    """Make them partitions. Call inside the transaction that publishes."""
    with connection.cursor() as cursor:
        for table, parent in tables.all.items():
            cursor.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES IN ({int(tables.version_id)})"
            )


@contextmanager
def dropping(tables: ScoreTables) -> Iterator[None]:
    """A transaction that begins by removing the tables, for the rest to follow. TimeoutError: readers hold on."""
    deadline = time.monotonic() + DROP_PATIENCE_SECONDS
    with transaction.atomic():
        while not _try_drop(tables):
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(DROP_WAIT_MS / 1000)  # room for the readers who queued behind us
        yield


def _try_drop(tables: ScoreTables) -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{DROP_WAIT_MS}ms'")
            cursor.execute(f"DROP TABLE IF EXISTS {', '.join(tables.all)}")
            cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    except OperationalError as error:
        if getattr(error.__cause__, "pgcode", "") != LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


# Reading tweets ------------------------------------------------------------------------------------------

_TWEET = np.dtype([("id", ">i8"), ("posted", ">i8"), ("source", ">i2"), ("length", ">i4")])


@dataclass(frozen=True)
class Tweets:
    """What scoring needs of some tweets; all arrays have one length."""

    id: npt.NDArray[np.int64]
    posted: npt.NDArray[np.int64]  # microseconds since 2000-01-01, as Postgres counts; NO_DATE: unknown
    source: npt.NDArray[np.int16]
    text: pa.Array  # of strings

    def __len__(self) -> int:
        return len(self.id)


def read_tweets(first_id: int, last_id: int) -> Tweets:
    """Tweets of a range of ids, in order.

    As two values, the columns of fixed width and all texts end to end: a third of what CSV costs both sides.
    """
    buffer = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(
            "COPY (SELECT string_agg(int8send(id) || timestamptz_send(coalesce(posted_at, '-infinity'))"
            " || int2send(source) || int4send(octet_length(text)), ''::bytea), string_agg(text, '') FROM"
            f" (SELECT * FROM labeling_tweet WHERE id BETWEEN {int(first_id)} AND {int(last_id)} ORDER BY id) t"
            ") TO STDOUT (FORMAT binary)",
            buffer,
        )
    columns, texts = _two_values(buffer.getbuffer())
    rows = np.frombuffer(columns, dtype=_TWEET)
    ends = np.concatenate([[0], np.cumsum(rows["length"])]).astype(np.int32)
    return Tweets(
        id=rows["id"].astype(np.int64),
        posted=rows["posted"].astype(np.int64),
        source=rows["source"].astype(np.int16),
        text=pa.StringArray.from_buffers(len(rows), pa.py_buffer(ends), pa.py_buffer(texts)),
    )


def _two_values(copied: memoryview) -> tuple[memoryview, memoryview]:
    """The values of the only row of a binary COPY; NULL, where there are no tweets, as empty."""
    start = len(COPY_HEADER) + 2  # after the row's count of fields
    (length,) = struct.unpack_from(">i", copied, start)
    first_end = start + 4 + max(length, 0)
    (second_length,) = struct.unpack_from(">i", copied, first_end)
    return copied[start + 4 : first_end], copied[first_end + 4 : first_end + 4 + max(second_length, 0)]


# Writing scores ------------------------------------------------------------------------------------------


def copy_scores(
    tables: ScoreTables,
    tweets: Tweets,
    probabilities: npt.NDArray[np.float32],
    *,
    tag_ids: Sequence[int],
    given: npt.NDArray[np.bool_],
    floor: float,
) -> None:
    """COPY the scores of `tweets` in. `probabilities` is [n, 1 + T]: DA first, then the tags in order.

    `given` is [n, T]: the tags that the version gives to each tweet. Scores at `floor` or above are listed.
    """
    with connection.cursor() as cursor:
        cursor.copy_expert(
            f"COPY {tables.score} (tweet_id, version_id, risk, source, tag_bytes) FROM STDIN (FORMAT binary)",
            io.BytesIO(_score_rows(tables.version_id, tweets, probabilities)),
            COPY_PIECE,
        )
        cursor.copy_expert(
            f"COPY {tables.tag} (tweet_id, version_id, tag_id, probability, risk) FROM STDIN (FORMAT binary)",
            io.BytesIO(_tag_rows(tables.version_id, tweets, probabilities, tag_ids=tag_ids, given=given)),
            COPY_PIECE,
        )
        listed = np.flatnonzero(probabilities[:, 0] >= np.float32(floor))
        words = np.array([tag_word(tag_id) for tag_id in tag_ids], dtype=object)
        tags = [" ".join(words[row]) for row in given[listed]]
        _list(cursor, tables, tweets.id[listed], probabilities[listed, 0], tags)


def _list(
    cursor: Any,
    tables: ScoreTables,
    ids: npt.NDArray[np.int64],
    risks: npt.NDArray[np.float32],
    tags: Sequence[str],
) -> None:
    """File what may appear in a list. PostgreSQL takes some 40 µs to find the words of a tweet.

    In pieces, each by a range of ids: of a whole chunk the planner would read the whole table of tweets.
    """
    for start in range(0, len(ids), LIST_PIECE):
        piece = slice(start, start + LIST_PIECE)
        values = [_array(map(str, of[piece])) for of in (ids.tolist(), risks.tolist())]
        values.append(_array(f'"{tags_of_one}"' for tags_of_one in tags[piece]))
        cursor.execute(
            f"INSERT INTO {tables.listed} (tweet_id, posted_at, version_id, risk, source, words)"
            f" SELECT t.id, t.posted_at, {int(tables.version_id)}, s.risk, t.source,"
            f" {VECTOR.format(alias='t.')} || s.tags::tsvector"
            " FROM unnest(%s::bigint[], %s::real[], %s::text[]) AS s (id, risk, tags)"
            " JOIN labeling_tweet t ON t.id = s.id WHERE t.id BETWEEN %s AND %s",
            [*values, int(ids[piece][0]), int(ids[piece][-1])],
        )


def _array(values: Iterable[str]) -> str:
    """One literal, which is parsed in a tenth of the time of an ARRAY[…]."""
    return "{" + ",".join(values) + "}"


def given_tags(
    probabilities: npt.NDArray[np.float32], thresholds: Sequence[float | None]
) -> npt.NDArray[np.bool_]:
    """[n, T]: P(tag) is at or above the tag's threshold. A tag without a threshold is given to nothing."""
    limits = np.array([np.inf if limit is None else limit for limit in thresholds], dtype=np.float32)
    return np.asarray(probabilities[:, 1:] >= limits[None, :])


def _score_rows(version_id: int, tweets: Tweets, probabilities: npt.NDArray[np.float32]) -> bytes:
    tags = probabilities.shape[1] - 1
    columns = {
        "tweet_id": tweets.id,
        "version_id": np.full(len(tweets), version_id),
        "risk": probabilities[:, 0],
        "source": tweets.source,
    }
    types = [("tweet_id", ">i8"), ("version_id", ">i4"), ("risk", ">f4"), ("source", ">i2")]
    rows = binary_rows(columns, types, last_bytes=tags)
    if tags:
        rows["tag_bytes"] = np.rint(probabilities[:, 1:] * np.float32(255)).astype(np.uint8)
    return COPY_HEADER + rows.tobytes() + COPY_TRAILER


def _tag_rows(
    version_id: int,
    tweets: Tweets,
    probabilities: npt.NDArray[np.float32],
    *,
    tag_ids: Sequence[int],
    given: npt.NDArray[np.bool_],
) -> bytes:
    row, tag = np.nonzero(given)
    columns = {
        "tweet_id": tweets.id[row],
        "version_id": np.full(len(row), version_id),
        "tag_id": np.asarray(tag_ids, dtype=np.int64)[tag],
        "probability": probabilities[row, 1 + tag],
        "risk": probabilities[row, 0],
    }
    types = [
        ("tweet_id", ">i8"),
        ("version_id", ">i4"),
        ("tag_id", ">i4"),
        ("probability", ">f4"),
        ("risk", ">f4"),
    ]
    return COPY_HEADER + binary_rows(columns, types).tobytes() + COPY_TRAILER
