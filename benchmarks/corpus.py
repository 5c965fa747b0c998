"""Makes a corpus of any size: general tweets without tags and specific ones with tags, as Parquet and CSV.

    python benchmarks/corpus.py FOLDER --rows 20000000 [--specific 100000] [--seed 1] [--formats parquet,csv]

Writes general.parquet, general.csv, specific.parquet, specific.csv and corpus.json, which says how many rows are
duplicates. Columns: id, text, author, created_at; specific has tags, too. Equal arguments make equal files, and a
smaller corpus is the beginning of a larger one. Every word is invented or common English, every id lies beyond what
the platform has reached. About a million rows a second on one core, in the same memory whatever the size.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

ROOT = Path(__file__).resolve().parent.parent
LEXICON = ROOT / "labeling" / "lexicon" / "opioid_monitoring.jsonl"

CHUNK = 1 << 18  # rows made at once
GROUP = 1 << 20  # rows in a row group of Parquet, as pyarrow and pandas write them
ORIGINALS = 1 << 16  # rows of the first chunk that later chunks copy

VOCABULARY = 300_000
ZIPF = 1.1  # exponent of the frequency of words by rank
TABLE = 1 << 22  # a word is drawn by one look into a table of so many entries
WORDS = (7, 18)  # in a tweet, apart from link, handle, hashtag and emoji

DUPLICATES = 0.01  # rows that repeat an id
NEAR_COPIES = 0.02  # rows that repeat a text with another link, half of them as a retweet
LINKS, HANDLES, HASHTAGS, EMOJI, BREAKS = 0.22, 0.18, 0.09, 0.08, 0.01
TERMS = 0.015  # general tweets that name a drug
LIKE_SPECIFIC = 0.012  # general tweets that talk like the specific ones; few of them name a drug
TOPIC_WORDS, TOPIC_SHARE = 1_500, 0.3  # how specific tweets differ beyond the terms

FIRST_ID = 9_000_000_000_000_000_000
FIRST_DAY = np.datetime64("2023-01-01T00:00:00", "s")
SECONDS = 2 * 365 * 24 * 3600
SLOT_BITS, ID_STEP = 40, 1 << 17
GOLDEN = 679_891_637_639  # odd, near 2**40 / golden ratio: consecutive rows lie far apart in time

COMMON = """the i to a and is you in it of for my me on that so this just be with have at are not but was up all
what if like out get when no do your go one they now know can we love how time good day got lol from its don't about
want see he people will as new back too going more by or who why am her need today never she make think really there
life has right man an still then some his last im here always work even because had would night them better way
feel off only been u come happy say im over after us their girl much best year every than this week home well look
take first did down where into being should again great thing school wait sleep him these other gonna before someone
show watch someone play two next while were our thank oh hate please bad could let hope yeah big phone ever guys
tonight other made ready old same food done money morning rain coffee game friends weekend mom dad brother sister car
bed room party class test job boss pay dog cat music song movie book story news house street city bus train sun snow
help call text talk ask tell hear run walk eat drink cook buy sell find lose win keep leave stay start stop change"""
EMOJIS = "😂 😭 ❤️ 😍 🙄 💯 🔥 🙏 😩 👀 💀 🤔 ✨ 😊 🎉 ☀️ 😂😂 😭😭😭 👏 🤷‍♀️ 💊 😴"
ACCENTED = "café niño über façade señor más está château piñata coração straße naïve açaí día años können"
HEADS = "b bl br c ch cl cr d dr f fl fr g gr h j k l m n p pl pr qu r s sh st t tr v w z"
CORES = "a e i o u ai ea ee ie oo ou"
TAILS = "n r s t l m ck nd ng st ly er ed ing y"
ENDS = [
    "",
    "",
    "",
    "",
    "",
    ".",
    "!",
    "?",
    "...",
    "…",
    "!!",
    " lol",
    " smh",
    ' "or so they say"',
    ", ok?",
    " — really",
]


@dataclass
class Counts:
    rows: int = 0
    duplicates: int = 0
    near_copies: int = 0
    text_bytes: int = 0


@dataclass(frozen=True)
class Pools:
    """What tweets are made of. Ids of words are positions in `words`, commonest first."""

    words: pa.Array
    table: np.ndarray  # word ids, each as often as Zipf's law wants it
    topic: np.ndarray  # word ids that the specific tweets prefer
    terms: pa.Array
    tag_of_term: np.ndarray
    tags: list[str]


@cache
def pools() -> Pools:
    words = list(dict.fromkeys(f"{COMMON} {ACCENTED}".split()))
    words += _invented_words(VOCABULARY - len(words))
    weights = 1 / np.arange(1, len(words) + 1) ** ZIPF
    table = np.searchsorted(np.cumsum(weights) / weights.sum(), (np.arange(TABLE) + 0.5) / TABLE)
    topic = np.random.default_rng(11).permutation(np.arange(50, 20_000))[:TOPIC_WORDS]
    rules = [json.loads(line) for line in LEXICON.read_text().splitlines()]
    chosen = [
        (rule["pattern"], rule["tag"])
        for rule in rules
        if rule.get("kind") in ("term", "phrase") and not rule["exclusion"]
    ]
    tags = sorted({tag for _, tag in chosen})
    numbers = np.array([tags.index(tag) for _, tag in chosen])
    terms = pa.array([term for term, _ in chosen])
    return Pools(pa.array(words), table.astype(np.int32), topic.astype(np.int32), terms, numbers, tags)


def _invented_words(count: int) -> list[str]:
    """Words that can be pronounced; rarer ones are longer. One in fifty is a number or has an accent."""
    random = np.random.default_rng(7)
    heads, cores, tails = (np.array(parts.split()) for parts in (HEADS, CORES, TAILS))
    found: dict[str, None] = {}
    for syllables, enough in ((1, 4_000), (2, 100_000), (3, count)):
        while len(found) < min(enough, count):
            size = min(20_000, enough)
            made = np.array([""])
            for _ in range(syllables):
                made = np.char.add(made, np.char.add(random.choice(heads, size), random.choice(cores, size)))
            made = np.char.add(made, random.choice(tails, size))
            numbers = np.flatnonzero(random.random(size) < 0.01)
            made[numbers] = random.integers(1, 99_999, len(numbers)).astype(str)
            accented = np.flatnonzero(random.random(size) < 0.01)
            made[accented] = np.char.replace(np.char.replace(made[accented], "e", "é"), "o", "ö")
            found.update(dict.fromkeys(made[: min(enough, count) - len(found)].tolist()))
    return list(found)[:count]


# One chunk ----------------------------------------------------------------------------------------------------


@dataclass
class Rows:
    """Tweets before copies are made of them: the text is head + body + tail."""

    number: np.ndarray  # of the row that came first with this id
    head: pa.Array
    body: pa.Array
    tail: pa.Array
    tags: pa.Array

    def take(self, places: np.ndarray) -> Rows:
        columns = (self.head, self.body, self.tail, self.tags)
        return Rows(self.number[places], *(column.take(pa.array(places)) for column in columns))

    def text(self) -> pa.Array:
        return pc.binary_join_element_wise(self.head, self.body, self.tail, "")


def fresh_rows(first: int, count: int, *, specific: bool, seed: int) -> Rows:
    """Rows first … first + count - 1, none of them a copy."""
    random = np.random.Generator(np.random.SFC64([seed, first, specific]))
    pool = pools()
    lengths = random.integers(WORDS[0], WORDS[1] + 1, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    words = pool.table[random.integers(0, TABLE, offsets[-1], dtype=np.int32)]
    like = np.ones(count, bool) if specific else random.random(count) < LIKE_SPECIFIC
    topical = np.flatnonzero(np.repeat(like, lengths))
    topical = topical[random.random(len(topical)) < TOPIC_SHARE]
    words[topical] = pool.topic[random.integers(0, len(pool.topic), len(topical))]
    tokens = pool.words.take(pa.array(words))
    body = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), tokens), " ")
    terms, tags = _terms(random, count, like, specific=specific)
    body = pc.binary_join_element_wise(body, terms, _some(random, count, 1, ENDS), "")
    extras = [
        _some(random, count, HASHTAGS, [f" #{word}" for word in pool.words[200:3_000].to_pylist()]),
        _some(random, count, EMOJI, [f" {emoji}" for emoji in EMOJIS.split()]),
        _some(random, count, BREAKS, ["\n\nread this", '\n"so true"', "\n- first\n- second"]),
    ]
    body = pc.binary_join_element_wise(body, *extras, "")
    head = _maybe(random, HANDLES, _handles(random, count), " ")
    tail = _maybe(random, LINKS, _links(random, count), "")
    return Rows(np.arange(first, first + count), head, body, tail, tags)


def _terms(
    random: np.random.Generator, count: int, like: np.ndarray, *, specific: bool
) -> tuple[pa.Array, pa.Array]:
    """ " oxy" or "", and its tag: one or two terms in every specific tweet, few in the others."""
    pool = pools()
    padded = pa.concat_arrays([pc.binary_join_element_wise(" ", pool.terms, ""), pa.array([""])])
    tag_names = pa.array([*pool.tags, ""])
    tag_of_term = np.append(pool.tag_of_term, len(pool.tags))
    # Half of what people write is of a few terms.
    first = (len(pool.terms) * random.random(count) ** 2).astype(np.int32)
    second = (len(pool.terms) * random.random(count) ** 2).astype(np.int32)
    none = len(pool.terms)
    if specific:
        second[random.random(count) > 0.35] = none
    else:
        first[random.random(count) > np.where(like, 0.2, TERMS)] = none
        second[:] = none
    terms = pc.binary_join_element_wise(padded.take(pa.array(first)), padded.take(pa.array(second)), "")
    one, two = tag_of_term[first], tag_of_term[second]
    two = np.where(two == one, len(pool.tags), two)
    separator = pa.array(np.where(two < len(pool.tags), ";", ""))
    tags = pc.binary_join_element_wise(
        tag_names.take(pa.array(one)), separator, tag_names.take(pa.array(two)), ""
    )
    return terms, tags


def _some(random: np.random.Generator, count: int, share: float, choices: list[str]) -> pa.Array:
    """One of the choices for a share of the rows, "" for the others."""
    pick = random.integers(1, len(choices) + 1, count)
    pick[random.random(count) >= share] = 0
    return pa.array(["", *choices]).take(pa.array(pick))


def _maybe(random: np.random.Generator, share: float, values: pa.Array, end: str) -> pa.Array:
    wanted = pa.array(random.random(len(values)) < share)
    return pc.if_else(wanted, pc.binary_join_element_wise(values, end, ""), "")


def _handles(random: np.random.Generator, count: int) -> pa.Array:
    """@demo_ and a number: a few accounts are addressed often, most once."""
    numbers = (4_000_000 * random.random(count) ** 3).astype(np.int64)
    return pc.binary_join_element_wise("@demo_", pa.array(numbers).cast(pa.string()), "")


LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789AB", np.uint8)


def _links(random: np.random.Generator, count: int) -> pa.Array:
    """https://example.com/ and eight letters, hardly ever the same."""
    letters = LETTERS[random.integers(0, 64, (count, 8), dtype=np.uint8)]
    codes = pa.Array.from_buffers(
        pa.string(),
        count,
        [None, pa.py_buffer(np.arange(0, 8 * count + 1, 8, dtype=np.int32)), pa.py_buffer(letters)],
    )
    return pc.binary_join_element_wise(" https://example.com/", codes, "")


# Copies, ids, dates -------------------------------------------------------------------------------------------


def chunks(rows: int, *, specific: bool = False, seed: int = 1) -> Iterator[tuple[pa.Table, Counts]]:
    """The corpus in tables of at most CHUNK rows, with what each of them holds."""
    originals = fresh_rows(0, CHUNK, specific=specific, seed=seed).take(np.arange(ORIGINALS))
    for first in range(0, rows, CHUNK):
        made, near = _with_copies(
            fresh_rows(first, CHUNK, specific=specific, seed=seed), originals, first, seed
        )
        table = _table(made, specific=specific, size=min(CHUNK, rows - first))
        yield table, _count(made.number, near, first, table)


def _with_copies(rows: Rows, originals: Rows, first: int, seed: int) -> tuple[Rows, np.ndarray]:
    """Some rows made into copies of earlier ones of this chunk or of the first; the places of near copies."""
    count = len(rows.number)
    random = np.random.Generator(np.random.SFC64([seed, first, 2]))
    kind = random.random(count)
    kind[: count // 64] = 1  # the first rows are nobody's copy, so that there is something to copy
    copies = kind < DUPLICATES + NEAR_COPIES
    near = copies & (kind >= DUPLICATES)
    keeps = np.flatnonzero(~copies)
    earlier = np.cumsum(~copies) - 1  # how many originals stand before each place
    source = np.arange(count)
    source[copies] = keeps[(random.random(copies.sum()) * earlier[copies]).astype(np.int64)]
    if first:  # half of them from the first chunk, far away
        far = copies & (random.random(count) < 0.5)
        number = random.integers(0, ORIGINALS, far.sum())
        copied_there = np.isin(number, _copied_originals(seed))
        number[copied_there] = np.arange(copied_there.sum()) % (ORIGINALS // 64)
        source[far] = count + number
    everything = Rows(
        np.concatenate([rows.number, originals.number]),
        *(
            pa.concat_arrays([getattr(rows, name), getattr(originals, name)])
            for name in ("head", "body", "tail", "tags")
        ),
    )
    made = everything.take(source)
    made.number[near] = first + np.flatnonzero(near)
    retweets = near & (random.random(count) < 0.5)
    heads = pc.binary_join_element_wise("RT ", _handles(random, count), ": ", "")
    made.head = pc.if_else(pa.array(retweets), heads, made.head)
    made.tail = pc.if_else(pa.array(near), _links(random, count), made.tail)
    return made, near


@cache
def _copied_originals(seed: int) -> np.ndarray:
    """The originals that are copies themselves in the first chunk: an id must not stand for two texts."""
    random = np.random.Generator(np.random.SFC64([seed, 0, 2]))
    kind = random.random(CHUNK)
    kind[: CHUNK // 64] = 1
    return np.flatnonzero(kind[:ORIGINALS] < DUPLICATES + NEAR_COPIES)


def _table(rows: Rows, *, specific: bool, size: int) -> pa.Table:
    number = rows.number[:size].astype(np.uint64) + np.uint64((1 << 39) if specific else 0)
    slot = (number * np.uint64(GOLDEN)) & np.uint64((1 << SLOT_BITS) - 1)
    ids = np.uint64(FIRST_ID) + slot * np.uint64(ID_STEP) + (number * np.uint64(GOLDEN) >> np.uint64(50))
    seconds = (slot.astype(np.float64) / (1 << SLOT_BITS) * SECONDS).astype(np.int64)
    author = number % np.uint64(40_009) if specific else number  # no two general tweets are from one account
    columns = {
        "id": pa.array(ids).cast(pa.string()),
        "text": rows.text()[:size],
        "author": pc.binary_join_element_wise("demo_", pa.array(author).cast(pa.string()), ""),
        "created_at": pa.array(FIRST_DAY + seconds.astype("timedelta64[s]"), pa.timestamp("s", "UTC")),
    }
    if specific:
        columns["tags"] = rows.tags[:size]
    return pa.table(columns)


def _count(number: np.ndarray, near: np.ndarray, first: int, table: pa.Table) -> Counts:
    size = table.num_rows
    expected = np.arange(first, first + size)
    return Counts(
        rows=size,
        duplicates=int((number[:size] != expected).sum()),
        near_copies=int(near[:size].sum()),
        text_bytes=pc.sum(pc.binary_length(table["text"])).as_py(),
    )


# Files --------------------------------------------------------------------------------------------------------


def write(
    folder: Path, name: str, rows: int, *, specific: bool, seed: int, formats: tuple[str, ...]
) -> Counts:
    """Write name.parquet and name.csv below the folder."""
    total = Counts()
    writers: dict[str, Any] = {}
    waiting: list[pa.Table] = []
    for table, counts in chunks(rows, specific=specific, seed=seed):
        if not writers:
            writers = {kind: _writer(folder / f"{name}.{kind}", table.schema) for kind in formats}
        if "csv" in writers:
            writers["csv"].write_table(table)
        waiting.append(table)
        total = Counts(*(a + b for a, b in zip(vars(total).values(), vars(counts).values(), strict=True)))
        if "parquet" in writers and (len(waiting) * CHUNK >= GROUP or total.rows >= rows):
            writers["parquet"].write_table(pa.concat_tables(waiting), row_group_size=GROUP)
        if len(waiting) * CHUNK >= GROUP:
            waiting = []
    for writer in writers.values():
        writer.close()
    return total


def _writer(path: Path, schema: pa.Schema) -> Any:
    if path.suffix == ".csv":
        return pyarrow.csv.CSVWriter(
            path, schema, write_options=pyarrow.csv.WriteOptions(quoting_style="needed")
        )
    return pyarrow.parquet.ParquetWriter(path, schema, compression="zstd", use_dictionary=False)


def make(
    folder: Path, *, rows: int, specific: int, seed: int = 1, formats: tuple[str, ...] = ("parquet", "csv")
) -> dict[str, Any]:
    """Make the corpus unless the folder holds this very one; what corpus.json says."""
    wanted = {"rows": rows, "specific_rows": specific, "seed": seed, "formats": list(formats)}
    said = folder / "corpus.json"
    if said.exists():
        found: dict[str, Any] = json.loads(said.read_text())
        if all(found.get(key) == value for key, value in wanted.items()):
            return found
    folder.mkdir(parents=True, exist_ok=True)
    said.unlink(missing_ok=True)
    started = time.perf_counter()
    counts = {
        "general": asdict(write(folder, "general", rows, specific=False, seed=seed, formats=formats)),
        "specific": asdict(write(folder, "specific", specific, specific=True, seed=seed, formats=formats)),
    }
    result = {**wanted, **counts, "seconds": time.perf_counter() - started}
    said.write_text(json.dumps(result, indent=1))
    return result


def write_addition(path: Path, rows: int, *, seed: int) -> None:
    """General tweets that no corpus holds, as CSV: what a team adds one day. Each seed makes others."""
    first = (1 << 36) + seed * CHUNK
    table = _table(fresh_rows(first, rows, specific=False, seed=seed), specific=False, size=rows)
    with pyarrow.csv.CSVWriter(path, table.schema) as writer:
        writer.write_table(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=20_000_000, help="general tweets")
    parser.add_argument("--specific", type=int, default=100_000, help="specific tweets")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", default="parquet,csv")
    options = parser.parse_args()
    if options.rows < 1 or options.specific < 1:
        sys.exit("--rows and --specific must be 1 or more.")
    made = make(
        options.folder, rows=options.rows, specific=options.specific, seed=options.seed,
        formats=tuple(options.formats.split(",")),
    )  # fmt: skip
    rows = made["general"]["rows"] + made["specific"]["rows"]
    print(
        f"{rows:,} rows in {made['seconds']:.1f} s ({rows / made['seconds']:,.0f} rows/s); {made['general']}"
    )


if __name__ == "__main__":
    main()
