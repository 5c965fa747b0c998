"""Rows for Postgres' binary COPY into labeling_tweet, a column at a time. Knows nothing of Django."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labeling.binary_copy import EPOCH_2000
from labeling.identity import hashed, key_prefixes
from labeling.imports.columns import bytes_of

# In the order of a row's bytes: what has a fixed length comes first.
COPY_COLUMNS = "search_segment, source, import_id, dedupe_key, external_id, text, author_hash, posted_at"
NULL = -1  # in place of a length

# The count of columns; each value behind its length; last the length of external_id.
FIXED = np.dtype(
    [
        ("columns", ">i2"),
        *[("segment_length", ">i4"), ("segment", ">i2"), ("source_length", ">i4"), ("source", ">i2")],
        *[("import_length", ">i4"), ("import_id", ">i4"), ("key_length", ">i4"), ("key", ">i8")],
        ("id_length", ">i4"),
    ]
)
SEGMENT = FIXED.fields["segment"][1]  # type: ignore[index]  # where in a row search_segment is


def dedupe_keys(source: int, *, ids: Any, texts: Any) -> NDArray[np.int64]:
    """identity.dedupe_keys() of Arrow arrays."""
    by_id, by_text = (pa.scalar(prefix, pa.binary()) for prefix in key_prefixes(source))
    has_id = pc.not_equal(pc.binary_length(ids), 0)
    prefix, named = pc.if_else(has_id, by_id, by_text), pc.if_else(has_id, ids, texts)
    offsets, data = bytes_of(_joined(prefix, named))
    joined = data.tobytes()
    return hashed(joined[start:end] for start, end in pairwise(offsets.tolist()))


def copy_rows(
    *, source: int, import_id: int, keys: NDArray[np.int64], ids: Any, texts: Any, authors: Any, posted: Any
) -> Any:
    """One binary value for each row. `posted` is microseconds since 1970, null where there is no date."""
    fixed = np.zeros(len(keys), FIXED)
    fixed["columns"] = len(COPY_COLUMNS.split(","))
    for name, value in (("source", source), ("import_id", import_id), ("key", keys)):
        fixed[name] = value
    for name in ("segment", "source", "import_id", "key"):
        fixed[f"{name.removesuffix('_id')}_length"] = fixed.dtype[name].itemsize
    fixed["id_length"] = pc.binary_length(ids).to_numpy()
    return _joined(
        _pieces(fixed),
        ids,
        _pieces(_big_endian(pc.binary_length(texts).to_numpy(), ">i4")),
        texts,
        _pieces(_big_endian(pc.fill_null(pc.binary_length(authors), NULL).to_numpy(), ">i4")),
        authors.fill_null(b""),
        _dates(posted),
    )


def _dates(posted: Any) -> Any:
    """Length and value; the length of NULL alone where there is none."""
    pieces = np.zeros(len(posted), np.dtype([("length", ">i4"), ("value", ">i8")]))
    pieces["value"] = posted.fill_null(0).to_numpy() - EPOCH_2000 * 10**6
    pieces["length"] = 8
    dates = _pieces(pieces)
    if posted.null_count:
        nothing = NULL.to_bytes(4, signed=True)
        dates = pc.if_else(posted.is_valid(), dates, pa.scalar(nothing, pa.binary()))
    return dates


def _big_endian(values: Any, kind: str) -> NDArray[Any]:
    return np.ascontiguousarray(values).astype(kind)


def _pieces(rows: NDArray[Any]) -> Any:
    """A binary value for each row of a packed array."""
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(rows.dtype.itemsize)
    return pa.Array.from_buffers(pa.binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(rows)])


def _joined(*columns: Any) -> Any:
    parts = [column.cast(pa.binary()) for column in columns]
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.binary()))


def set_segment(rows: NDArray[np.uint8], starts: NDArray[np.int64], segment: int) -> None:
    """Write the search segment into rows that begin at `starts`."""
    for place, byte in enumerate(segment.to_bytes(2, signed=True)):
        rows[starts + SEGMENT + place] = byte
