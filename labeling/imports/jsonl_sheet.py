"""JSONL: one object on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from labeling.imports.byte_streams import Line, Lines, Position, fraction
from labeling.imports.sheets import (
    BadRow,
    Block,
    Limits,
    Row,
    Sheet,
    UnreadableFileError,
    in_blocks,
    positions,
)

SAMPLED_LINES = 200  # of a file, to learn its columns


class JsonlSheet(Sheet):
    """One object on each line. The columns are the keys of the first lines; a.b is key b inside key a."""

    format = "JSONL"

    def __init__(self, lines: Lines, position: Position, limits: Limits) -> None:
        self.lines, self.position, self.limits = lines, position, limits
        first: list[Line] = []
        names: dict[str, None] = {}
        for line in lines:
            first.append((lines.number, line))
            value = _object(line)
            for name in _keys(value) if isinstance(value, dict) else ():
                names[name] = None
            if len(first) >= SAMPLED_LINES or len(names) > limits.columns:
                break
        lines.give_back(first)
        if not names:
            raise UnreadableFileError("No line of the file is a JSON object with keys.")
        if len(names) > limits.columns:
            raise UnreadableFileError(
                f"The objects have more than {limits.columns:,} keys. Keep those you need."
            )
        self.columns = list(names)

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        positions(self.columns, wanted)
        return in_blocks(self._read(wanted))

    def _read(self, wanted: Sequence[str]) -> Iterator[Row | BadRow]:
        lines, paths = self.lines, [(name, *name.partition(".")[::2]) for name in wanted]
        for line in lines:
            if lines.bad:
                yield from lines.take_bad()
            value = _object(line)
            if isinstance(value, dict):
                yield lines.number, [_value(value, *path) for path in paths]
            elif line.strip():
                reason = value if isinstance(value, str) else "The line is not a JSON object."
                yield BadRow(lines.number, reason, line.strip()[:1000])
        yield from lines.take_bad()

    def fraction_read(self) -> float:
        return fraction(self.position)


def _object(line: str) -> Any:
    """The object of a line, or the reason why there is none."""
    try:
        value = json.loads(line)
    except RecursionError:
        return "The JSON is nested too deeply."
    except ValueError as error:
        return f"The line is not JSON: {str(error)[:100]}."
    return value if isinstance(value, dict) else None


def _keys(value: dict[str, Any]) -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from (f"{key}.{name}" for name in inner)
        elif key == "annotations" and _choices(inner):
            yield "annotations.choices"
        else:
            yield key


def _value(row: dict[str, Any], name: str, outer: str, inner: str) -> Any:
    if name in row or not inner:
        return row.get(name)
    value = row.get(outer)
    if isinstance(value, list):
        return _choices(value)
    return value.get(inner) if isinstance(value, dict) else None


def _choices(annotations: Any) -> list[str]:
    """The choices in an exported Label Studio task: annotations[].result[].value.choices."""
    found: list[str] = []
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        for result in results if isinstance(results, list) else ():
            value = result.get("value") if isinstance(result, dict) else None
            choices = value.get("choices") if isinstance(value, dict) else None
            found += [str(choice) for choice in choices] if isinstance(choices, list) else []
    return found
