"""Tweets by their words: all that are indexed, newest import first, at a cost that hardly grows with the corpus.

A full-text index lists tweets in no order, and has no end for a common word. So there are three ways, and find() takes
the one that its estimate of the cost says:

- ask the indexes one after another, the newest first, until no older one can change the page;
- read texts, the newest first, where a page of matches lies near;
- where only few tweets come into question: of labelled ones, ask the index of their words; of specific ones, those that hold
  any; of open review items, read the texts of a few thousand, and where there are more, look up the words.

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

from labeling.models import Label, Source, Tweet
from labeling.search_index import VECTOR, WORDS, Part, Searched, searched

READ_AT_MOST = 40_000  # texts of one page, where most of them are passed over by a look for the bare letters
SCATTERED = (
    1_000,
    5_000,
)  # where they do not lie beside each other, as those of review items: at first, and in all
READ_SLOWLY = 6_000  # where PostgreSQL has to take most of them apart
EXACT_BELOW = 50_000  # tweets of the largest index: counts are exact, and nothing takes long
ASK_AT_MOST = 30_000  # matches in one index that are read and sorted
FEW = 5_000  # matches that are looked up one by one
COMMON = 100_000  # by the estimate, which takes a rare word for one in some thousands: certainly not few
# Microseconds. Of a text that is read, by its letters or taken apart; of a match that an index lists, which lies
# anywhere: 2 from PostgreSQL's buffers, 10 and more from further away. The newest texts are always near.
READING, TAKING_APART, ASKING = 3.0, 30.0, 5.0
LEXEME = r"'((?:[^']|'')*)'"  # a word, as PostgreSQL writes queries down
EXCLUDED = r"!\( .*? \)|!'(?:[^']|'')*'"
TWEET = "labeling_tweet."  # as Django calls the table in its queries


# Where to look --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listing:
    """Rows that are tweets or name one each, in the order of the tweets' ids from some place on."""

    rows: QuerySet[Any]  # of Tweet, or of a model with a tweet_id that is unique among them
    start: int | None = None  # the place, itself left out
    upwards: bool = False  # towards newer tweets
    is_small: bool = False  # far fewer rows than there are tweets
    # The same rows, for a walk in their order; None: no other way is quicker.
    in_order: QuerySet[Any] | None = None

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
        in_order = None if self.in_order is None else self.in_order.filter(sql)
        return replace(self, rows=self.rows.filter(sql), in_order=in_order)


# Finding --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    ids: list[int]  # in the order of the listing
    has_more: bool = False  # there may be more, for nobody looked
    end: int | None = None  # the tweet at which it gave up before the page was full; None: it did not


def find(listing: Listing, words: str, *, page: int, most: int) -> Found:
    """The first tweets of the listing that have these words: a page and one more, up to `most` where that costs nothing.

    "quoted words" are a phrase, -word excludes.
    """
    if listing.rows.model is Label:
        return _find_labelled(listing, words, most)
    indexes = searched()
    if indexes.largest <= EXACT_BELOW and not listing.is_small:
        return _ask(listing, words, indexes.parts, enough=most, most=most)
    query, share = _Query.of(words), _share(words, indexes.tweets)
    matches, of_one = share * indexes.tweets, share * indexes.largest  # about how many: in all, in one index
    if listing.is_small and listing.rows.model is Tweet:
        return _find_specific(listing, query, indexes, page=page, most=most, share=share)
    if listing.is_small:
        return _find_in_review(listing, query, indexes, page=page, most=most, matches=matches)
    if page / share * query.reading < of_one * query.asking:
        found = _read_indexed(listing, query, indexes, page + 1)
        if found.end is None or of_one * query.asking > ASK_AT_MOST * ASKING:
            return found
    return _ask(listing, words, indexes.parts, enough=page + 1, most=most)


def _find_labelled(listing: Listing, words: str, most: int) -> Found:
    """As find(), of labels, which know the words of their tweets.

    Unless the words are common, all that have them are read and sorted: the walk in the order of ids finds none of the
    labels by rules before it has passed a whole import of labelled tweets, and PostgreSQL does not know of that.
    """
    matches = expected_rows(f"SELECT FROM labeling_label WHERE words @@ {WORDS}", [words])
    with _without(*(("seqscan", "indexscan") if matches <= ASK_AT_MOST else ())):
        ids = list(listing.that(f"labeling_label.words @@ {WORDS}", [words]).ids()[:most])
    return Found(ids, has_more=len(ids) == most)


def _find_in_review(
    listing: Listing, query: _Query, indexes: Searched, *, page: int, most: int, matches: float
) -> Found:
    """As find(), of open review items: a few thousand, most of the time. Their texts are read, all but for a long list."""
    found = _read_scattered(listing, query, indexes, enough=page + 1, most=most)
    if found.end is None or matches * query.asking >= COMMON * ASKING:
        return found
    few = any_of(query.words, cap=FEW + 1)
    if len(few) > FEW:
        return found
    ids = list(listing.among(few).ids()[:most])
    return Found(ids, has_more=len(ids) == most)


def _find_specific(
    listing: Listing, query: _Query, indexes: Searched, *, page: int, most: int, share: float
) -> Found:
    """As find(), of the specific tweets: mostly they came together, and few indexes hold them."""
    parts = _with_specific(indexes.parts)
    asking = share * sum(part.tweets for part in parts) * query.asking
    if asking <= min(page / share, query.window) * query.reading:
        return _ask(listing, query.words, parts, enough=page + 1, most=most)
    return _read(listing, query, indexes, page + 1)


def _with_specific(parts: list[Part]) -> list[Part]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT place FROM unnest(%s::bigint[], %s::bigint[]) WITH ORDINALITY AS p (first, last, place)"
            " WHERE EXISTS (SELECT FROM labeling_tweet WHERE source = %s AND id BETWEEN p.first AND p.last)",
            [[part.first_id for part in parts], [part.last_id for part in parts], Source.SPECIFIC.value],
        )
        return [parts[place - 1] for (place,) in cursor.fetchall()]


@dataclass(frozen=True)
class _Query:
    """What looking for some words takes."""

    words: str
    letters: list[str]  # which a text with these words has, in small letters
    is_any: bool  # one of the letters is enough
    has_phrase: bool

    @classmethod
    def of(cls, words: str) -> _Query:
        """Every word that an index has of a text is a part of the text in small letters.

        Other alphabets are left out: what a capital becomes can depend there on the letters beside it.
        """
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {WORDS}::text", [words])
            (query,) = cursor.fetchone()
        operators = re.sub(LEXEME, "", query)
        lexemes = [quoted.replace("''", "'") for quoted in re.findall(LEXEME, re.sub(EXCLUDED, "", query))]
        is_any = "|" in operators
        letters = [lexeme for lexeme in lexemes if lexeme.isascii()]
        if is_any and len(letters) < len(lexemes):
            letters = []
        return cls(words, letters, is_any, has_phrase="<" in operators)

    @property
    def is_selective(self) -> bool:
        """Whether few texts have the letters and not the words: "er" is in most."""
        long = [len(letters) >= 3 for letters in self.letters]
        return bool(long) and (all(long) if self.is_any else any(long))

    @property
    def window(self) -> int:
        """Texts that are read for one page."""
        return READ_AT_MOST if self.is_selective else READ_SLOWLY

    @property
    def reading(self) -> float:
        """Microseconds of a text that is read."""
        return READING if self.is_selective else TAKING_APART

    @property
    def asking(self) -> float:
        """Microseconds of a match that an index lists: it does not know the order of words."""
        return TAKING_APART if self.has_phrase else ASKING

    def condition(self, indexes: Searched) -> tuple[str, list[str]]:
        """On the tweet t: an index knows it, and it has the words."""
        has_letters = f" {'OR' if self.is_any else 'AND'} ".join(
            "strpos(lower(t.text), %s) > 0" for _ in self.letters
        )
        is_indexed = " OR ".join(part.condition("t.") for part in indexes.parts)
        conditions = [f"({has_letters})"] * bool(self.letters) + [
            f"({is_indexed})",
            f"{VECTOR.format(alias='t.')} @@ {WORDS}",
        ]
        return " AND ".join(conditions), [*self.letters, self.words]


def _read_indexed(listing: Listing, query: _Query, indexes: Searched, most: int) -> Found:
    """As _read(); but without the tweets of large imports that wait for their index, which may be millions.

    They are newer than those that have one. Among them lie small additions, which are asked for.
    """
    newest, up = indexes.newest_id, listing.upwards
    if not indexes.waits:
        return _read(listing, query, indexes, most)
    indexed = listing.that(f"{TWEET}id <= %s", [newest or 0])
    additions = listing.that(f"{TWEET}id > %s", [newest or 0])

    def read(most: int) -> Found:
        return _read(indexed, query, indexes, most) if newest else Found([])

    def ask(most: int) -> Found:
        return _ask(additions, query.words, indexes.parts[:1], enough=most, most=most)

    near, far = (read, ask) if up else (ask, read)
    found = near(most)
    if found.has_more or found.end is not None:
        return found
    rest = far(most - len(found.ids))
    return replace(rest, ids=[*found.ids, *rest.ids])


def _read(listing: Listing, query: _Query, indexes: Searched, most: int) -> Found:
    """Up to `most` of a window, by the texts themselves, one after another until there are enough."""
    window = query.window
    candidates, values = listing.walk(window).query.sql_with_params()
    condition, parameters = query.condition(indexes)
    with connection.cursor() as cursor:
        # By the key of each: the planner would rather ask the indexes for all that they have.
        cursor.execute(
            f"SELECT c.id FROM ({candidates}) c (id) CROSS JOIN LATERAL"  # noqa: S608
            " (SELECT text, search_segment FROM labeling_tweet WHERE id = c.id OFFSET 0) t"
            f" WHERE {condition} ORDER BY c.id {_way(listing)} LIMIT %s",
            [*values, *parameters, most],
        )
        found = [int(row[0]) for row in cursor.fetchall()]
    if len(found) == most:
        return Found(found, has_more=True)
    return Found(found, end=next(iter(listing.walk(window)[window - 1 : window]), None))


def _read_scattered(listing: Listing, query: _Query, indexes: Searched, *, enough: int, most: int) -> Found:
    """As _read(), where the texts do not lie beside each other: many at once, so that PostgreSQL reads ahead."""
    first, window = SCATTERED
    window = window if query.is_selective else min(window, READ_SLOWLY)
    ids = list(listing.walk(window))
    condition, parameters = query.condition(indexes)
    found: list[int] = []
    unread = [ids[:first], ids[first:]]
    while any(unread) and len(found) < enough:
        with _without("seqscan", "indexscan") as cursor:
            cursor.execute(
                "SELECT t.id FROM labeling_tweet t WHERE t.id = ANY(ARRAY(SELECT unnest(%s::bigint[])))"  # noqa: S608
                f" AND {condition} ORDER BY t.id {_way(listing)} LIMIT %s",
                [unread.pop(0), *parameters, most - len(found)],
            )
            found += [int(row[0]) for row in cursor.fetchall()]
    is_cut = len(ids) == window
    if len(found) >= enough:
        return Found(found, has_more=is_cut or any(unread) or len(found) == most)
    return Found(found, end=ids[-1] if is_cut else None)


def _way(listing: Listing) -> str:
    return "ASC" if listing.upwards else "DESC"


def _ask(listing: Listing, words: str, parts: list[Part], *, enough: int, most: int) -> Found:
    """The indexes, the nearest first, until no tweet of another one can come before `enough` that are found."""
    up = listing.upwards
    left = [part for part in parts if _may_hold(part, listing)]
    left.sort(key=lambda part: part.first_id if up else -part.last_id)
    found: list[int] = []
    asked = 0
    # The index on ids gives the order, and would be walked to the end for a word that is rare.
    with _without("seqscan", "indexscan"):
        while left:
            some = _as_many_as_needed(
                left, share=(len(found) + 1) / max(asked, 1), missing=enough - len(found)
            )
            left = left[len(some) :]
            asked += sum(map(_worth, some))
            found += _holding(listing, words, some).ids()[:most]
            bounds = [other.first_id if up else other.last_id for other in left]
            settled = [i for i in found if all(i < bound if up else i > bound for bound in bounds)]
            if left and len(settled) >= enough:
                return Found(sorted(settled, reverse=not up)[:most], has_more=True)
    return Found(sorted(found, reverse=not up)[:most], has_more=len(found) >= most)


def _as_many_as_needed(parts: list[Part], *, share: float, missing: int) -> list[Part]:
    """The first of these indexes that are likely to have what is missing, if this share of their tweets match."""
    expected, some = 0.0, parts[:1]
    for part in parts[1:]:
        expected += share * _worth(some[-1])
        if expected >= missing:
            break
        some.append(part)
    return some


def _worth(part: Part) -> int:
    """How many tweets count on it. Small additions are asked on the side: how many they are is known least of all."""
    return part.tweets if part.last_segment else 0


def _holding(listing: Listing, words: str, parts: list[Part]) -> Listing:
    """What one of these indexes has of the words: each must stand in its own condition, for the planner to use it."""
    has_words = f"{VECTOR.format(alias=TWEET)} @@ {WORDS}"
    conditions = [f"{part.condition(TWEET)} AND {has_words}" for part in parts]
    return listing.that(" OR ".join(f"({condition})" for condition in conditions), [words] * len(parts))


def _may_hold(part: Part, listing: Listing) -> bool:
    if listing.start is None:
        return True
    return part.last_id > listing.start if listing.upwards else part.first_id < listing.start


def any_of(words: str, *, cap: int, plain: bool = False) -> list[int]:
    """Ids of up to `cap` tweets with these words, in no order; `plain` takes every word as it is.

    One index after another, so that a common word is not looked up in all. The planner is kept from reading the
    table instead: without statistics it takes a rare word for a common one, and reads every tweet to find none.
    """
    query = WORDS.replace("websearch_", "plain") if plain else WORDS
    ids: list[int] = []
    left = list(searched().parts)
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
    """A cursor whose planner does without these ways to read a table, in a transaction.

    And without parallel workers, which take 5 ms to start, where an index is read in a tenth of that.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        off = [f"enable_{way} = off" for way in ways] + ["max_parallel_workers_per_gather = 0"]
        on = [f"enable_{way} = on" for way in ways] + ["max_parallel_workers_per_gather TO DEFAULT"]
        cursor.execute("; ".join(f"SET LOCAL {setting}" for setting in off))
        yield cursor
        cursor.execute("; ".join(f"SET LOCAL {setting}" for setting in on))  # for an outer transaction


def only_excludes(words: str) -> bool:
    """Whether the search names nothing to look for, as "-word" does: it would list nearly every tweet."""
    if "-" not in words:
        return False
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT querytree({WORDS})", [words])
        (tree,) = cursor.fetchone()
    return bool(tree == "T")
