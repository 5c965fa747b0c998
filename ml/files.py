"""Reading the plain files of the library's own commands: JSONL or CSV with text, verdict, tags."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml import groups

csv.field_size_limit(1 << 24)

_VERDICTS = {"DA": 1.0, "NDA": 0.0, "1": 1.0, "0": 0.0, "TRUE": 1.0, "FALSE": 0.0}


def read(path: Path) -> pd.DataFrame:
    """Rows as they are, one column per field, all present values kept. Raises ValueError with the line number."""
    rows = _jsonl(path) if path.suffix in (".jsonl", ".json", ".ndjson") else _csv(path)
    if not rows:
        raise ValueError(f"{path}: no rows. It needs a header (CSV) or one JSON object a line (JSONL).")
    if not any("text" in row for row in rows):
        raise ValueError(f"{path}: no column `text`. Found: {', '.join(sorted(rows[0]))}.")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("text"), str):
            raise ValueError(f"{path}: row {number} has no text.")
    return pd.DataFrame(rows)


def examples(path: Path) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The table that ml.train.train takes, the tags in it, and the texts without any judgement.

    verdict: DA, NDA, 1, 0, or empty. tags: a list, or a cell with tags separated by "|", ";" or ","; empty text or
    list: none of them; absent (null, or no such column): not judged. Splits follow the near-duplicate groups.
    """
    rows = read(path)
    count = len(rows)
    verdicts = [_verdict(value, number) for number, value in enumerate(_column(rows, "verdict"), start=1)]
    tags_of = [_tags(value) for value in _column(rows, "tags")]
    names = sorted({tag for tags in tags_of if tags for tag in tags})
    texts = rows["text"].tolist()
    clusters = groups.near_duplicates(texts, groups.text_keys(texts))
    table = pd.DataFrame({
        "id": rows["id"].astype(str) if "id" in rows else np.arange(1, count + 1),
        "text": texts,
        "verdict": verdicts,
        "verdict_weight": 1.0,
        "tags_weight": 1.0,
        "split": groups.splits_of(clusters),
        "sample": "people",
        "matches_rule": False,
    })  # fmt: skip
    judged = np.array([tags is not None for tags in tags_of])
    columns = {
        name: np.where(judged, [float(name in (tags or ())) for tags in tags_of], np.nan) for name in names
    }
    table = pd.concat([table, pd.DataFrame(columns)], axis=1)
    nothing = np.isnan(np.array(verdicts)) & ~judged
    return table[~nothing].reset_index(drop=True), names, table.loc[nothing, "text"].tolist()


def _jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
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
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        return [
            {key: value for key, value in row.items() if key and value is not None}
            for row in csv.DictReader(lines)
        ]


def _column(rows: pd.DataFrame, name: str) -> list[Any]:
    return list(rows[name]) if name in rows else [None] * len(rows)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _verdict(value: Any, number: int) -> float:
    if _missing(value) or str(value).strip().lower() in ("", "unsure", "none", "null"):
        return float("nan")
    named = str(int(value) if isinstance(value, bool | float) else value).strip().upper()
    if named not in _VERDICTS:
        raise ValueError(f"Row {number}: verdict {value!r}; it must be DA, NDA, 1, 0 or empty.")
    return _VERDICTS[named]


def _tags(value: Any) -> list[str] | None:
    if _missing(value):
        return None
    if isinstance(value, list):
        return [str(tag).strip() for tag in value if str(tag).strip()]
    separator = next((mark for mark in "|;," if mark in value), None)
    return [tag.strip() for tag in str(value).split(separator) if tag.strip()] if separator else (
        [value.strip()] if value.strip() else [])  # fmt: skip
