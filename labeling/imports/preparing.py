"""Rows of a file made ready for COPY: checked and hashed, by whole columns, and row by row where that is not sure.

Knows nothing of Django, so that the child process that reads a file can run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labeling.identity import AuthorHasher
from labeling.imports import columns
from labeling.imports.batches import Batch
from labeling.imports.columns import Mask
from labeling.imports.copy_rows import copy_rows, dedupe_keys
from labeling.imports.mapping import (
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
from labeling.imports.sheets import MIB, Block

ROWS = 200_000  # so many that most pages of the index of keys are met more than once
FIRST_ROWS = 25_000  # of a file, so that they are being written while the next are read
BATCH_BYTES = 64 * MIB  # of rows and of rejected ones; bounds the memory of a batch of very long ones
MAX_TAGS = 200  # that an import may bring the project to; more are a sign of a wrong column
NOT_UTF8 = "The row is not valid UTF-8. If the file is Latin-1 or Windows-1252, save it as UTF-8."


@dataclass(frozen=True, slots=True)
class Job:
    """What the preparing process must know. Travels as JSON."""

    source: int
    import_id: int
    mapping: dict[str, Any]
    author_key: str = ""  # secret of the installation
    known_tags: tuple[str, ...] = ()
    erased_authors: tuple[str, ...] = ()  # their hashes, in hex: their rows are left out
    verdict_words: dict[str, int | None] = field(default_factory=dict)
    batch_rows: int = ROWS


# One row -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """What one row says."""

    name: str
    text: str
    author: bytes | None  # hashed
    verdict: int | None
    tags: list[str] | None


class Cells:
    """The mapped cells of a row: which is which, and what they say."""

    def __init__(self, job: Job) -> None:
        self.mapping = Mapping.from_json(job.mapping)
        self.words = VERDICT_WORDS | job.verdict_words
        self.known = {name.lower() for name in job.known_tags}
        self.new_tags: list[str] = []  # to be created before the rows are written
        self.hasher = AuthorHasher(job.author_key)
        mapping, wanted = self.mapping, iter(range(len(self.mapping.wanted)))
        self.text = next(wanted)
        self.id, self.author, self.date, self.tags, self.verdict = (
            next(wanted) if name else None
            for name in (mapping.id, mapping.author, mapping.date, mapping.tags, mapping.verdict)
        )
        self.flags = list(wanted)
        self.judging = [place for place in (self.tags, self.verdict, *self.flags) if place is not None]

    def read(self, cells: list[Any]) -> Prepared:
        """All but the date, which rejects no row. Raises BadCellError."""
        try:
            text = text_of(cells[self.text])
            text.encode()
            name = "" if self.id is None else id_of(cells[self.id])
            name.encode()
            author = None
            if self.author is not None and cells[self.author] not in (None, ""):
                author = self.hasher.hash(str(cells[self.author]))
            verdict = None if self.verdict is None else verdict_of(cells[self.verdict], self.words)
            tags = None
            if self.tags is not None:
                tags = self._known(tags_of(cells[self.tags], self.mapping.separator))
            elif self.flags:
                given = [cells[place] for place in self.flags]
                tags = self._known(flags_of(given, self.mapping.tag_columns))
        except UnicodeEncodeError:
            raise BadCellError(NOT_UTF8) from None
        return Prepared(name, text, author, verdict, tags)

    def read_date(self, cells: list[Any]) -> str:
        """As ISO 8601; empty where there is none. Raises ValueError, OverflowError or TypeError."""
        found = None if self.date is None else date_of(cells[self.date])
        return found.isoformat() if found else ""

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
                self.new_tags.append(tag)


# Many rows -----------------------------------------------------------------------------------------------


class Preparer:
    """Takes blocks of rows, gives batches. The same file gives the same batches."""

    def __init__(self, job: Job) -> None:
        self.job, self.cells = job, Cells(job)
        self.erased = pa.array(map(bytes.fromhex, job.erased_authors), pa.binary())
        self.read = 0  # rows, rejected ones included
        self._begin()

    def _begin(self) -> None:
        self.count = self.size = 0  # rows and bytes of the batch
        self.keys: list[NDArray[np.int64]] = []
        self.rows: list[Any] = []  # Arrow arrays of binary rows
        self.batch = Batch(self.read, 0, 0.0, np.empty(0, np.int64), np.zeros(1, np.int64), [])

    def add(self, block: Block, fraction: float) -> Iterator[Batch]:
        """The batches that are full with it. `fraction` of the file has been read."""
        for row in block.bad:
            self._reject(row.number, row.reason, row.content)
        self.read += len(block.bad)
        done = 0
        while done < len(block):
            part = block.part(done, done + self._room(block, done))
            self._prepare(part)
            self.read += len(part)
            done += len(part)
            if self.read - self.batch.start >= self._most() or self.size > BATCH_BYTES:
                yield self.take(fraction)

    def take(self, fraction: float) -> Batch:
        """The batch of the rows added since the last one."""
        batch = self.batch
        batch.end, batch.fraction = self.read, fraction
        batch.rejected.sort()
        if self.keys:
            batch.keys = np.concatenate(self.keys)
            lengths = np.concatenate([np.diff(columns.bytes_of(rows)[0]) for rows in self.rows])
            batch.offsets = np.concatenate([[0], np.cumsum(lengths)])
            batch.rows = [rows.buffers()[2] for rows in self.rows]
        batch.new_tags, self.cells.new_tags = self.cells.new_tags, []
        self._begin()
        return batch

    def _most(self) -> int:
        """Rows of the batch: a quarter of all before it, within bounds, so that the last takes a small part of the time."""
        return min(self.job.batch_rows, max(FIRST_ROWS, self.batch.start // 4))

    def _room(self, block: Block, start: int) -> int:
        """How many of the block's rows, from `start`, the batch takes; one at least."""
        rows = min(self._most() - (self.read - self.batch.start), len(block) - start)
        texts = block.columns[self.cells.text]
        if columns.is_text(texts):
            offsets, _ = columns.bytes_of(texts)
            limit = offsets[start] + BATCH_BYTES - self.size
            rows = min(rows, int(np.searchsorted(offsets, limit, side="right")) - 1 - start)
        return max(rows, 1)

    def _reject(self, number: int, reason: str, content: str) -> None:
        readable = content[:1000].encode(errors="replace").decode()
        self.size += len(readable)
        self.batch.rejected.append((number, reason, readable))

    def _prepare(self, block: Block) -> None:
        rows, sure = self._read_columns(block)
        if not sure.all():
            rows = self._with_odd_rows(rows, sure, self._read_odd_rows(block, ~sure))
        if len(self.erased):
            gone = pc.is_in(rows["author"], value_set=self.erased).to_numpy(zero_copy_only=False)
            self.batch.erased += (np.flatnonzero(gone) + self.count).tolist()
        keys = dedupe_keys(self.job.source, ids=rows["id"], texts=rows["text"])
        self.batch.undated += (np.flatnonzero(rows["undated"]) + self.count).tolist()
        written = copy_rows(
            source=self.job.source,
            import_id=self.job.import_id,
            keys=keys,
            ids=rows["id"],
            texts=rows["text"],
            authors=rows["author"],
            posted=rows["posted"],
        )
        self.keys.append(keys)
        self.rows.append(written)
        self.count += len(keys)
        self.size += written.nbytes

    def _read_columns(self, block: Block) -> tuple[Any, Mask]:
        """A record batch of all rows, and which of them hold for sure what is stored."""
        cells, rows = self.cells, len(block)
        texts, sure = columns.texts(block.columns[cells.text])
        ids, authors = pa.array([""] * rows, pa.string()), pa.nulls(rows, pa.binary())
        if cells.id is not None:
            ids, sure_id = columns.ids(block.columns[cells.id])
            sure &= sure_id
        if cells.author is not None:
            authors, sure_author = columns.authors(block.columns[cells.author], cells.hasher)
            sure &= sure_author
        for place in cells.judging:
            sure &= columns.blanks(block.columns[place])
        posted, undated = pa.nulls(rows, pa.int64()), np.zeros(rows, bool)
        if cells.date is not None:
            micros, dated, undated = columns.dates(block.columns[cells.date])
            posted = pa.array(micros, mask=~dated)
        read = {"id": ids, "text": texts, "author": authors, "posted": posted, "undated": pa.array(undated)}
        return pa.record_batch(read), sure

    def _read_odd_rows(self, block: Block, odd: Mask) -> dict[int, Prepared]:
        """Those of them that can be read; the others are rejected."""
        found: dict[int, Prepared] = {}
        for row in np.flatnonzero(odd).tolist():
            cells = block.cells(row)
            try:
                found[row] = self.cells.read(cells)
            except BadCellError as error:
                content = "" if self._is_erased(cells) else _content(cells)
                self._reject(int(block.numbers[row]), str(error), content)
        return found

    def _is_erased(self, cells: list[Any]) -> bool:
        """The author was: not even the list of rejected rows may hold what they wrote."""
        if self.cells.author is None or cells[self.cells.author] in (None, ""):
            return False
        author = str(cells[self.cells.author]).encode(errors="replace").decode()
        return self.cells.hasher.hash(author).hex() in self.job.erased_authors

    def _with_odd_rows(self, rows: Any, sure: Mask, found: dict[int, Prepared]) -> Any:
        odd = np.zeros(len(sure), bool)
        odd[list(found)] = True
        read = {
            "id": [row.name for row in found.values()],
            "text": [row.text for row in found.values()],
            "author": [row.author for row in found.values()],
        }
        for name, values in read.items():
            column = pc.replace_with_mask(rows[name], pa.array(odd), pa.array(values, rows[name].type))
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        kept = sure | odd
        places = np.cumsum(kept) - 1 + self.count
        for row, prepared in found.items():
            if prepared.verdict is not None or prepared.tags is not None:
                self.batch.judged.append(int(places[row]))
                self.batch.verdicts.append(prepared.verdict)
                self.batch.tags.append(prepared.tags)
        return rows.filter(pa.array(kept))


def _content(cells: list[Any]) -> str:
    """The mapped cells of a rejected row, for the list of rejected rows."""
    return json.dumps(
        [cell if isinstance(cell, str | int | float) else str(cell) for cell in cells], ensure_ascii=False
    )
