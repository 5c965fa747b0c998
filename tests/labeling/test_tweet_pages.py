"""The list of tweets and a tweet's own page."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from labeling import tweets
from labeling.annotation import annotate
from labeling.labels import derive_labels
from labeling.models import Annotation, Label, Origin, ReviewItem, Rule, Source, Verdict
from labeling.tweets import LabelState
from tests.factories import make_annotation, make_scores, make_tag, make_tweet, make_version

pytestmark = pytest.mark.django_db
LIST = "/tweets/"


def page_of(tweet, **query) -> str:
    return reverse("labeling:tweet-detail", args=[tweet.pk], query=query or None)


def texts(response) -> list[str]:
    return [line.tweet.text for line in response.context["rows"]]


# Access ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/tweets/", "/tweets/1/"])
def test_visitors_log_in_first_and_outsiders_stay_out(path, client, client_of, outsider):
    make_tweet()
    assert client.get(path).status_code == 302
    assert client_of(outsider).get(path).status_code == 403


def test_pages_answer_to_their_methods_only(client_of, analyst):
    client, tweet = client_of(analyst), make_tweet()
    assert client.post(LIST).status_code == 405
    assert client.post(page_of(tweet)).status_code == 405
    for name in ("tweet-correct", "tweet-send"):
        assert client.get(reverse(f"labeling:{name}", args=[tweet.pk])).status_code == 405


# The list -------------------------------------------------------------------------------------------------


def test_an_empty_installation_says_what_to_do(client_of, analyst, reviewer):
    assert "Ask a reviewer to import some" in client_of(analyst).get(LIST).content.decode()
    content = client_of(reviewer).get(LIST).content.decode()
    assert "Import a file of tweets first" in content
    assert "[invalid name]" not in content  # a filter without a label


@pytest.mark.parametrize(
    "query",
    [
        "annotator__password__regex=a",
        "_connector=OR",
        "order_by=user__password",
        "source__gt=1",
        "source=secret",
        "tag=nothing",
        "after=x",
        "after=99999999999999999999999",
        "label=1",
        "q=%00",
    ],
)
def test_what_is_not_on_the_list_of_filters_is_refused(query, client_of, analyst):
    make_tweet()
    assert client_of(analyst).get(f"{LIST}?{query}").status_code == 400


def test_each_filter_finds_its_tweets(client_of, analyst, reviewer):
    tag = make_tag("opioids")
    ruled, imported, judged, disputed, sent, _ = (
        make_tweet(text, source=Source.SPECIFIC if text == "imported one" else Source.GENERAL)
        for text in ("ruled one", "imported one", "judged one", "disputed one", "sent one", "plain other")
    )
    make_annotation(ruled, origin=Origin.RULE, tag_ids=[tag.pk])
    make_annotation(imported, origin=Origin.IMPORT, tag_ids=[])
    derive_labels([ruled.pk, imported.pk])
    annotate(tweet_id=judged.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[tag.pk])
    annotate(tweet_id=disputed.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[])
    annotate(tweet_id=disputed.pk, annotator=reviewer, verdict=Verdict.NDA, tag_ids=[])
    client = client_of(analyst)
    client.post(reverse("labeling:tweet-send", args=[sent.pk]), {"note": "odd"})

    def found(query: str) -> list[str]:
        response = client.get(f"{LIST}?{query}")
        assert response.status_code == 200
        return [text.split()[0] for text in texts(response)]

    assert found("") == ["plain", "sent", "disputed", "judged", "imported", "ruled"]
    assert found("q=one&label=none") == ["sent"]
    assert found("q=other") == ["plain"]
    assert found("source=specific") == ["imported"]
    assert found("source=general&q=one") == ["sent", "disputed", "judged", "ruled"]
    assert found("label=provisional") == ["imported", "ruled"]
    assert found("label=judged") == ["disputed", "judged"]
    assert found("label=disputed") == ["disputed"]
    assert found("label=review") == ["sent", "disputed"]
    assert found("verdict=da") == ["judged"]
    assert found("verdict=unsure") == ["disputed"]
    assert found("tag=opioids") == ["judged", "ruled"]
    assert found("origin=rule&tag=opioids") == ["ruled"]
    assert found("origin=import&q=one&source=specific") == ["imported"]
    assert found("q=%22imported+one%22") == ["imported"]
    assert found("q=one+-judged&verdict=da") == []


def test_pages_go_back_and_forth_by_id_and_keep_the_filters(client_of, analyst, monkeypatch):
    monkeypatch.setattr(tweets, "PAGE_SIZE", 3)
    for n in range(8):
        make_tweet(f"word {n}")
    client = client_of(analyst)
    first = client.get(f"{LIST}?q=word")
    assert texts(first) == ["word 7", "word 6", "word 5"]
    assert first.context["older"].startswith("?q=word&after=")
    second = client.get(LIST + first.context["older"])
    third = client.get(LIST + second.context["older"])
    assert texts(third) == ["word 1", "word 0"]
    assert third.context["page"].older is None
    back = client.get(LIST + third.context["newer"])
    assert texts(back) == texts(second)
    assert texts(client.get(LIST + back.context["newer"])) == texts(first)


def test_the_list_takes_few_queries_however_long_it_is(client_of, analyst, django_assert_max_num_queries):
    tag = make_tag()
    for n in range(30):
        annotate(tweet_id=make_tweet(f"word {n}").pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[tag.pk])
    client = client_of(analyst)
    # session, user, role, tags, ids, tweets, search index
    with django_assert_max_num_queries(7):
        client.get(f"{LIST}?verdict=da&tag={tag.slug}")
    with django_assert_max_num_queries(15):  # and a transaction with its settings around the search
        client.get(f"{LIST}?q=word")


def test_tweets_without_a_label_are_found_before_behind_and_among_those_with_one(monkeypatch):
    monkeypatch.setattr(tweets, "PAGE_SIZE", 2)
    made = [make_tweet() for _ in range(9)]
    for tweet in (made[0], made[4], *made[6:]):
        Label.objects.create(
            tweet=tweet,
            verdict=Verdict.DA,
            verdict_origin=Origin.ANALYST,
            annotators=1,
            updated_at=timezone.now(),
        )
    without = [made[n].pk for n in (5, 3, 2, 1)]
    wanted = tweets.Wanted(label=LabelState.NONE)

    first = tweets.find(wanted)
    second = tweets.find(wanted, after=first.older)
    assert [tweet.pk for tweet in (*first.tweets, *second.tweets)] == without
    assert (first.count, second.count) == (4, None)  # only the first page says how many there are
    assert second.older is None
    assert [tweet.pk for tweet in tweets.find(wanted, before=second.newer).tweets] == without[:2]


def test_the_first_tweet_without_a_label_is_found_by_two_indexes_in_order() -> None:
    """Behind the labels of a large import, asking for each tweet's label would take a quarter of a second."""
    with CaptureQueriesContext(connection) as queries:
        tweets.find(tweets.Wanted(label=LabelState.NONE))
    with connection.cursor() as cursor:
        for way in ("seqscan", "bitmapscan", "sort", "nestloop"):  # quicker where there is next to nothing
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute("EXPLAIN " + queries.captured_queries[0]["sql"])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Merge Anti Join" in plan
    assert "Sort" not in plan


# A tweet's own page ---------------------------------------------------------------------------------------


def test_it_shows_label_origin_probabilities_and_marked_rule_terms(client_of, analyst):
    tag = make_tag("opioids")
    Rule.objects.create(tag=tag, pattern="oxy")
    tweet = make_tweet("took <b>oxy</b> again", external_id="00042")
    make_annotation(tweet, origin=Origin.RULE, tag_ids=[tag.pk])
    derive_labels([tweet.pk])
    make_scores(make_version(number=7), {tweet: (0.8312, {tag: 0.9})})
    content = client_of(analyst).get(page_of(tweet)).content.decode()
    assert '&lt;b&gt;<mark class="term" title="opioids">oxy</mark>&lt;/b&gt;' in content
    assert "83.1" in content
    assert "version 7" in content
    assert "00042" in content
    assert '<span class="origin">rule</span>' in content


def test_the_history_shows_who_said_what_with_the_retracted_struck(client_of, analyst, second_analyst):
    tweet = make_tweet()
    mine = annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[], note="my <note>")
    annotate(tweet_id=tweet.pk, annotator=second_analyst, verdict=Verdict.NDA, tag_ids=[])
    client = client_of(analyst)
    content = client.get(page_of(tweet)).content.decode()
    assert "ben" in content
    assert "my &lt;note&gt;" in content
    assert content.count("Take back") == 1  # one's own only
    client.post(reverse("labeling:tweet-retract", args=[tweet.pk, mine.pk]))
    content = client.get(page_of(tweet)).content.decode()
    assert 'class="is-retracted"' in content
    assert "Taken back by ana" in content
    assert Label.objects.get(pk=tweet.pk).verdict == Verdict.NDA


def test_nobody_takes_back_a_colleagues_judgement_but_a_reviewer(
    client_of, analyst, second_analyst, reviewer
):
    tweet = make_tweet()
    theirs = annotate(tweet_id=tweet.pk, annotator=second_analyst, verdict=Verdict.DA, tag_ids=[])
    url = reverse("labeling:tweet-retract", args=[tweet.pk, theirs.pk])
    assert client_of(analyst).post(url).status_code == 403
    assert client_of(reviewer).post(url).status_code == 302
    assert not Label.objects.exists()


def test_a_rules_annotation_cannot_be_taken_back_here(client_of, reviewer):
    tweet = make_tweet()
    ruled = make_annotation(tweet, origin=Origin.RULE, tag_ids=[1])
    url = reverse("labeling:tweet-retract", args=[tweet.pk, ruled.pk])
    assert client_of(reviewer).post(url).status_code == 404


def correct(client, tweet, **data):
    return client.post(reverse("labeling:tweet-correct", args=[tweet.pk]), data)


def test_a_correction_is_an_analysts_annotation_and_leads_back(client_of, analyst):
    tag, tweet = make_tag(), make_tweet()
    client = client_of(analyst)
    response = correct(client, tweet, verdict=Verdict.NDA.value, tags=[tag.pk], next="/models/3/?cell=1")
    assert response.headers["Location"] == "/models/3/?cell=1"
    annotation = Annotation.objects.get()
    assert (annotation.origin, annotation.annotator, annotation.tag_ids) == (
        Origin.ANALYST,
        analyst,
        [tag.pk],
    )
    assert correct(client, tweet, verdict=1).headers["Location"] == page_of(tweet)


@pytest.mark.parametrize("bad", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_it_never_leads_to_a_foreign_page(bad, client_of, analyst):
    tweet = make_tweet()
    client = client_of(analyst)
    page = client.get(f"{page_of(tweet)}?next={quote(bad)}")
    assert page.context["next"] == ""
    assert f'href="{bad}' not in page.content.decode()
    assert correct(client, tweet, verdict=1, next=bad).headers["Location"] == page_of(tweet)


def test_only_a_reviewer_settles(client_of, analyst, reviewer):
    tweet = make_tweet()
    assert correct(client_of(analyst), tweet, verdict=1, settle="1").status_code == 403
    assert not Annotation.objects.exists()
    correct(client_of(reviewer), tweet, verdict=1, settle="1")
    assert Label.objects.get().verdict_origin == Origin.REVIEW


def test_fields_that_the_form_does_not_have_change_nothing(client_of, analyst, reviewer):
    tweet = make_tweet()
    correct(
        client_of(analyst),
        tweet,
        verdict=1,
        annotator=reviewer.pk,
        origin=Origin.REVIEW.value,
        reviewed_by=reviewer.pk,
        is_staff=1,
    )
    annotation = Annotation.objects.get()
    assert (annotation.annotator, annotation.origin) == (analyst, Origin.ANALYST)


@pytest.mark.parametrize("data", [{}, {"verdict": "9"}, {"verdict": "1", "tags": ["99999"]}])
def test_a_form_that_is_not_right_keeps_what_was_chosen_and_says_so(data, client_of, analyst):
    tag, tweet = make_tag("opioids"), make_tweet()
    data = {"tags": [str(tag.pk)], "note": "kept words", **data}
    response = correct(client_of(analyst), tweet, **data)
    assert response.status_code == 400
    content = response.content.decode()
    assert "kept words" in content
    assert 'role="alert"' in content
    assert not Annotation.objects.exists()


def test_sending_to_review_opens_one_item(client_of, analyst):
    tweet = make_tweet()
    client = client_of(analyst)
    for _ in range(2):
        client.post(reverse("labeling:tweet-send", args=[tweet.pk]), {"note": "look"})
    item = ReviewItem.objects.get()
    assert (item.reason, item.tweet_id) == (ReviewItem.Reason.SENT, tweet.pk)
    assert "waits for a reviewer" in client.get(page_of(tweet)).content.decode()


def test_the_page_takes_few_queries_however_long_the_history_is(
    client_of, analyst, django_assert_max_num_queries
):
    tweet = make_tweet()
    for _ in range(20):
        annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[])
    client = client_of(analyst)
    with django_assert_max_num_queries(10):
        client.get(page_of(tweet))


def test_near_copies_are_counted_and_listed_page_by_page(client_of, analyst, monkeypatch):
    monkeypatch.setattr(tweets, "PAGE_SIZE", 2)
    tweet, *copies = [make_tweet(f"copy {n}", group_hash=5) for n in range(4)]
    make_tweet("another")
    client = client_of(analyst)
    address = reverse("labeling:tweet-copies", args=[tweet.pk])
    page = client.get(reverse("labeling:tweet-detail", args=[tweet.pk])).text
    assert address in page
    assert "3 near copies" in page
    first = client.get(address)
    assert [line.tweet for line in first.context["rows"]] == copies[:2]
    second = client.get(f"{address}?after={first.context['next_after']}")
    assert [line.tweet for line in second.context["rows"]] == copies[2:]
    assert second.context["next_after"] is None
    assert "have not been compared with each other yet" in first.text


def test_a_tweet_without_near_copies_says_so(client_of, analyst):
    tweet = make_tweet("alone", group_hash=None)
    client = client_of(analyst)
    assert "none known" in client.get(reverse("labeling:tweet-detail", args=[tweet.pk])).text
    assert "None known" in client.get(reverse("labeling:tweet-copies", args=[tweet.pk])).text
