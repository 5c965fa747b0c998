"""Tweets by their words: all that are indexed, newest import first, at a cost that hardly grows with the corpus.

A full-text index lists tweets in no order, and has no end for a common word. So there are three ways, and find() takes
the one that its estimate of the cost says:

- ask the indexes one after another, the newest first, until no older one can change the page;
- read texts, the newest first, where a page of matches lies near;
- where only few tweets come into question (labelled ones, open review items, specific tweets): look up the words, and
  where they have too many matches, read the texts of those few.

Reading stops after a window, and says how far it came; the next page goes on from there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from labeling.models import Tweet
from labeling.search_index import VECTOR, WORDS, Part, parts

READ_AT_MOST = 40_000  # texts of one page, where most of them are passed over by a look for the bare letters
READ_SLOWLY = 6_000  # where PostgreSQL has to take each text apart
EXACT_BELOW = 50_000  # tweets of the largest index: counts are exact, and nothing takes long
ASK_AT_MOST = 100_000  # matches in one index that are read and sorted
FEW = 5_000  # matches that are looked up one by one
COMMON = 100_000  # matches by the estimate, which takes a rare word for one of some ten thousand: certainly not few
# Microseconds. Of a text that is read, by its letters or taken apart; of a match that an index lists.
READING, TAKING_APART, ASKING = 3.0, 30.0, 2.0
TWEET = "labeling_tweet."  # as Django calls the table in its queries


# Where to look --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """Rows that are tweets or name one each, in the order of the tweets' ids from some place on."""

    rows: QuerySet[Any]  # of Tweet, or of a model with a tweet_id that is unique among them
    start: int | None = None  # the place, itself left out
    upwards: bool = False  # towards newer tweets
    is_small: bool = False  # some hundred thousand rows at most, however many tweets there are
    in_order: QuerySet[Any] | None = (
        None  # the same rows, for a walk in their order; None: no other way is quicker
    )

    @property
    def column(self) -> str:
        return "id" if self.rows.model is Tweet else "tweet_id"

    def ids(self) -> QuerySet[Any, int]:
        """From the start on, in order."""
        rows = self.rows
        if self.start is not None:
            rows = rows.filter(**{f"{self.column}__{'gt' if self.upwards else 'lt'}": self.start})
        return rows.order_by(self.column if self.upwards else f"-{self.column}").values_list(
            self.column, flat=True
        )

    def walk(self, most: int) -> QuerySet[Any, int]:
        """The first ids from the start on, whatever is in the way of them."""
        return (self if self.in_order is None else replace(self, rows=self.in_order)).ids()[:most]

    def among(self, ids: Sequence[int]) -> Listing:
        """Like `__in`, for thousands: the planner would weigh them one by one, which takes longer than to read them."""
        table = self.rows.model._meta.db_table
        return self.that(f"{table}.{self.column} = ANY(ARRAY(SELECT unnest(%s::bigint[])))", [list(ids)])

    def that(self, condition: str, values: Sequence[Any]) -> Listing:
        sql = RawSQL(condition, values, output_field=BooleanField())  # noqa: S611 - values are parameters
        return replace(self, rows=self.rows.filter(sql))


# Finding --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    ids: list[int]  # in the order of the listing
    most: int  # at so many it was content, and more may match
    end: int | None = None  # the tweet at which it gave up, and more may match beyond; None: it did not


def find(listing: Listing, words: str, *, page: int, most: int) -> Found:
    """The first tweets of the listing that have these words: a page and one more, up to `most` where that costs nothing.

    "quoted words" are a phrase, -word excludes.
    """
    searched = parts()
    tweets = sum(part.tweets for part in searched)
    share = _share(words, tweets)
    if listing.is_small:
        few = any_of(words, cap=FEW + 1) if tweets * share < COMMON else None
        if few is not None and len(few) <= FEW:
            return Found(list(listing.among(few).ids()[:most]), most)
        return _Reading.of(words, searched).find(listing, page + 1)
    largest = max(part.tweets for part in searched)
    if largest > EXACT_BELOW and page / share * READING < largest * share * ASKING:
        reading = _Reading.of(words, searched)
        if page / share * reading.cost < largest * share * ASKING:
            found = reading.find(listing, page + 1)
            if found.end is None or largest * share > ASK_AT_MOST:
                return found
    return Found(_ask(listing, words, searched, most), most)


def _ask(listing: Listing, words: str, searched: list[Part], most: int) -> list[int]:
    """The indexes, one after another, until no tweet of another one can come before those that are found."""
    up = listing.upwards
    left = [part for part in searched if _may_hold(part, listing)]
    left.sort(key=lambda part: part.first_id if up else -part.last_id)
    found: list[int] = []
    # The index on ids gives the order, and would be walked to the end for a word that is rare.
    with _without("seqscan", "indexscan"):
        while left:
            part = left.pop(0)
            holds = listing.that(
                f"{part.condition(TWEET)} AND {VECTOR.format(alias=TWEET)} @@ {WORDS}", [words]
            )
            found += holds.ids()[:most]
            bounds = [other.first_id if up else other.last_id for other in left]
            settled = [i for i in found if all(i < bound if up else i > bound for bound in bounds)]
            if len(settled) >= most:
                found = settled
                break
    return sorted(found, reverse=not up)[:most]


def _may_hold(part: Part, listing: Listing) -> bool:
    if listing.start is None:
        return True
    return part.last_id > listing.start if listing.upwards else part.first_id < listing.start


@dataclass(frozen=True)
class _Reading:
    """Looking for words in the texts themselves, of tweets that an index knows."""

    condition: str  # on the tweet t
    values: list[Any]
    letters: list[str]  # which a text with these words has

    @classmethod
    def of(cls, words: str, searched: list[Part]) -> _Reading:
        indexed = " OR ".join(part.condition("t.") for part in searched)
        letters, is_any = _letters_of(words)
        looks = f" {'OR' if is_any else 'AND'} ".join("strpos(lower(t.text), %s) > 0" for _ in letters)
        has_words = f"({indexed}) AND {VECTOR.format(alias='t.')} @@ {WORDS}"
        return cls(f"({looks}) AND {has_words}" if looks else has_words, [*letters, words], letters)

    @property
    def cost(self) -> float:
        """Of one text, in microseconds."""
        return READING if self.letters else TAKING_APART

    def find(self, listing: Listing, most: int) -> Found:
        """Up to `most` of a window."""
        window = READ_AT_MOST if self.letters else READ_SLOWLY
        candidates, values = listing.walk(window).query.sql_with_params()
        # The planner would rather ask the indexes for all that they have.
        with _without("bitmapscan") as cursor:
            cursor.execute(
                f"SELECT c.id FROM ({candidates}) c (id) JOIN labeling_tweet t ON t.id = c.id"  # noqa: S608
                f" WHERE {self.condition} ORDER BY c.id {'ASC' if listing.upwards else 'DESC'} LIMIT %s",
                [*values, *self.values, most],
            )
            found = [int(row[0]) for row in cursor.fetchall()]
        is_full = len(found) == most
        return Found(found, most, None if is_full else _last_of(listing.walk(window), window))


def _last_of(ids: QuerySet[Any, int], window: int) -> int | None:
    """Of a window that is full."""
    return next(iter(ids[window - 1 : window]), None)


def _letters_of(words: str) -> tuple[list[str], bool]:
    """What a text must contain, in small letters, to have these words; True: any of it, in place of all.

    Every word that the index has of a text is a part of the text in small letters. Other alphabets are left out: what a
    capital becomes can depend there on the letters beside it.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {WORDS}::text", [words])
        (query,) = cursor.fetchone()
    wanted = re.sub(r"!\( .*? \)|!'(?:[^']|'')*'", "", query)
    lexemes = [quoted.replace("''", "'") for quoted in re.findall(r"'((?:[^']|'')*)'", wanted)]
    is_any = "|" in re.sub(r"'(?:[^']|'')*'", "", query)
    if is_any and not all(lexeme.isascii() for lexeme in lexemes):
        return [], True
    return [lexeme for lexeme in lexemes if lexeme.isascii()], is_any


def any_of(words: str, *, cap: int, plain: bool = False) -> list[int]:
    """Ids of up to `cap` tweets with these words, in no order; `plain` takes every word as it is.

    One index after another, so that a common word is not looked up in all. The planner is kept from reading the
    table instead: without statistics it takes a rare word for a common one, and reads every tweet to find none.
    """
    query = WORDS.replace("websearch_", "plain") if plain else WORDS
    ids: list[int] = []
    left = parts()
    with _without("seqscan") as cursor:
        while left and len(ids) < cap:
            cursor.execute(
                f"SELECT t.id FROM labeling_tweet t WHERE {left.pop().condition('t.')}"  # noqa: S608
                f" AND {VECTOR.format(alias='t.')} @@ {query} LIMIT %s",
                [words, cap - len(ids)],
            )
            ids += [int(row[0]) for row in cursor.fetchall()]
    return ids


# Estimates ------------------------------------------------------------------------------------------------


def _share(words: str, tweets: int) -> float:
    """About what share of all these tweets have the words, above 0, by the statistics of migration 0008.

    They know the thousand commonest words, from about one tweet in 1,000; any other is taken for half as common.
    """
    having = expected_rows(
        f"SELECT FROM labeling_tweet t WHERE {VECTOR.format(alias='t.')} @@ {WORDS}", [words]
    )
    return min(1.0, max(having, 1) / max(tweets, 1))


def expected_rows(sql: str, values: list[Any]) -> int:
    """About how many rows a statement gives, by PostgreSQL's statistics: nothing is read."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        (plan,) = cursor.fetchone()
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


@contextmanager
def _without(*ways: str) -> Iterator[Any]:
    """A cursor whose planner does without these ways to read a table, in a transaction."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET LOCAL enable_{way} = off" for way in ways))
        yield cursor
        # For what follows in an outer transaction.
        cursor.execute("; ".join(f"SET LOCAL enable_{way} = on" for way in ways))


def only_excludes(words: str) -> bool:
    """Whether the search names nothing to look for, as "-word" does: it would list nearly every tweet."""
    if "-" not in words:
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT querytree({WORDS})", [words])
        (tree,) = cursor.fetchone()
    return bool(tree == "T")
