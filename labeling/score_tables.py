"""The two tables of one version's scores: created standalone, filled by binary COPY, indexed, attached."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from django.db import connection

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
COPY_TRAILER = b"\xff\xff"
EPOCH_2000 = 946_684_800  # seconds; Postgres counts microseconds from 2000-01-01
MAX_FLOOR = 0.1


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


def floor_of(threshold: float) -> float:
    """Scores below it are kept, but are in no index on risk: lists do not go below it."""
    return min(MAX_FLOOR, threshold / 2)


def create(tables: ScoreTables) -> None:
    """Standalone tables, invisible to readers. Does nothing when they exist, attached or not."""
    with connection.cursor() as cursor:
        for table, parent in ((tables.score, "labeling_score"), (tables.tag, "labeling_scoretag")):
            # The CHECK lets ATTACH PARTITION skip its scan.
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {table}"
                f" (LIKE {parent}, CHECK (version_id = {int(tables.version_id)}))"
            )


def is_attached(tables: ScoreTables) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [tables.score])
        return cursor.fetchone() is not None


def add_indexes(tables: ScoreTables, *, floor: float) -> None:
    """Safe to repeat. The unique index is also the proof that no tweet was scored twice."""
    score, tag, low = tables.score, tables.tag, repr(float(floor))
    with connection.cursor() as cursor:
        cursor.execute("SET maintenance_work_mem = '256MB'")
        cursor.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {score}_tweet ON {score} (tweet_id)")
        cursor.execute(
            f"CREATE INDEX IF NOT EXISTS {score}_risk ON {score} (risk DESC, tweet_id DESC)"
            f" INCLUDE (source, posted_at) WHERE risk >= {low}::real"
        )
        cursor.execute(
            f"CREATE INDEX IF NOT EXISTS {score}_date ON {score} (posted_at)"
            f" INCLUDE (risk, tweet_id, source) WHERE risk >= {low}::real"
        )
        cursor.execute(
            f"CREATE INDEX IF NOT EXISTS {tag}_risk ON {tag} (tag_id, risk DESC, tweet_id DESC)"
            " INCLUDE (probability)"
        )
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {tag}_tweet ON {tag} (tweet_id)")
        cursor.execute("RESET maintenance_work_mem")


def attach(tables: ScoreTables) -> None:
    """Make them partitions. Call inside the transaction that publishes."""
    with connection.cursor() as cursor:
        for table, parent in ((tables.score, "labeling_score"), (tables.tag, "labeling_scoretag")):
            cursor.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES IN ({int(tables.version_id)})"
            )


def analyze(tables: ScoreTables) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {tables.score}")
        cursor.execute(f"ANALYZE {tables.tag}")


def drop(tables: ScoreTables) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {tables.score}, {tables.tag}")


# Reading tweets ------------------------------------------------------------------------------------------


def read_tweets(first_id: int, last_id: int, *, unscored_in: ScoreTables | None = None) -> pa.Table:
    """Tweets of a range of ids: id, source, posted (seconds since 1970, float, null), text.

    With `unscored_in`, only those which that version has not scored (its unique index must exist).
    """
    unscored = (
        f" AND NOT EXISTS (SELECT 1 FROM {unscored_in.score} s WHERE s.tweet_id = t.id)"
        if unscored_in
        else ""
    )
    buffer = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(
            "COPY (SELECT id, source, date_part('epoch', posted_at), text FROM labeling_tweet t"
            f" WHERE id BETWEEN {int(first_id)} AND {int(last_id)}{unscored}) TO STDOUT (FORMAT csv)",
            buffer,
        )
    names = {"id": pa.int64(), "source": pa.int16(), "posted": pa.float64(), "text": pa.string()}
    if not buffer.tell():
        return pa.table({name: pa.array([], kind) for name, kind in names.items()})
    return pyarrow.csv.read_csv(
        pa.py_buffer(buffer.getbuffer()),
        # One block: a quoted line break may sit anywhere. One thread: workers are processes.
        read_options=pyarrow.csv.ReadOptions(
            column_names=list(names), use_threads=False, block_size=max(buffer.tell(), 1) + 1
        ),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=names, null_values=[""], strings_can_be_null=False, check_utf8=False
        ),
    )


# Writing scores ------------------------------------------------------------------------------------------


def copy_scores(
    tables: ScoreTables,
    tweets: pa.Table,
    probabilities: npt.NDArray[np.float32],
    *,
    tag_ids: Sequence[int],
    tag_thresholds: Sequence[float | None],
) -> None:
    """COPY the scores of `tweets` in. `probabilities` is [n, 1 + T]: DA first, then the tags in order."""
    probabilities = np.clip(np.nan_to_num(probabilities), 0.0, 1.0).astype(np.float32)
    ids = tweets["id"].to_numpy()
    with connection.cursor() as cursor:
        cursor.copy_expert(
            f"COPY {tables.score} (tweet_id, posted_at, version_id, risk, source, tag_bytes)"
            " FROM STDIN (FORMAT binary)",
            io.BytesIO(_score_rows(tables.version_id, tweets, probabilities)),
        )
        cursor.copy_expert(
            f"COPY {tables.tag} (tweet_id, version_id, tag_id, probability, risk) FROM STDIN (FORMAT binary)",
            io.BytesIO(
                _tag_rows(
                    tables.version_id, ids, probabilities, tag_ids=tag_ids, tag_thresholds=tag_thresholds
                )
            ),
        )


def _score_rows(version_id: int, tweets: pa.Table, probabilities: npt.NDArray[np.float32]) -> bytes:
    tags = probabilities.shape[1] - 1
    tag_bytes = np.rint(probabilities[:, 1:] * 255).astype(np.uint8)
    has_date = pc.is_valid(tweets["posted"]).to_numpy()
    posted = np.nan_to_num(pc.fill_null(tweets["posted"], 0.0).to_numpy())
    columns = {
        "tweet_id": tweets["id"].to_numpy(),
        "posted_at": np.rint((posted - EPOCH_2000) * 1e6).astype(np.int64),
        "version_id": np.full(len(tweets), version_id),
        "risk": probabilities[:, 0],
        "source": tweets["source"].to_numpy(),
    }
    parts = [COPY_HEADER]
    for mask, date_type in ((has_date, ">i8"), (~has_date, None)):
        types = [
            ("tweet_id", ">i8"),
            ("posted_at", date_type),
            ("version_id", ">i4"),
            ("risk", ">f4"),
            ("source", ">i2"),
        ]
        rows = _binary_rows({name: column[mask] for name, column in columns.items()}, types, last_bytes=tags)
        if tags:
            rows["tag_bytes"] = tag_bytes[mask]
        parts.append(rows.tobytes())
    return b"".join([*parts, COPY_TRAILER])


def _tag_rows(
    version_id: int,
    ids: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    *,
    tag_ids: Sequence[int],
    tag_thresholds: Sequence[float | None],
) -> bytes:
    limits = np.array([np.inf if limit is None else limit for limit in tag_thresholds], dtype=np.float32)
    row, tag = np.nonzero(probabilities[:, 1:] >= limits[None, :])
    columns = {
        "tweet_id": ids[row],
        "version_id": np.full(len(row), version_id),
        "tag_id": np.asarray(tag_ids, dtype=np.int64)[tag],
        "probability": probabilities[row, 1 + tag],
        "risk": probabilities[row, 0],
    }
    types: list[tuple[str, str | None]] = [
        ("tweet_id", ">i8"),
        ("version_id", ">i4"),
        ("tag_id", ">i4"),
        ("probability", ">f4"),
        ("risk", ">f4"),
    ]
    return COPY_HEADER + _binary_rows(columns, types).tobytes() + COPY_TRAILER


def _binary_rows(
    columns: dict[str, npt.NDArray[Any]],
    types: Sequence[tuple[str, str | None]],
    *,
    last_bytes: int | None = None,
) -> npt.NDArray[Any]:
    """Rows of Postgres' binary COPY as one structured array: field count, then length and value of each.

    A type of None writes NULL. `last_bytes` adds a last field "tag_bytes" of that many bytes, left empty.
    """
    fields: list[tuple[Any, ...]] = [("fields", ">i2")]
    for name, kind in types:
        fields.append((f"{name}_length", ">i4"))
        if kind:
            fields.append((name, kind))
    if last_bytes is not None:
        fields.append(("tag_bytes_length", ">i4"))
        if last_bytes:
            fields.append(("tag_bytes", "u1", (last_bytes,)))
    rows = np.empty(len(next(iter(columns.values()))), dtype=np.dtype(fields))
    rows["fields"] = len(types) + (last_bytes is not None)
    for name, kind in types:
        rows[f"{name}_length"] = np.dtype(kind).itemsize if kind else -1
        if kind:
            rows[name] = columns[name]
    if last_bytes is not None:
        rows["tag_bytes_length"] = last_bytes
    return rows
