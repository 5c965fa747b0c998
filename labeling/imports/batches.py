"""Batches of rows made ready for COPY, on their way from the process that reads a file to the one that writes.

A batch travels as a JSON header and plain arrays, never as a pickle: the process that reads a stranger's file
is not trusted. Knows nothing of Django.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 256 * 1024 * 1024
PART_BYTES = 1 << 30


@dataclass(slots=True)
class Batch:
    """Rows of a file, in its order. Bytes offsets[i] to offsets[i + 1] are row i for a binary COPY."""

    start: int  # rows of the file read before this batch, and after it, rejected ones included
    end: int
    fraction: float  # of the file read so far
    keys: NDArray[np.int64]  # dedupe_key of each row
    offsets: NDArray[np.int64]
    rows: list[Any]  # the bytes, in pieces, as they were prepared; in one piece when received
    rejected: list[tuple[int, str, str]] = field(default_factory=list)  # line number, reason, content
    undated: list[int] = field(default_factory=list)  # rows whose date could not be read
    erased: list[int] = field(default_factory=list)  # rows of authors who were erased
    judged: list[int] = field(default_factory=list)  # rows with a verdict or tags, which follow
    verdicts: list[int | None] = field(default_factory=list)
    tags: list[list[str] | None] = field(default_factory=list)
    new_tags: list[str] = field(default_factory=list)  # to be created before the rows are written

    @property
    def rows_expected(self) -> int:
        """About how many rows the whole file has."""
        return int(self.end / self.fraction) if self.fraction else self.end

    def write(self, stream: IO[bytes]) -> None:
        plain = {name: getattr(self, name) for name in _PLAIN}
        header = json.dumps({**plain, "count": len(self.keys), "bytes": int(self.offsets[-1])}).encode()
        stream.write(len(header).to_bytes(8, "little"))
        for part in (header, self.keys.data, self.offsets.data, *self.rows):
            stream.write(part)
        stream.flush()


_PLAIN = (
    "start",
    "end",
    "fraction",
    "rejected",
    "undated",
    "erased",
    "judged",
    "verdicts",
    "tags",
    "new_tags",
)


def write_message(stream: IO[bytes], message: dict[str, Any]) -> None:
    header = json.dumps(message).encode()
    stream.write(len(header).to_bytes(8, "little") + header)
    stream.flush()


def read_message(stream: IO[bytes]) -> Batch | dict[str, Any] | None:
    """The next batch or message; None when the sender has gone."""
    length = int.from_bytes(_exactly(stream, 8), "little")
    if not 0 < length <= HEADER_BYTES:
        return None
    header = json.loads(_exactly(stream, length))
    if "bytes" not in header:
        return dict(header)
    count, size = header.pop("count"), header.pop("bytes")
    keys = np.frombuffer(_exactly(stream, 8 * count), dtype=np.int64)
    offsets = np.frombuffer(_exactly(stream, 8 * count + 8), dtype=np.int64)
    return Batch(keys=keys, offsets=offsets, rows=[_exactly(stream, size)], **header)


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    """A pipe gives what it has; less than `size` only when the sender has gone."""
    if not 0 <= size <= PART_BYTES:
        raise ValueError("This is not what a batch looks like.")
    data, done = bytearray(size), 0
    with memoryview(data) as view:
        while done < size and (count := stream.readinto(view[done:])):  # type: ignore[attr-defined]
            done += count
    return data if done == size else data[:done]
