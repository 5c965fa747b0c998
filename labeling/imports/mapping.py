"""Which column means what, and what the cells of a row say: texts, ids, dates, verdicts, tags.

Knows nothing of Django, so that the child process that reads a file can run it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import isnan
from typing import Any

UNKNOWN_TAGS = ("reject", "create", "ignore")
SEPARATORS = {"|": "bar |", ",": "comma ,", ";": "semicolon ;", "#": "hash #", " ": "space"}

TEXT_CHARS = 25_000  # the longest post that the platform allows
ID_CHARS = 200
TAG_CHARS = 60
EXACT_DIGITS = 10**15  # a spreadsheet keeps 15 digits of a number; longer ids come back rounded

DA, NDA, UNSURE = 1, 0, 2
VERDICT_WORDS = {
    **dict.fromkeys(("da", "1", "true", "yes", "accept"), DA),
    **dict.fromkeys(("nda", "0", "false", "no", "reject"), NDA),
    **dict.fromkeys(("unsure", "2", "?", "maybe"), UNSURE),
    **dict.fromkeys(("", "ignore", "none", "null", "nan"), None),
}
TRUE_WORDS = frozenset({"1", "1.0", "true", "yes", "x"})
FALSE_WORDS = frozenset({"0", "0.0", "false", "no"})


class BadCellError(Exception):
    """The row is rejected for this reason."""


@dataclass(slots=True)
class Mapping:
    """The names of the columns that hold each thing; empty where the file has none."""

    text: str = ""
    id: str = ""
    author: str = ""
    date: str = ""
    tags: str = ""
    verdict: str = ""
    tag_columns: list[str] = field(default_factory=list)  # 0/1 columns, each named after its tag
    separator: str = "|"  # between tags in one cell
    unknown_tags: str = "reject"

    @property
    def wanted(self) -> list[str]:
        """The columns to read, in the order of Cells."""
        named = [self.text, self.id, self.author, self.date, self.tags, self.verdict]
        return [name for name in named if name] + self.tag_columns

    @property
    def judges(self) -> bool:
        return bool(self.tags or self.verdict or self.tag_columns)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mapping:
        """Unknown keys are left out: the row may hold more than the mapping."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})

    def problems(self, columns: Sequence[str]) -> list[str]:
        """Why this mapping cannot be used on a file with these columns; empty when it can."""
        found = []
        if not self.text:
            found.append("Choose the column that holds the text.")
        missing = [name for name in self.wanted if name not in columns]
        if missing:
            found.append(
                f"The file has no column named {', '.join(missing)}. It has: {', '.join(columns[:30])}."
            )
        if self.tags and self.tag_columns:
            found.append("Choose either one column of tags or 0/1 columns, not both.")
        if self.unknown_tags not in UNKNOWN_TAGS:
            found.append(f"Unknown tags: choose one of {', '.join(UNKNOWN_TAGS)}.")
        if not self.separator:
            found.append("Give the character that separates tags in one cell.")
        return found


# Guesses -------------------------------------------------------------------------------------------------

NAMES = {
    "text": "text tweet full_text tweet_text content body message data.text fields.text title post",
    "id": "id tweet_id id_str tweetid status_id external_id post_id data.id uid",
    "author": "author user username screen_name user_name author_id user_id user.screen_name user.id_str handle",
    "date": "created_at date posted_at created timestamp datetime time tweet_created_at",
    "tags": "tags labels label accept annotations.choices categories topics",
    "verdict": "verdict da is_da judgement judgment answer",
}


def guess_mapping(
    columns: Sequence[str],
    samples: Sequence[Sequence[Any]],
    *,
    tags: Iterable[str] = (),
    verdict_words: dict[str, int | None] | None = None,
) -> Mapping:
    """A first mapping from the names of the columns and the first rows. A person or an option may change it."""
    mapping, taken = Mapping(), set[str]()
    for part, names in NAMES.items():
        lower = {column.lower().replace(" ", "_"): column for column in reversed(columns)}
        found = next(
            (lower[name] for name in names.split() if name in lower and lower[name] not in taken), ""
        )
        setattr(mapping, part, found)
        taken.add(found)
    values = {
        column: [row[position] for row in samples if not is_blank(row[position])]
        for position, column in enumerate(columns)
    }
    words = VERDICT_WORDS | (verdict_words or {})
    judged = values.get(mapping.tags, [])
    if judged and all(isinstance(cell, str) and cell.strip().lower() in words for cell in judged):
        mapping.tags, mapping.verdict = "", mapping.verdict or mapping.tags
    if mapping.verdict and not _mostly_verdicts(values[mapping.verdict], words):
        mapping.verdict = ""
    if not mapping.text:
        mapping.text = _longest(columns, values, taken)
    mapping.separator = _guess_separator(values.get(mapping.tags, []))
    if not mapping.tags:
        mapping.tag_columns = _guess_flags(columns, values, {*mapping.wanted}, {tag.lower() for tag in tags})
    return mapping


def _longest(columns: Sequence[str], values: dict[str, list[Any]], taken: set[str]) -> str:
    """The column of the longest texts."""
    lengths = {
        column: sum(len(cell) for cell in values[column] if isinstance(cell, str))
        for column in columns
        if column not in taken
    }
    best = max(lengths, key=lambda column: lengths[column], default="")
    return best if best and lengths[best] else ""


def _guess_separator(cells: Sequence[Any]) -> str:
    texts = [cell for cell in cells if isinstance(cell, str) and not cell.startswith("[")]
    counts = {mark: sum(mark in text.strip("#") for text in texts) for mark in "|;,#"}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else "|"


def _guess_flags(
    columns: Sequence[str], values: dict[str, list[Any]], taken: set[str], tags: set[str]
) -> list[str]:
    """Columns of nothing but 0 and 1; a single one only when a tag has its name."""
    flags = [
        column
        for column in columns
        if column not in taken
        and values[column]
        and all(_word(cell) in TRUE_WORDS | FALSE_WORDS for cell in values[column])
    ]
    return flags if len(flags) > 1 or any(name.lower() in tags for name in flags) else []


# Cells ---------------------------------------------------------------------------------------------------


def is_blank(cell: Any) -> bool:
    return cell is None or cell == "" or (isinstance(cell, float) and isnan(cell))


def _mostly_verdicts(cells: Sequence[Any], words: Iterable[str]) -> bool:
    """A stray word does not turn a column of verdicts into another one: its row is rejected, in sight."""
    known = sum(_word(cell) in words for cell in cells)
    return known * 2 >= len(cells)


def _word(cell: Any) -> str:
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return "" if is_blank(cell) else str(cell).strip().lower()


def text_of(cell: Any) -> str:
    """The text without NUL bytes, which Postgres cannot hold."""
    if is_blank(cell):
        raise BadCellError("The row has no text.")
    text = cell if isinstance(cell, str) else _number_text(cell)
    if "\0" in text:
        text = text.replace("\0", "")
    if not text or text.isspace():
        raise BadCellError("The row has no text.")
    if len(text) > TEXT_CHARS:
        raise BadCellError(f"The text has {len(text):,} characters, more than {TEXT_CHARS:,}.")
    return text


def _number_text(cell: Any) -> str:
    if isinstance(cell, bool | int | float):
        return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    raise BadCellError("The text is neither text nor a number.")


def id_of(cell: Any) -> str:
    """The id as text, exactly as given. Refuses numbers that a spreadsheet has rounded."""
    if isinstance(cell, str):
        name = cell.strip()
        if "\0" in name:
            name = name.replace("\0", "")
        if "E+" in name and _ROUNDED.fullmatch(name):
            raise BadCellError(_ROUNDED_ADVICE)
    elif is_blank(cell):
        return ""
    elif isinstance(cell, float):
        if not abs(cell) < EXACT_DIGITS:
            raise BadCellError(_ROUNDED_ADVICE)
        name = _number_text(cell)
    elif isinstance(cell, int) and not isinstance(cell, bool):
        name = str(cell)
    else:
        raise BadCellError("The id is neither text nor a whole number.")
    if len(name) > ID_CHARS:
        raise BadCellError(f"The id is longer than {ID_CHARS} characters.")
    return name


_ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+")
_ROUNDED_ADVICE = (
    "The id is a number that a spreadsheet has rounded to 15 digits. Format the id column as text in the "
    "original file, or export CSV or JSONL from the source."
)

_MONTHS = {
    name: n
    for n, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def date_of(cell: Any) -> datetime | None:
    """ISO 8601, Twitter's "Wed Oct 10 20:19:24 +0000 2018", RFC 2822, epoch seconds or milliseconds.

    A time without a zone is UTC. Raises ValueError for what is none of these; None for an empty cell.
    Day/month/year in figures is not read: 4/5/2019 is two days.
    """
    if isinstance(cell, str):
        cell = cell.strip()
        if not cell:
            return None
        found = _parsed(cell)
    elif is_blank(cell):
        return None
    elif isinstance(cell, bool):
        raise ValueError(cell)
    elif isinstance(cell, int | float):
        found = _from_epoch(float(cell))
    elif isinstance(cell, datetime):
        found = cell
    else:  # a date, or something that is no date at all
        found = datetime.fromisoformat(str(cell))
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if not 1900 <= found.year <= 2200:
        raise ValueError(cell)
    return found


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    parts = text.split()
    if len(parts) == 6 and parts[1] in _MONTHS:
        return datetime.fromisoformat(
            f"{int(parts[5]):04}-{_MONTHS[parts[1]]:02}-{int(parts[2]):02}T{parts[3]}{parts[4]}"
        )
    try:
        return _from_epoch(float(text))
    except ValueError:
        return parsedate_to_datetime(text)


def _from_epoch(number: float) -> datetime:
    """Seconds from 1973 to 2128, or the same in milliseconds."""
    if 1e11 <= abs(number) < 5e12:
        number /= 1000
    if not 1e8 <= number < 5e9:
        raise ValueError(number)
    return _EPOCH + timedelta(seconds=number)


def verdict_of(cell: Any, words: dict[str, int | None]) -> int | None:
    word = _word(cell)
    try:
        return words[word]
    except KeyError:
        raise BadCellError(
            f"The verdict “{word[:40]}” is not known. Use DA, NDA, unsure or nothing."
        ) from None


def tags_of(cell: Any, separator: str) -> list[str] | None:
    """Names of the tags, in order. [] says judged, none of them; None (an empty cell) says not judged."""
    if is_blank(cell):
        return None
    if isinstance(cell, str):
        cell = cell.strip()
        if not cell:
            return None
        if cell.startswith("["):
            try:
                cell = json.loads(cell)
            except (ValueError, RecursionError):
                raise BadCellError("The tags begin like a JSON list but are not one.") from None
        else:
            cell = cell.split(separator)
    if not isinstance(cell, list | tuple):
        raise BadCellError("The tags are neither text nor a list.")
    names = [clean_tag(name) for name in cell if not is_blank(name)]
    return list(dict.fromkeys(name for name in names if name))


def clean_tag(name: Any) -> str:
    if not isinstance(name, str):
        if not isinstance(name, int | float):
            raise BadCellError("A tag is neither text nor a number.")
        name = str(name)
    name = " ".join(name.replace("\0", "").strip().removeprefix("__label__").split())
    if len(name) > TAG_CHARS:
        raise BadCellError(f"The tag “{name[:40]}…” is longer than {TAG_CHARS} characters.")
    return str(name)


def flags_of(cells: Sequence[Any], names: Sequence[str]) -> list[str] | None:
    """Names of the 0/1 columns that say 1; None when all are empty."""
    given, judged = [], False
    for cell, name in zip(cells, names, strict=True):
        word = _word(cell)
        if word in TRUE_WORDS:
            given.append(clean_tag(name))
        elif word and word not in FALSE_WORDS:
            raise BadCellError(f"The column {name} says “{word[:40]}” where 0 or 1 belongs.")
        judged = judged or bool(word)
    return given if judged else None
