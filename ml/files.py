"""Reading the plain files of the library's own commands: judged texts, as JSONL or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import groups

csv.field_size_limit(1 << 24)

_VERDICTS = {"DA": 1.0, "NDA": 0.0, "1": 1.0, "0": 0.0, "TRUE": 1.0, "FALSE": 0.0}
_BINARY = {"1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0, "TRUE": 1.0, "FALSE": 0.0}
_SPLITS = {
    "train": "train", "training": "train", "dev": "validation", "valid": "validation", "val": "validation",
    "validation": "validation", "test": "test",
}  # fmt: skip
_RESERVED = ("id", "verdict", "text", "tags", "label", "split")  # never tags of 0 and 1 unless named
_COLUMNS = ("verdict_weight", "tags_weight", "split", "sample", "matches_rule")  # of the training table


@dataclass(frozen=True)
class Columns:
    """Where the file keeps what. "" and (): found by the names and values of the columns."""

    text: str = "text"
    tags: str = ""  # a list, or a cell with several tags
    label: str = ""  # exactly one class a row
    binary: tuple[str, ...] = ()  # a tag a column, of 0 and 1
    split: str = ""  # train, validation (or dev), test


@dataclass(frozen=True)
class Judged:
    """What ml.train.train takes. task: verdict (verdict and tags), tags (tags alone), classes (one tag each)."""

    examples: pd.DataFrame
    tags: list[str]
    unlabelled: list[str]  # texts without any judgement
    task: str


def read(path: Path, *, text: str = "text") -> pd.DataFrame:
    """Rows as they are, one column per field, all present values kept. Raises ValueError with the line number.

    The column `text` holds the text afterwards, whatever its name in the file.
    """
    rows = _jsonl(path) if path.suffix in (".jsonl", ".json", ".ndjson") else _csv(path)
    if not rows:
        raise ValueError(f"{path}: no rows. It needs a header (CSV) or one JSON object a line (JSONL).")
    if not any(text in row for row in rows):
        raise ValueError(
            f"{path}: no column `{text}`. Found: {', '.join(sorted(rows[0]))}. Name the right one with --text-column."
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(text), str):
            raise ValueError(f"{path}: row {number} has no text.")
    table = pd.DataFrame(rows)
    if text != "text":
        table = table.drop(columns="text", errors="ignore").rename(columns={text: "text"})
    return table


def texts(path: Path, *, text: str = "text") -> list[str]:
    """Unlabelled texts: a column of a CSV or JSONL file, or a plain file (.txt) with one text a line."""
    if path.suffix == ".txt":
        return [line for line in _decoded(path).split("\n") if line.strip()]
    return [str(value) for value in read(path, text=text)["text"]]


def examples(
    path: Path, columns: Columns = Columns(), *, validation: Path | None = None, test: Path | None = None
) -> Judged:
    """The table that ml.train.train takes, from one file or from a file per split.

    verdict: DA, NDA, 1, 0, or empty. tags: a list, or a cell with tags separated by "|", ";" or ","; empty text or
    list: none of them; absent (null, or no such column): not judged. label: one class; empty: not judged. Columns of
    0 and 1: a tag each; empty: not judged. Splits come from the column, or from the files; else they follow the
    near-duplicate groups, and so does validation where neither names any.
    """
    parts = [("train", path), ("validation", validation), ("test", test)]
    given = {name: read(part, text=columns.text) for name, part in parts if part is not None}
    columns = _found(given["train"], columns, path)
    for name, part in parts:
        if part is not None:
            _check_columns(given[name], columns, part)
    rows = pd.concat(list(given.values()), ignore_index=True)
    origin = np.repeat(list(given), [len(part) for part in given.values()]).astype(object)
    said = [] if columns.label == "verdict" else _column(rows, "verdict")
    verdicts = np.full(len(rows), np.nan)
    verdicts[: len(said)] = [_verdict(value, number) for number, value in enumerate(said, start=1)]
    names, judgements = _judgements(rows, columns)
    table = pd.DataFrame({
        "id": rows["id"].astype(str) if "id" in rows else np.arange(1, len(rows) + 1),
        "text": rows["text"],
        "verdict": verdicts,
        "verdict_weight": 1.0,
        "tags_weight": 1.0,
        "split": _splits(rows, columns, origin),
        "sample": "people",
        "matches_rule": False,
    })  # fmt: skip
    table = pd.concat([table, pd.DataFrame(judgements, columns=names)], axis=1)
    nothing = np.isnan(verdicts) & np.isnan(judgements).all(axis=1)
    if nothing.all():
        raise ValueError(f"{path}: no row is judged: every verdict, label and tag is empty.")
    verdict = bool((~np.isnan(verdicts)).any())
    task = "verdict" if verdict else "classes" if columns.label else "tags"
    return Judged(table[~nothing].reset_index(drop=True), names, table.loc[nothing, "text"].tolist(), task)


# --- which column holds what ------------------------------------------------------------------------------------


def _found(rows: pd.DataFrame, columns: Columns, path: Path) -> Columns:
    """The columns as named, or as their names and values tell."""
    if sum(map(bool, (columns.tags, columns.label, columns.binary))) > 1:
        raise ValueError(
            "Tags come from one place: name --tags-column, --label-column or --tag-columns, not two."
        )
    split = columns.split or ("split" if "split" in rows else "")
    tags, label, binary = columns.tags, columns.label, columns.binary
    if not (tags or label or binary):
        binary = () if "tags" in rows else _binary_columns(rows)
        tags = "tags" if "tags" in rows else ""
        label = "label" if not (tags or binary) and "label" in rows and "verdict" not in rows else ""
    if not (tags or label or binary or "verdict" in rows):
        raise ValueError(
            f"{path}: nothing to learn from. It needs a column `verdict`, `tags` or `label`, or columns of 0 and 1. "
            f"Found: {', '.join(sorted(map(str, rows.columns)))}."
        )
    return Columns(text=columns.text, tags=tags, label=label, binary=binary, split=split)


def _binary_columns(rows: pd.DataFrame) -> tuple[str, ...]:
    """All columns with nothing but 0, 1 and empty cells, and at least one 1."""

    def is_binary(name: str) -> bool:
        if rows[name].map(lambda value: isinstance(value, list | dict)).any():
            return False
        values = {_cell(value) for value in rows[name].unique()}
        return values <= {*_BINARY, ""} and bool(values & {"1", "1.0", "TRUE"})

    names = [str(name) for name in rows]
    return tuple(name for name in names if name not in _RESERVED and is_binary(name))


def _check_columns(rows: pd.DataFrame, columns: Columns, path: Path) -> None:
    named = [name for name in (columns.tags, columns.label, columns.split, *columns.binary) if name]
    if missing := [name for name in named if name not in rows]:
        raise ValueError(
            f"{path}: no column {', '.join(f'`{name}`' for name in missing)}. "
            f"Found: {', '.join(sorted(map(str, rows.columns)))}."
        )


def _splits(rows: pd.DataFrame, columns: Columns, origin: Any) -> Any:
    """The split of each row: by the column, by the file, by the near-duplicate group."""
    if columns.split:
        named = [_split(value, number) for number, value in enumerate(rows[columns.split], start=1)]
        result = np.array(named, dtype=object)
    elif len(set(origin)) > 1:
        result = origin
    else:
        return _by_group(rows["text"].tolist())
    if "validation" not in result:  # there must be some to choose epochs and thresholds on
        train = np.flatnonzero(result == "train")
        groups_of = _by_group(rows["text"].iloc[train].tolist())
        result[train[groups_of == "validation"]] = "validation"
    return result


def _by_group(values: list[str]) -> Any:
    return groups.splits_of(groups.near_duplicates(values, groups.text_keys(values)))


# --- what a cell says -------------------------------------------------------------------------------------------


def _judgements(rows: pd.DataFrame, columns: Columns) -> tuple[list[str], Any]:
    """Names of the tags, and float [n, tags]: 1, 0, or NaN where not judged."""
    if columns.binary:
        cells = [
            [_zero_or_one(value, name, number) for number, value in enumerate(rows[name], start=1)]
            for name in columns.binary
        ]
        return _checked(list(columns.binary)), np.array(cells, dtype=float).T
    if columns.label:
        tags_of = [_class(value) for value in rows[columns.label]]
    else:
        tags_of = [_tags(value, number) for number, value in enumerate(_column(rows, columns.tags), start=1)]
    names = _checked(sorted({tag for tags in tags_of if tags for tag in tags}))
    if columns.label and len(names) < 2:
        raise ValueError(f"Column `{columns.label}`: {len(names)} classes; at least 2 are needed.")
    judged = np.array([tags is not None for tags in tags_of])
    has = np.array([[name in (tags or ()) for name in names] for tags in tags_of], dtype=float)
    return names, np.where(judged[:, None], has.reshape(len(rows), len(names)), np.nan)


def _checked(names: Sequence[str]) -> list[str]:
    """The library's own columns stand beside those of the tags."""
    if taken := sorted({*names} & {*_COLUMNS, "id", "text", "verdict"}):
        raise ValueError(f"A tag cannot be called {', '.join(taken)}: rename it.")
    return list(names)


def _column(rows: pd.DataFrame, name: str) -> list[Any]:
    return list(rows[name]) if name in rows else [None] * len(rows)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _cell(value: Any) -> str:
    """A cell as text: numbers that pandas widened ("1.0") and booleans as they were."""
    if _missing(value):
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().upper()


def _verdict(value: Any, number: int) -> float:
    if _missing(value) or str(value).strip().lower() in ("", "unsure", "none", "null"):
        return float("nan")
    named = _cell(value)
    if named not in _VERDICTS:
        raise ValueError(
            f"Row {number}: verdict {value!r}; it must be DA, NDA, 1, 0 or empty. Classes of "
            "another kind: --label-column verdict."
        )
    return _VERDICTS[named]


def _zero_or_one(value: Any, name: str, number: int) -> float:
    cell = _cell(value)
    if cell and cell not in _BINARY:
        raise ValueError(f"Row {number}: {name} is {value!r}; it must be 1, 0 or empty.")
    return _BINARY[cell] if cell else float("nan")


def _split(value: Any, number: int) -> str:
    name = str(value).strip().lower()
    if name not in _SPLITS:
        raise ValueError(f"Row {number}: split {value!r}; it must be train, validation (or dev) or test.")
    return _SPLITS[name]


def _class(value: Any) -> list[str] | None:
    if _missing(value) or not str(value).strip():
        return None
    return [str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()]


def _tags(value: Any, number: int) -> list[str] | None:
    if _missing(value):
        return None
    if isinstance(value, list):
        return [str(tag).strip() for tag in value if str(tag).strip()]
    if not isinstance(value, str):
        raise ValueError(
            f"Row {number}: tags {value!r}; they must be a list, or text separated by |, ; or a comma."
        )
    separator = next((mark for mark in "|;," if mark in value), None)
    return [tag.strip() for tag in value.split(separator) if tag.strip()] if separator else (
        [value.strip()] if value.strip() else [])  # fmt: skip


# --- files ------------------------------------------------------------------------------------------------------


def _decoded(path: Path) -> str:
    """The file's text. A stray byte does not matter; a file that is no text is refused."""
    content = path.read_bytes()
    if b"\0" in content[:4096] or content[:4] in (b"PK\x03\x04", b"PAR1"):
        raise ValueError(f"{path}: not a text file. Save it as CSV or JSONL in UTF-8.")
    return content.decode("utf-8-sig", "replace")


def _jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: line {number} is not JSON ({error.msg}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}: line {number} is not a JSON object.")
        rows.append(row)
    return rows


def _csv(path: Path) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_decoded(path), newline=""))
    names = [name for name in reader.fieldnames or () if name]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: two columns are called {', '.join(twice)}.")
    return [{key: value for key, value in row.items() if key and value is not None} for row in reader]
