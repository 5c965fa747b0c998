"""Looking tweets up by words: every way finds the same tweets, in order, and asks no more than it needs."""

from __future__ import annotations

import random
import re
from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling import search_index, tweets, word_search
from labeling.annotation import annotate
from labeling.models import ReviewItem, SearchIndex, Source, Tweet, Verdict
from labeling.tweets import LabelState, Wanted
from labeling.word_search import Listing
from tests.factories import make_tweet
from tests.plans import rows_read

pytestmark = pytest.mark.django_db


def index(first: int, last: int, *, state: str = "ready") -> SearchIndex:
    """Says that the tweets of these segments are indexed, and where they lie. (The index itself would be quicker.)"""
    ids = (
        Tweet.objects.filter(search_segment__range=(first, last)).order_by("id").values_list("id", flat=True)
    )
    return SearchIndex.objects.create(
        first_segment=first,
        last_segment=last,
        state=state,
        tweets=len(ids),
        first_id=ids[0],
        last_id=list(ids)[-1],
    )


def found(words: str, **wanted) -> list[str]:
    return [tweet.text for tweet in tweets.find(Wanted(q=words, **wanted)).tweets]


def all_pages(wanted: Wanted, *, upwards: bool = False) -> list[int]:
    """Every tweet, page by page, from one end to the other."""
    ids: list[int] = []
    page = tweets.find(wanted, before=0) if upwards else tweets.find(wanted)
    for _ in range(200):
        ids += [tweet.pk for tweet in (reversed(page.tweets) if upwards else page.tweets)]
        place = page.newer if upwards else page.older
        if place is None:
            return ids
        page = tweets.find(wanted, **({"before": place} if upwards else {"after": place}))
    raise AssertionError("the pages do not end")


@pytest.fixture
def corpus(analyst):
    """Segments that meet, small additions in between, one that waits; some labels and open review items."""
    rng = random.Random(7)
    for n in range(120):
        segment = 0 if rng.random() < 0.2 else min(4, n // 28 + rng.randrange(2))
        words = [
            w
            for w, share in (("pill", 0.5), ("high", 0.3), ("rare", 0.06), ("no script", 0.2))
            if rng.random() < share
        ]
        tweet = make_tweet(
            " ".join(["A", *words, f"w{n}"]),
            source=Source.SPECIFIC if n % 5 == 0 else Source.GENERAL,
            search_segment=segment,
        )
        if n % 3 == 0:
            annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict(n % 2), tag_ids=[])
        if n % 4 == 0:
            ReviewItem.objects.create(tweet=tweet, reason="sent")
    for first, last in ((1, 1), (2, 3)):
        index(first, last)
    index(4, 4, state="waiting")


def expected(condition, *, filed=3, **filters) -> list[int]:
    """By a plain reading: of the tweets in the segments up to `filed`, whose index is ready."""
    rows = Tweet.objects.filter(search_segment__lte=filed, **filters).order_by("-id")
    return [tweet.pk for tweet in rows if condition(set(re.findall(r"\w+", tweet.text.lower())), tweet.text)]


WORDS = {
    "pill": lambda words, text: "pill" in words,
    "Pill HIGH": lambda words, text: {"pill", "high"} <= words,
    "rare": lambda words, text: "rare" in words,
    "rare or high": lambda words, text: bool({"rare", "high"} & words),
    '"no script"': lambda words, text: "no script" in text,
    "pill -high": lambda words, text: "pill" in words and "high" not in words,
    'pill -"no script"': lambda words, text: "pill" in words and "no script" not in text,
    "unheard": lambda words, text: False,
}
ASK = {"READING": 1e9, "TAKING_APART": 1e9}
READ = {"READING": 0, "TAKING_APART": 0, "EXACT_BELOW": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("costs", "windows"),
    [
        (ASK, {}),
        (READ, {}),
        (READ, {"READ_AT_MOST": 10, "READ_SLOWLY": 10, "ASK_AT_MOST": 0}),
        (READ, {"READ_AT_MOST": 10}),
    ],
    ids=["asking", "reading", "reading window by window", "reading, then asking"],
)
def test_every_way_lists_the_same_tweets_page_by_page(costs, windows, corpus, monkeypatch):
    for name, value in (costs | windows).items():
        monkeypatch.setattr(word_search, name, value)
    monkeypatch.setattr(tweets, "PAGE_SIZE", 7)
    for words, condition in WORDS.items():
        matches = expected(condition)
        assert all_pages(Wanted(q=words)) == matches, words
        assert all_pages(Wanted(q=words), upwards=True) == matches[::-1], words


@pytest.mark.parametrize(
    "costs", [{"COMMON": 0, **READ}, {"COMMON": 10_000, **ASK}], ids=["reading", "looking up"]
)
def test_few_tweets_are_looked_through_as_well(costs, corpus, monkeypatch):
    for name, value in costs.items():
        monkeypatch.setattr(word_search, name, value)
    monkeypatch.setattr(word_search, "READ_AT_MOST", 12)
    monkeypatch.setattr(word_search, "SCATTERED", (5, 12))
    monkeypatch.setattr(tweets, "PAGE_SIZE", 4)
    in_review = {"reviewitem__state": "open"}
    for wanted, filters in (
        ({"label": LabelState.REVIEW}, in_review),
        ({"label": LabelState.REVIEW, "verdict": Verdict.NDA}, in_review | {"label__verdict": Verdict.NDA}),
        ({"source": Source.SPECIFIC}, {"source": Source.SPECIFIC}),
        ({"source": Source.SPECIFIC, "label": LabelState.NONE}, {"source": Source.SPECIFIC, "label": None}),
    ):
        for words, condition in WORDS.items():
            assert all_pages(Wanted(q=words, **wanted)) == expected(condition, **filters), (words, wanted)


def test_a_few_thousand_review_items_are_read_whatever_the_word(corpus, monkeypatch):
    """How often the corpus has a word says nothing of them."""
    monkeypatch.setattr(word_search, "EXACT_BELOW", 0)
    monkeypatch.setattr(word_search, "any_of", None)
    monkeypatch.setattr(tweets, "PAGE_SIZE", 4)
    for words in ("rare", "pill"):
        page = tweets.find(Wanted(q=words, label=LabelState.REVIEW))
        assert (page.count, page.count_is_capped, page.looked_to) == (
            len(expected(WORDS[words], reviewitem__state="open")),
            False,
            None,
        )


def test_labels_know_the_words_of_their_tweets_whether_or_not_these_are_filed(corpus, monkeypatch):
    monkeypatch.setattr(tweets, "PAGE_SIZE", 4)
    for wanted, filters in (
        ({"verdict": Verdict.DA}, {"label__verdict": Verdict.DA}),
        (
            {"source": Source.GENERAL, "label": LabelState.JUDGED},
            {"source": Source.GENERAL, "label__annotators__gt": 0},
        ),
    ):
        for words, condition in WORDS.items():
            matches = expected(condition, filed=4, **filters)
            assert all_pages(Wanted(q=words, **wanted)) == matches, (words, wanted)
            assert all_pages(Wanted(q=words, **wanted), upwards=True) == matches[::-1], (words, wanted)


def test_a_label_that_changes_keeps_its_words(analyst):
    tweet = make_tweet("a rare pill", search_segment=7)
    for verdict in (Verdict.DA, Verdict.UNSURE, Verdict.NDA):
        annotate(tweet_id=tweet.pk, annotator=analyst, verdict=verdict, tag_ids=None)
        assert found("rare", verdict=verdict) == ["a rare pill"]


def test_upgrading_gives_the_labels_there_are_their_words(analyst):
    tweet = make_tweet("a rare pill")
    annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=None)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE labeling_label DROP COLUMN words")
        cursor.execute(import_module("labeling.migrations.0020_label_words").ADD)
    assert found("rare", verdict=Verdict.DA) == ["a rare pill"]


def test_of_specific_tweets_only_the_indexes_that_hold_any_are_asked():
    for segment, source in ((1, Source.GENERAL), (2, Source.SPECIFIC), (3, Source.GENERAL)):
        for n in range(3):
            make_tweet(f"pill {segment} {n}", source=source, search_segment=segment)
        index(segment, segment)
    assert found("pill", source=Source.SPECIFIC) == ["pill 2 2", "pill 2 1", "pill 2 0"]
    with CaptureQueriesContext(connection) as queries:
        assert found("pill 1", source=Source.SPECIFIC) == ["pill 2 1"]
    asked = {int(n) for query in queries for n in re.findall(r"search_segment BETWEEN (\d)", query["sql"])}
    assert asked == {2}


def test_a_page_that_the_newest_index_fills_asks_no_older_one(monkeypatch):
    monkeypatch.setattr(tweets, "PAGE_SIZE", 3)
    monkeypatch.setattr(tweets, "COUNT_CAP", 5)
    for segment in (1, 2, 3):
        for n in range(8):
            make_tweet(f"pill {segment} {n}", search_segment=segment)
        index(segment, segment)

    def asked(**place) -> list[int]:
        with CaptureQueriesContext(connection) as queries:
            tweets.find(Wanted(q="pill"), **place)
        texts = " ".join(query["sql"] for query in queries if "ORDER BY" in query["sql"])
        return [int(number) for number in re.findall(r"search_segment BETWEEN (\d)", texts)]

    assert asked() == [3]
    ids = list(Tweet.objects.order_by("-id").values_list("id", flat=True))
    assert asked(after=ids[4]) == [3, 2]  # three are left in the newest
    assert asked(after=ids[7]) == [2]
    assert asked(before=ids[-1]) == [1]


def test_for_a_rare_word_several_indexes_are_asked_at_once(monkeypatch):
    """As many as are likely to have what is missing on the page."""
    for segment in range(1, 7):
        for n in range(10):
            make_tweet(f"{'rare' if n == 0 else 'common'} {segment} {n}", search_segment=segment)
        index(segment, segment)

    def asked(words: str) -> list[list[int]]:
        with CaptureQueriesContext(connection) as queries:
            tweets.find(Wanted(q=words))
        texts = [query["sql"] for query in queries if "ORDER BY" in query["sql"]]
        numbers = [[int(n) for n in re.findall(r"search_segment BETWEEN (\d)", text)] for text in texts]
        return [some for some in numbers if some]

    monkeypatch.setattr(tweets, "PAGE_SIZE", 4)
    monkeypatch.setattr(tweets, "COUNT_CAP", 4)
    assert asked("rare") == [[6], [5, 4], [3, 2]]
    assert asked("common") == [[6]]
    assert asked("unheard") == [[6], [5, 4, 3, 2, 1]]
    assert found("rare") == [f"rare {segment} 0" for segment in range(6, 2, -1)]


def test_an_index_whose_bounds_nobody_knows_is_asked_first():
    """Until a first run of migration 0016, or of a builder of its time."""
    make_tweet("pill old", search_segment=1)
    make_tweet("pill new", search_segment=2)
    index(2, 2)
    SearchIndex.objects.create(first_segment=1, last_segment=1, state="ready", tweets=1)
    assert found("pill") == ["pill new", "pill old"]


def test_a_count_is_exact_up_to_its_cap_and_says_when_there_may_be_more(client_of, analyst, monkeypatch):
    for _ in range(6):
        make_tweet("common word")
    client = client_of(analyst)
    assert "6 tweets found." in client.get("/tweets/?q=common").content.decode()
    monkeypatch.setattr(tweets, "COUNT_CAP", 5)
    assert "5+ tweets found." in client.get("/tweets/?q=common").content.decode()
    monkeypatch.setattr(tweets, "PAGE_SIZE", 5)
    for name, cost in READ.items():
        monkeypatch.setattr(word_search, name, cost)
    assert "5+ tweets found." in client.get("/tweets/?q=common").content.decode()


def test_the_page_says_how_far_it_looked_and_goes_on_from_there(client_of, analyst, monkeypatch):
    old = make_tweet("old pill")
    for _ in range(40):
        make_tweet("nothing")
    for name, value in (READ | {"READ_AT_MOST": 30, "ASK_AT_MOST": -1}).items():
        monkeypatch.setattr(word_search, name, value)
    client = client_of(analyst)
    first = client.get("/tweets/?q=pill")
    place = Tweet.objects.order_by("-id")[29].pk
    assert f"Looked for the words as far as tweet {place}; the next page goes on from there." in " ".join(
        first.content.decode().split()
    )
    assert "No tweet fits" not in first.content.decode()
    assert "Look on" in first.content.decode()
    second = client.get("/tweets/" + first.context["older"])
    assert [line.tweet.pk for line in second.context["rows"]] == [old.pk]
    assert "Looked for the words" not in second.content.decode()


@pytest.mark.parametrize(
    ("words", "letters"),
    [
        ("Pill no", (["pill", "no"], False)),
        ('"no script" pill', (["no", "script", "pill"], False)),
        ('pill -high -"no script" x', (["pill", "x"], False)),
        ("pill or script", (["pill", "script"], True)),
        ("adicción pill", (["pill"], False)),
        ("adicción or pill", ([], True)),
        ("it's 50% off", (["it", "s", "50", "off"], False)),
        ("!!!", ([], False)),
    ],
)
def test_letters_that_a_text_must_have(words, letters):
    query = word_search._Query.of(words)
    assert (query.letters, query.is_any) == letters


@pytest.mark.parametrize(
    ("words", "is_selective"),
    [
        ("pill", True),
        ("er", False),
        ("er pill", True),
        ("er or pill", False),
        ("adicción", False),
        ("gun or pill", True),
    ],
)
def test_letters_that_most_texts_have_pass_over_few(words, is_selective):
    query = word_search._Query.of(words)
    assert query.is_selective is is_selective
    assert (query.reading < word_search.TAKING_APART) is is_selective


def test_a_phrase_costs_a_look_at_every_text_that_has_its_words():
    assert word_search._Query.of('"no script"').asking > word_search._Query.of("no script").asking
    assert not word_search._Query.of("a<b").has_phrase


def test_no_label_and_a_verdict_fit_no_tweet(client_of, analyst, corpus):
    client = client_of(analyst)
    for query in (
        "label=none&verdict=da",
        "label=none&origin=analyst&q=pill",
        "label=none&verdict=nda&source=general",
    ):
        answer = client.get(f"/tweets/?{query}")
        assert answer.status_code == 200
        assert "No tweet fits" in answer.content.decode()


@pytest.mark.parametrize("small_ones", [0, 2, 9], ids=["none", "some", "a page of them"])
def test_a_common_word_is_looked_for_below_the_tweets_that_wait_for_their_index(small_ones, monkeypatch):
    """They are the newest, and may be millions: a window would end among them."""
    old = [make_tweet("pill", search_segment=1).pk for _ in range(20)]
    index(1, 1)
    for _ in range(30):
        make_tweet("pill", search_segment=2)
    index(2, 2, state="waiting")
    new = [make_tweet("pill").pk for _ in range(small_ones)]
    for name, value in (READ | {"READ_AT_MOST": 10, "ASK_AT_MOST": -1}).items():
        monkeypatch.setattr(word_search, name, value)
    monkeypatch.setattr(tweets, "PAGE_SIZE", 7)
    with CaptureQueriesContext(connection) as queries:
        first = tweets.find(Wanted(q="pill"))
    assert [tweet.pk for tweet in first.tweets] == sorted(old + new, reverse=True)[:7]
    assert all_pages(Wanted(q="pill")) == sorted(old + new, reverse=True)
    assert all_pages(Wanted(q="pill"), upwards=True) == sorted(old + new)
    assert all_pages(Wanted(q="pill", label=LabelState.NONE)) == sorted(old + new, reverse=True)
    assert small_ones > 7 or any("strpos" in query["sql"] for query in queries)


def test_while_nothing_but_small_additions_has_an_index_they_are_asked(monkeypatch):
    old = make_tweet("pill").pk
    for _ in range(30):
        make_tweet("pill", search_segment=1)
    index(1, 1, state="waiting")
    for name, value in (READ | {"READ_AT_MOST": 10, "ASK_AT_MOST": -1}).items():
        monkeypatch.setattr(word_search, name, value)
    page = tweets.find(Wanted(q="pill"))
    assert ([tweet.pk for tweet in page.tweets], page.older) == ([old], None)


def test_there_is_nothing_after_the_first_tweet(client_of, analyst):
    make_tweet("pill")
    page = client_of(analyst).get("/tweets/?q=pill&after=0")
    assert page.context["rows"] == []
    assert client_of(analyst).get("/tweets/" + page.context["newer"]).status_code == 200


def test_the_last_page_of_a_search_that_finds_no_more_leads_back(client_of, analyst):
    found = make_tweet("pill").pk
    for _ in range(6):
        make_tweet("nothing")
    client = client_of(analyst)
    below = client.get(f"/tweets/?q=pill&after={found}")
    assert "No further tweet fits." in below.content.decode()
    back = client.get("/tweets/" + below.context["newer"])
    assert [line.tweet.pk for line in back.context["rows"]] == [found]
    above = client.get(f"/tweets/?q=pill&before={found}")
    assert "No further tweet fits." in above.content.decode()
    back = client.get("/tweets/" + above.context["older"])
    assert [line.tweet.pk for line in back.context["rows"]] == [found]


def test_upwards_it_is_the_other_button_that_looks_on(client_of, analyst, monkeypatch):
    for _ in range(20):
        make_tweet("nothing")
    newest = make_tweet("pill")
    for name, value in (READ | {"READ_AT_MOST": 12, "ASK_AT_MOST": -1}).items():
        monkeypatch.setattr(word_search, name, value)
    client = client_of(analyst)
    page = client.get("/tweets/?q=pill&before=0")
    assert re.search(r'rel="prev">Look on<', page.content.decode())
    assert re.search(r'rel="next">Older<', page.content.decode())
    assert [line.tweet.pk for line in client.get("/tweets/" + page.context["newer"]).context["rows"]] == [
        newest.pk
    ]


@pytest.mark.parametrize(
    "text",
    ["#Oxy50 it's", "<b>oxy50</b> & it's", "oxy50/x it", "oxy50-free it's", "OXY50 it's", "me@oxy50.example"],
)
def test_what_the_index_finds_has_the_letters(text):
    """Whatever the parser takes for a word of a text is a part of the text in small letters."""
    make_tweet(text)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(strpos(lower(t.text), word) > 0), count(*) FROM labeling_tweet t,"
            " unnest(tsvector_to_array(to_tsvector('tweet_text', t.text))) AS word"
        )
        assert cursor.fetchone()[0] is True


def test_the_planner_reads_texts_in_their_order_and_only_to_the_window(monkeypatch):
    source = make_tweet()
    Tweet.objects.bulk_create(
        Tweet(source=source.source, import_id=source.import_id, text=f"word {n}", dedupe_key=-n - 1)
        for n in range(3_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_tweet")
    monkeypatch.setattr(word_search, "READ_AT_MOST", 100)
    query = word_search._Query.of("pill")
    with CaptureQueriesContext(connection) as queries:
        result = word_search._read(Listing(Tweet.objects.all()), query, search_index.searched(), 51)
    assert result.ids == []
    assert result.end == Tweet.objects.order_by("-id")[99].pk
    (statement,) = [query["sql"] for query in queries if "strpos" in query["sql"]]
    assert rows_read(statement.replace("%", "%%")) <= 200


@pytest.mark.parametrize(
    ("words", "excludes"),
    [("-word", True), ("a or -b", True), ('-"a b" -c', True), ("a -b", False), ("", False), ("!!!", False)],
)
def test_a_search_must_name_what_to_look_for(words, excludes):
    assert word_search.only_excludes(words) is excludes
