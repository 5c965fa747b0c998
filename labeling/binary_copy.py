"""Postgres' binary COPY: what stands around the rows, and rows of columns of fixed width. Knows nothing of Django."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + b"\x00" * 8
COPY_TRAILER = b"\xff\xff"
EPOCH_2000 = 946_684_800  # seconds; Postgres counts microseconds from 2000-01-01


def binary_rows(
    columns: dict[str, npt.NDArray[Any]],
    types: Sequence[tuple[str, str]],
    *,
    last_bytes: int | None = None,
) -> npt.NDArray[Any]:
    """Rows of Postgres' binary COPY as one structured array: field count, then length and value of each.

    `last_bytes` adds a last field "tag_bytes" of that many bytes, left empty.
    """
    fields: list[tuple[Any, ...]] = [("fields", ">i2")]
    for name, kind in types:
        fields += [(f"{name}_length", ">i4"), (name, kind)]
    if last_bytes is not None:
        fields.append(("tag_bytes_length", ">i4"))
        if last_bytes:
            fields.append(("tag_bytes", "u1", (last_bytes,)))
    rows = np.empty(len(next(iter(columns.values()))), dtype=np.dtype(fields))
    rows["fields"] = len(types) + (last_bytes is not None)
    for name, kind in types:
        rows[f"{name}_length"] = np.dtype(kind).itemsize
        rows[name] = columns[name]
    if last_bytes is not None:
        rows["tag_bytes_length"] = last_bytes
    return rows
