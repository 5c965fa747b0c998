"""Batches of rows made ready for COPY: checked, hashed, and passed from the reading process to the writing one.

A batch travels as a JSON header and plain arrays, never as a pickle: the process that reads a stranger's file
is not trusted. Knows nothing of Django.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from labeling.identity import author_hash, dedupe_keys
from labeling.mapping import (
    VERDICT_WORDS,
    BadCellError,
    Mapping,
    date_of,
    flags_of,
    id_of,
    tags_of,
    text_of,
    verdict_of,
)
from ml.groups import text_keys

# Columns of a line of Batch.lines, in COPY's text format.
COPY_COLUMNS = "source, import_id, external_id, text, author_hash, posted_at, dedupe_key, group_hash"
ROWS = 50_000
BATCH_CHARS = 24 * 1024 * 1024  # of text; bounds the memory of a batch of very long texts
MAX_TAGS = 200  # that an import may bring the project to; more are a sign of a wrong column
HEADER_BYTES = 256 * 1024 * 1024
NOT_UTF8 = "The row is not valid UTF-8. If the file is Latin-1 or Windows-1252, save it as UTF-8."

_ESCAPED = re.compile(r"[\\\n\r\t]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True, slots=True)
class Job:
    """What the preparing process must know. Travels as JSON."""

    source: int
    import_id: int
    mapping: dict[str, Any]
    author_key: str = ""  # secret of the installation
    known_tags: tuple[str, ...] = ()
    verdict_words: dict[str, int | None] = field(default_factory=dict)
    batch_rows: int = ROWS


@dataclass(slots=True)
class Batch:
    """Rows of a file, in its order. `lines[offsets[i]:offsets[i + 1]]` is row i for COPY."""

    start: int  # rows of the file read before this batch, and after it, rejected ones included
    end: int
    fraction: float  # of the file read so far
    keys: NDArray[np.int64]  # dedupe_key of each row
    offsets: NDArray[np.int64]
    lines: bytes
    rejected: list[tuple[int, str, str]] = field(default_factory=list)  # line number, reason, content
    undated: list[int] = field(default_factory=list)  # rows whose date could not be read
    judged: list[int] = field(default_factory=list)  # rows with a verdict or tags, which follow
    verdicts: list[int | None] = field(default_factory=list)
    tags: list[list[str] | None] = field(default_factory=list)
    new_tags: list[str] = field(default_factory=list)  # to be created before the rows are written

    def write(self, stream: IO[bytes]) -> None:
        plain = {name: getattr(self, name) for name in _PLAIN}
        header = json.dumps({**plain, "rows": len(self.keys), "bytes": len(self.lines)}).encode()
        stream.write(len(header).to_bytes(8, "little"))
        for part in (header, self.keys.tobytes(), self.offsets.tobytes(), self.lines):
            stream.write(part)
        stream.flush()


_PLAIN = ("start", "end", "fraction", "rejected", "undated", "judged", "verdicts", "tags", "new_tags")


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
    rows, size = header.pop("rows"), header.pop("bytes")
    keys = np.frombuffer(_exactly(stream, 8 * rows), dtype=np.int64)
    offsets = np.frombuffer(_exactly(stream, 8 * rows + 8), dtype=np.int64)
    return Batch(keys=keys, offsets=offsets, lines=_exactly(stream, size), **header)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """A pipe gives what it has; less than `size` only when the sender has gone."""
    parts, missing = [], size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


# Preparing -----------------------------------------------------------------------------------------------


class Preparer:
    """Takes rows one by one, gives batches. The same file gives the same batches."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.mapping = Mapping.from_json(job.mapping)
        self.words = VERDICT_WORDS | job.verdict_words
        self.known = {name.lower() for name in job.known_tags}
        self.read = 0  # rows, rejected ones included
        wanted = iter(range(len(self.mapping.wanted)))
        mapping = self.mapping
        named = (mapping.text, mapping.id, mapping.author, mapping.date, mapping.tags, mapping.verdict)
        self.places = tuple(next(wanted) if name else None for name in named)
        self.flags_from = len([name for name in named if name])
        self.prefix = f"{job.source}\t{job.import_id}\t"
        self._begin()

    def _begin(self) -> None:
        self.start, self.chars = self.read, 0
        self.rows: list[tuple[str, str, str, str]] = []  # id, text, author hash, date
        self.batch = Batch(self.read, 0, 0.0, np.empty(0, np.int64), np.empty(0, np.int64), b"")

    def add(self, number: int, cells: list[Any]) -> None:
        self.read += 1
        try:
            self._prepare(cells)
        except BadCellError as error:
            self._reject(number, str(error), _content(cells))
        except UnicodeEncodeError:
            self._reject(number, NOT_UTF8, _content(cells))

    def reject(self, number: int, reason: str, content: str) -> None:
        self.read += 1
        self._reject(number, reason, content)

    def _reject(self, number: int, reason: str, content: str) -> None:
        readable = content[:1000].encode(errors="replace").decode()
        self.batch.rejected.append((number, reason, readable))

    @property
    def is_full(self) -> bool:
        return self.read - self.start >= self.job.batch_rows or self.chars > BATCH_CHARS

    def _prepare(self, cells: list[Any]) -> None:
        text_at, id_at, author_at, date_at, tags_at, verdict_at = self.places
        assert text_at is not None
        text = text_of(cells[text_at])
        text.encode()
        name = "" if id_at is None else id_of(cells[id_at])
        name.encode()
        author = ""
        if author_at is not None and cells[author_at] not in (None, ""):
            author = author_hash(str(cells[author_at]).strip(), self.job.author_key)
        verdict = None if verdict_at is None else verdict_of(cells[verdict_at], self.words)
        tags = None
        if tags_at is not None:
            tags = self._known(tags_of(cells[tags_at], self.mapping.separator))
        elif self.mapping.tag_columns:
            tags = self._known(flags_of(cells[self.flags_from :], self.mapping.tag_columns))
        date, row = "", len(self.rows)
        if date_at is not None:
            try:
                date = _copied(date_of(cells[date_at]))
            except (ValueError, OverflowError, TypeError):  # keep the tweet: a date is seldom needed
                self.batch.undated.append(row)
        if verdict is not None or tags is not None:
            self.batch.judged.append(row)
            self.batch.verdicts.append(verdict)
            self.batch.tags.append(tags)
        self.chars += len(text)
        self.rows.append((name, text, author, date))

    def _known(self, tags: list[str] | None) -> list[str] | None:
        """The tags by their lower-case names, unknown ones created, left out or refused as the mapping says."""
        if not tags:
            return tags
        unknown = [tag for tag in tags if tag.lower() not in self.known]
        if unknown:
            "".join(unknown).encode()
            self._meet(unknown)
        return [tag.lower() for tag in tags if tag.lower() in self.known]

    def _meet(self, unknown: list[str]) -> None:
        if self.mapping.unknown_tags == "ignore":
            return
        if self.mapping.unknown_tags == "reject":
            raise BadCellError(f"Unknown tag: {', '.join(unknown)[:200]}.")
        if len(self.known) + len(unknown) > MAX_TAGS:
            raise BadCellError(
                f"Unknown tag: {', '.join(unknown)[:200]}. The project has {len(self.known)} tags already, and an "
                f"import creates no more than {MAX_TAGS}: is this the right column and separator?"
            )
        for tag in unknown:
            if tag.lower() not in self.known:
                self.known.add(tag.lower())
                self.batch.new_tags.append(tag)

    def take(self, fraction: float) -> Batch:
        """The batch of the rows added since the last one."""
        rows, batch = self.rows, self.batch
        batch.end, batch.fraction = self.read, fraction
        batch.keys = dedupe_keys(self.job.source, [(name, text) for name, text, _, _ in rows])
        groups = text_keys([text for _, text, _, _ in rows]).tolist()
        lines = [
            f"{self.prefix}{_escaped(name)}\t{_escaped(text)}\t{author or NULL}\t{date or NULL}\t{key}\t{group}\n".encode()
            for (name, text, author, date), key, group in zip(rows, batch.keys.tolist(), groups, strict=True)
        ]
        batch.offsets = np.zeros(len(lines) + 1, np.int64)
        np.cumsum([len(line) for line in lines], out=batch.offsets[1:])
        batch.lines = b"".join(lines)
        self._begin()
        return batch


NULL = "\\N"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _ESCAPED.search(text) else text


def _copied(date: datetime | None) -> str:
    return "" if date is None else date.isoformat()


def _content(cells: list[Any]) -> str:
    """The mapped cells of a rejected row, for the list of rejected rows."""
    return json.dumps(
        [cell if isinstance(cell, str | int | float) else str(cell) for cell in cells], ensure_ascii=False
    )
