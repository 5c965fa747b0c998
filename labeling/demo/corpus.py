"""Writes the demo's invented tweets to files, and what is true of them to a file of its own.

The truth is for tests and evaluation. Nothing in the product reads it: what training learns of the demo comes
from the tags in specific.csv, the rules, and the demo analysts, who are sometimes wrong.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from labeling import lexicon
from labeling.demo.grammar import DA_KEYWORD, DA_WITHOUT, EVERYDAY, HARD, HASHTAGS, NDA_KEYWORD, SLOTS, Family
from labeling.rules import RuleLine, RuleSet

SPECIFIC_DA = 0.48  # of the specific tweets
GENERAL_NEWS = 0.015  # of the general tweets: drug news and the like
GENERAL_DA = 0.01
GENERAL_DA_WITHOUT_KEYWORD = 0.45  # of the DA general tweets
GENERAL_HARD = 0.14  # of the general tweets: everyday, but in words or situations that resemble the others
COPIES = 0.03  # retweets and near copies
WRONG_TAG = 0.06  # of the specific tweets: a tag too many or too few, as collectors make mistakes

FIRST_DAY = datetime(2023, 1, 1, tzinfo=UTC)
DAYS = 730
FIRST_ID = 9_000_000_000_000_000_000  # far beyond what the platform has reached: no real tweet has these ids


@dataclass(frozen=True)
class Invented:
    """One tweet and the truth about it."""

    id: str
    text: str
    author: str
    created_at: str
    verdict: str
    tags: tuple[str, ...]  # true
    given_tags: tuple[str, ...]  # in the file, where tags are given
    has_keyword: bool


@dataclass
class Files:
    specific: Path
    general: Path
    truth: Path

    @classmethod
    def under(cls, folder: Path) -> Files:
        return cls(
            folder / "demo-specific.csv", folder / "demo-general.jsonl.gz", folder / "truth" / "truth.jsonl"
        )


# Filling templates -------------------------------------------------------------------------------------------


@cache
def _parts(template: str) -> tuple[tuple[str, bool], ...]:
    """("took ", False), ("opi", True), …: pieces of text and names of slots."""
    pieces = re.split(r"\{(\w+)\}", template)
    return tuple((piece, place % 2 == 1) for place, piece in enumerate(pieces) if piece)


@cache
def _alternative(text: str) -> tuple[str, tuple[str, ...]]:
    """“percs ^oxycodone” → what is written, and the tags that it brings."""
    written, _, tags = text.partition("^")
    return written.strip(), tuple(tag.strip() for tag in tags.split(",") if tag.strip())


def fill(template: str, rng: random.Random, tags: set[str]) -> str:
    """A template with its slots filled; adds the tags that the fillings bring."""
    written, own = _alternative(template)
    tags.update(own)
    return "".join(
        fill(rng.choice(SLOTS[piece]), rng, tags) if is_slot else piece for piece, is_slot in _parts(written)
    )


# Making it look typed ---------------------------------------------------------------------------------------

SHORT = {
    "you": "u", "are": "r", "going to": "gonna", "because": "cuz", "want to": "wanna", "don't": "dont",
    "can't": "cant", "i'm": "im", "without": "w/o", "with": "w/", "really": "rly", "people": "ppl",
    "tonight": "2nite", "right now": "rn", "about": "abt", "to": "2", "and": "&", "they": "dey", "before": "b4",
    "something": "smth", "please": "pls", "that's": "thats", "it's": "its", "won't": "wont", "my": "ma",
}  # fmt: skip
SHORT_WORD = re.compile(r"\b(" + "|".join(map(re.escape, SHORT)) + r")\b")
STARTS = ("ok so", "honestly", "ngl", "lowkey", "update:", "not gonna lie", "fr", "guys", "so", "man", "plot twist:",
          "fun fact:", "confession:", "today's mood:", "reminder:", "tbh", "meanwhile", "hear me out:", "help,", "yo")  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyz"
NAMES = ("marlow", "pixel", "juniper", "wren", "tansy", "otis", "quill", "bramble", "saffron", "dusty", "ziggy",
         "fern", "moss", "pogo", "lark", "basil", "comet", "nimbus", "rowan", "clem", "tofu", "gizmo", "opal")  # fmt: skip


def handle(rng: random.Random) -> str:
    return f"@demo_{rng.choice(NAMES)}{rng.randrange(1000)}"


def link(rng: random.Random) -> str:
    return "https://example.com/" + "".join(rng.choices(LETTERS + "0123456789", k=6))


def typo(text: str, rng: random.Random) -> str:
    """One slip of the finger: a letter left out, doubled, or changed places with the next."""
    place = rng.randrange(max(1, len(text) - 1))
    if not text[place].isalpha() or "@" in text:  # a handle with a slip could be somebody's
        return text
    kind = rng.randrange(3)
    if kind == 0:
        return text[:place] + text[place + 1 :]
    if kind == 1:
        return text[:place] + text[place] + text[place:]
    return text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :]


def cased(text: str, rng: random.Random, *, is_news: bool) -> str:
    kind = rng.random()
    if is_news or kind < 0.35:
        text = re.sub(r"\bi\b", "I", text)
        return re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    return text.upper() if kind > 0.985 else text


def dress(text: str, family: Family, rng: random.Random, tags: set[str]) -> str:
    """Opener, slang, typos, case, emoji, hashtags, handles and links, as people strew them about."""
    is_news = family.hashtags == "news"
    if not is_news:
        if rng.random() < 0.16:
            text = f"{rng.choice(STARTS)} {text}"
        if rng.random() < 0.2:
            text = SHORT_WORD.sub(lambda m: SHORT[m[1]] if rng.random() < 0.6 else m[1], text)
        while rng.random() < 0.09:
            text = typo(text, rng)
    text = cased(text, rng, is_news=is_news)
    if rng.random() < 0.3:
        text += rng.choice((".", "!", "...", "!!", " …", "?", " smh", " fr", " 🙄", " haha", " ugh", " ok?"))
    if not is_news and rng.random() < 0.2:
        emoji = SLOTS["dazeemoji" if family.verdict == "DA" and rng.random() < 0.5 else "emoji"]
        text += " " + rng.choice(emoji) * rng.choice((1, 1, 1, 2, 3))
    if rng.random() < (0.4 if is_news else 0.12):
        for chosen in rng.sample(HASHTAGS[family.hashtags], k=rng.choice((1, 1, 2))):
            written, brings = _alternative(chosen)
            tags.update(brings)
            text += f" {written}"
    if rng.random() < 0.1:
        text = f"{handle(rng)} {text}"
    if rng.random() < family.link:
        text += f" {link(rng)}"
    return text


# Whole tweets -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draft:
    """A text that is not yet anybody's tweet."""

    text: str
    family: Family
    tags: tuple[str, ...]
    has_keyword: bool


class Generator:
    """Draws invented tweets. The same seed and counts give the same tweets."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - invented texts, nothing secret
        self.rules = starter_rules()
        self.seen: set[str] = set()
        self.recent: list[Draft] = []  # what may be retweeted
        self.made = 0

    def specific(self, count: int) -> Iterator[Invented]:
        """Tweets as a search for keywords finds them: half of them are news, help, patients and jokes."""
        for kind in self._shuffled(count, {"da": SPECIFIC_DA}, rest="nda"):
            families = DA_KEYWORD if kind == "da" else NDA_KEYWORD
            yield self._invented(self._draft(families, keyword=True), gives_tags=True)

    def general(self, count: int) -> Iterator[Invented]:
        """Tweets as they come: DA is rare, and often without a keyword."""
        shares = {
            "without": GENERAL_DA * GENERAL_DA_WITHOUT_KEYWORD,
            "da": GENERAL_DA * (1 - GENERAL_DA_WITHOUT_KEYWORD),
            "news": GENERAL_NEWS,
            "hard": GENERAL_HARD,
        }
        families = {
            "without": DA_WITHOUT,
            "da": DA_KEYWORD,
            "news": NDA_KEYWORD,
            "hard": HARD,
            "rest": EVERYDAY,
        }
        keyword = {"without": False, "da": True}
        for kind in self._shuffled(count, shares, rest="rest"):
            yield self._invented(self._draft(families[kind], keyword=keyword.get(kind)), gives_tags=False)

    def _shuffled(self, count: int, shares: dict[str, float], *, rest: str) -> list[str]:
        """Exact shares, in random order."""
        kinds = [kind for kind, share in shares.items() for _ in range(round(count * share))]
        kinds += [rest] * (count - len(kinds))
        self.rng.shuffle(kinds)
        return kinds

    def _draft(self, families: Sequence[Family], *, keyword: bool | None) -> Draft:
        """A text that nobody has yet; with a keyword, without one, or (None) either way."""
        weights = [family.weight for family in families]
        for attempt in range(20):
            family = self.rng.choices(families, weights)[0]
            draft = self._copy(family) or self._fresh(family)
            if draft.text in self.seen and attempt < 10:
                continue
            if keyword is None or draft.has_keyword == keyword or draft.family.wrong_tags:
                break
        self.seen.add(draft.text)
        if draft.family.verdict == "NDA" and self.rng.random() < 0.2:
            self.recent = [*self.recent[-300:], draft]
        return draft

    def _fresh(self, family: Family) -> Draft:
        tags: set[str] = set(family.tags)
        text = dress(fill(self.rng.choice(family.templates), self.rng, tags), family, self.rng, tags)
        return Draft(text[:280], family, tuple(sorted(tags)), bool(self.rules.match([text])[0]))

    def _copy(self, family: Family) -> Draft | None:
        """Now and then: a retweet or a near copy of something recent of the same kind."""
        alike = [draft for draft in self.recent[-60:] if draft.family is family]
        if self.rng.random() >= COPIES or not alike:
            return None
        first = self.rng.choice(alike)
        changes = (
            f"RT {handle(self.rng)}: {first.text}",
            f"{first.text} {self.rng.choice(SLOTS['emoji'])}",
            f"{first.text} via {handle(self.rng)}",
            f"this. {first.text}",
        )
        return Draft(self.rng.choice(changes)[:280], family, first.tags, first.has_keyword)

    def _invented(self, draft: Draft, *, gives_tags: bool) -> Invented:
        rng = self.rng
        self.made += 1
        when = FIRST_DAY + timedelta(days=rng.randrange(DAYS), seconds=int(rng.triangular(0, 86_399, 72_000)))
        return Invented(
            id=str(FIRST_ID + self.made * 1_000_003 + rng.randrange(1_000_000)),
            text=draft.text,
            author=f"demo_{rng.choice(NAMES)}_{self.made}",
            created_at=when.isoformat().replace("+00:00", "Z"),
            verdict=draft.family.verdict,
            tags=draft.tags,
            given_tags=self._given(draft) if gives_tags else (),
            has_keyword=draft.has_keyword,
        )

    def _given(self, draft: Draft) -> tuple[str, ...]:
        """The collector's tags: the true ones, with a slip now and then; never none."""
        tags = set(draft.tags) or set(draft.family.wrong_tags) or {"opioids"}
        if self.rng.random() < WRONG_TAG:
            if len(tags) > 1:
                tags.discard(self.rng.choice(sorted(tags)))
            else:
                tags.add(self.rng.choice(("opioids", "addiction", "policy & news", "pain")))
        return tuple(sorted(tags))


def starter_rules() -> RuleSet:
    """The starter lexicon's rules, without a database; tags numbered in their order in the file."""
    ids: dict[str, int] = {}
    found = []
    with lexicon.STARTER.open(encoding="utf-8") as file:
        for _, row in lexicon.read_rows(file, name=lexicon.STARTER.name):
            if isinstance(row, dict) and "pattern" in row:
                tag_id = ids.setdefault(row["tag"], len(ids) + 1)
                found.append(RuleLine(tag_id, row["kind"], row["pattern"], bool(row["exclusion"])))
    return RuleSet(found)


# Files -------------------------------------------------------------------------------------------------------


def write_files(folder: Path, *, specific: int, general: int, seed: int) -> Files:
    """Write the three files, replacing older ones; returns where they are. About 15,000 tweets a second."""
    files = Files.under(folder)
    files.truth.parent.mkdir(parents=True, exist_ok=True)
    generator = Generator(seed)
    with files.truth.open("w", encoding="utf-8") as truth:
        with files.specific.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("id", "text", "author", "created_at", "tags"))
            for tweet in generator.specific(specific):
                table.writerow(
                    (tweet.id, tweet.text, tweet.author, tweet.created_at, ";".join(tweet.given_tags))
                )
                truth.write(_truth_line(tweet, "specific"))
        with gzip.GzipFile(
            files.general, "wb", compresslevel=3, mtime=0
        ) as packed:  # the same bytes every time
            for tweet in generator.general(general):
                row = {
                    "id": tweet.id,
                    "text": tweet.text,
                    "author": tweet.author,
                    "created_at": tweet.created_at,
                }
                packed.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
                truth.write(_truth_line(tweet, "general"))
    return files


def _truth_line(tweet: Invented, source: str) -> str:
    row = {
        "id": tweet.id,
        "source": source,
        "verdict": tweet.verdict,
        "tags": tweet.tags,
        "has_keyword": tweet.has_keyword,
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_truth(path: Path) -> dict[str, dict[str, Any]]:
    """Truth by tweet id: {"source", "verdict", "tags", "has_keyword"}."""
    with path.open(encoding="utf-8") as file:
        return {row.pop("id"): row for row in map(json.loads, file)}
