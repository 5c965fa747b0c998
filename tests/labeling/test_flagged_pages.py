"""The flagged page: list and dashboard, bulk actions and their undo, export, and what must be refused."""

from __future__ import annotations

import json
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling import flagged
from labeling.models import (
    Annotation,
    AuditEvent,
    FlaggedWords,
    Job,
    Label,
    ModelVersion,
    Origin,
    ReviewItem,
    ScoringRun,
    Source,
    Tweet,
    Verdict,
)
from labeling.templatetags.flagged_tags import risk
from tests.factories import make_tweet, make_version
from tests.labeling.test_flagged import score_all

URL = "/flagged/"


@pytest.fixture
def tweets(db: None) -> list[Tweet]:
    return [
        make_tweet(f"overdose risk=0.{99 - number} <b>bold</b>", source=Source.GENERAL)
        for number in range(40)
    ] + [make_tweet("quiet")]


@pytest.fixture
def version(tweets: list[Tweet], monkeypatch: pytest.MonkeyPatch) -> ModelVersion:
    return score_all(monkeypatch, ["opioids", "overdose"])


@pytest.fixture
def client(client_of, analyst):
    return client_of(analyst)


def test_it_says_what_is_not_scored_yet_and_who_can_let_it_go_on(
    client_of, analyst, version: ModelVersion, tweets
) -> None:
    page = client_of(analyst).get(URL).content.decode()
    assert "not scored yet" not in page
    for _ in range(3):
        make_tweet("overdose")
    job = Job.objects.create(kind=Job.Kind.SCORE, state=Job.State.CANCELLED)
    ScoringRun.objects.create(version=version, job=job)
    page = client_of(analyst).get(URL).content.decode()
    assert "About 3 tweets are not scored yet" in page
    assert "was cancelled: a reviewer can let it go on" in page
    Job.objects.filter(pk=job.pk).update(state=Job.State.RUNNING)
    assert "They are being scored." in client_of(analyst).get(URL).content.decode()


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [
        ("day", "2026-02-28", "2026-02-28"),
        ("week", "2026-02-23", "2026-03-01"),
        ("month", "2024-02-01", "2024-02-29"),
        ("month", "2026-12-01", "2026-12-31"),
    ],
)
def test_a_line_of_the_table_over_time_leads_to_the_tweets_that_it_counts(unit, first, last) -> None:
    assert flagged.last_day(unit, first) == last


# Reading --------------------------------------------------------------------------------------------------


def test_the_page_shows_the_dashboard_and_the_list(client, version: ModelVersion, tweets) -> None:
    answer = client.get(URL)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert re.search(r"Flagged</span>\s*<span class=\"tile-value\">40<", html)
    assert "<strong>40</strong> tweets" in html
    assert '<mark class="towards w3">risk=0.99</mark>' in html
    assert f'<a href="{URL}?tag={version.tag_ids[1]}">overdose</a>' in html
    stored = re.search(r'<script id="flagged-charts" type="application/json">(.+?)</script>', html)
    assert stored
    charts = json.loads(stored[1])
    assert sum(charts["risk"]["counts"]) == 41
    assert charts["tags"] == {"labels": ["overdose"], "values": [40]}
    assert html.count('name="tweet"') == 40


def test_text_of_tweets_is_inert(client, version: ModelVersion) -> None:
    html = client.get(URL).content.decode()
    assert "<b>bold</b>" not in html
    assert "&lt;b&gt;bold&lt;/b&gt;" in html


def test_the_fragment_holds_the_list_alone(client, version: ModelVersion) -> None:
    answer = client.get(URL, headers={"HX-Request": "true"})
    html = answer.content.decode()
    assert "HX-Request" in answer["Vary"]
    assert 'name="tweet"' in html
    assert "<html" not in html
    assert "flagged-charts" not in html


def test_going_back_gets_the_whole_page_from_the_server(client, version: ModelVersion) -> None:
    answer = client.get(URL, headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in answer.content.decode()
    assert 'hx-history="false"' in answer.content.decode()


@pytest.mark.parametrize("query", ["", "?min_risk=0.2", "?q=overdose", "?state=unlabelled", "?state=da"])
def test_the_number_of_queries_does_not_grow(client, version: ModelVersion, query: str, analyst) -> None:
    with CaptureQueriesContext(connection) as queries:
        client.get(URL + query)
    # A search asks the planner, then the indexes, and sets what the planner may do, in a transaction.
    allowed = 20 if "q=" in query else 12
    assert len(queries) <= allowed, "\n".join(q["sql"][:200] for q in queries.captured_queries)


def test_next_and_previous_pages_are_links(client, version: ModelVersion, monkeypatch) -> None:
    monkeypatch.setattr(flagged, "PAGE_SIZE", 15)
    first = client.get(URL + "?tag=" + str(version.tag_ids[1])).content.decode()
    following = re.search(r'rel="next" href="([^"]+)"', first)[1].replace("&amp;", "&")  # type: ignore[index]
    assert "tag=" in following
    second = client.get(following).content.decode()
    assert "risk=0.84" in second
    assert "risk=0.85" not in second
    back = re.search(r'rel="prev" href="([^"]+)"', second)[1].replace("&amp;", "&")  # type: ignore[index]
    assert "risk=0.99" in client.get(back).content.decode()


def test_a_line_says_how_many_near_copies_there_are(client, version: ModelVersion, tweets) -> None:
    Tweet.objects.filter(pk__in=[tweet.pk for tweet in tweets[:3]]).update(group_hash=5)
    page = client.get("/flagged/").text
    assert page.count("+2 near copies") >= 1
    assert f"/tweets/{tweets[0].pk}/copies/" in page


def test_words_that_were_not_computed_are_said_so(client, version: ModelVersion) -> None:
    FlaggedWords.objects.all().delete()
    assert "words behind the risk: not computed" in client.get(URL).content.decode()


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("q=zebra", "Nothing matches"),
        ("min_risk=2", "Ensure this value is less than or equal to 1"),
        ("date_from=2026-02-30", "Enter a valid date"),
        ("date_from=2026-03-02&date_to=2026-03-01", "before the first one"),
        ("date_from=0001-01-01&date_to=9999-12-31", "at or above"),
        ("tag=999999", "Select a valid choice"),
        ("q=-only", "Add a word to look for"),
        ("min_risk=0", "kept but not listed"),
        ("q=%22%3C%27--", "Nothing matches"),
    ],
)
def test_it_says_what_is_wrong_or_missing(client, version: ModelVersion, query: str, says: str) -> None:
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 200
    assert says in answer.content.decode()


@pytest.mark.django_db
def test_without_an_active_version_it_leads_on(client) -> None:
    assert "No model yet" in client.get(URL).content.decode()
    make_version()
    assert "manage.py score --activate" in client.get(URL).content.decode()


@pytest.mark.parametrize("path", ["flagged", "flagged-export"])
@pytest.mark.parametrize(
    "query",
    [
        "annotator__password__regex=^p",
        "_connector=OR",
        "order_by=user__password",
        "version=1",
        "tweet__label__verdict=1",
        "after=1_2_3",
        "after=nan_1",
        "before=0.5_99999999999999999999",
    ],
)
def test_what_is_not_a_declared_filter_is_refused(client, version, path: str, query: str) -> None:
    assert client.get(f"{reverse('labeling:' + path)}?{query}").status_code == 400


# Access ---------------------------------------------------------------------------------------------------

ROUTES = [("get", "flagged"), ("get", "flagged-export"), ("post", "flagged-bulk"), ("post", "flagged-undo")]


@pytest.mark.parametrize(("method", "name"), ROUTES)
def test_outsiders_and_strangers_stay_out(client_of, outsider, method: str, name: str) -> None:
    from django.test import Client

    url = reverse(f"labeling:{name}")
    assert getattr(client_of(outsider), method)(url).status_code == 403
    answer = getattr(Client(), method)(url)
    assert answer.status_code == 302
    assert answer.url.startswith("/log-in/")


@pytest.mark.parametrize(("method", "name"), ROUTES)
def test_the_other_method_is_refused(client, method: str, name: str) -> None:
    other = client.post if method == "get" else client.get
    assert other(reverse(f"labeling:{name}")).status_code == 405


def test_a_bulk_action_needs_its_csrf_token(version, tweets, analyst) -> None:
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    strict.force_login(analyst)
    assert strict.post(URL + "bulk/", {"action": "da", "tweet": tweets[0].pk}).status_code == 403
    assert not Annotation.objects.exists()


# Bulk actions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "verdict"), [("da", Verdict.DA), ("nda", Verdict.NDA)])
def test_a_judgement_of_many_is_one_event_that_can_be_undone(
    client, analyst, version, tweets, action: str, verdict: Verdict
) -> None:
    back = URL + "?min_risk=0.6"
    chosen = [tweet.pk for tweet in tweets[:3]]

    answer = client.post(URL + "bulk/", {"action": action, "tweet": chosen, "next": back})

    assert (answer.status_code, answer.url) == (302, back + "#list-title")
    event = AuditEvent.objects.get(action="bulk")
    assert (event.user, event.tweets, event.detail["choice"]) == (analyst, 3, action)
    assert event.detail["filter"] == "min_risk=0.6"
    labels = Label.objects.filter(tweet__in=chosen)
    assert {(label.verdict, label.verdict_origin) for label in labels} == {(verdict, Origin.ANALYST)}
    html = client.get(back).content.decode()
    assert "3 tweets marked" in html
    assert f'name="event" value="{event.pk}"' in html

    undone = client.post(URL + "undo/", {"event": event.pk, "next": back}, follow=True)
    assert "Undone for 3 tweets" in undone.content.decode()
    assert not Label.objects.filter(tweet__in=chosen, verdict__isnull=False).exists()
    assert AuditEvent.objects.filter(action="undo").exists()
    assert 'name="event"' not in client.get(back).content.decode()
    again = client.post(URL + "undo/", {"event": event.pk}, follow=True)
    assert "nothing left to undo" in again.content.decode()


def test_sending_to_review_can_be_undone(client, version, tweets) -> None:
    client.post(URL + "bulk/", {"action": "review", "tweet": [tweets[0].pk, tweets[1].pk]})
    assert ReviewItem.objects.open().count() == 2
    assert "in review" in client.get(URL).content.decode()
    client.post(URL + "undo/", {"event": AuditEvent.objects.get(action="bulk").pk})
    assert ReviewItem.objects.open().count() == 0


def test_only_a_reviewer_undoes_what_a_colleague_did(
    client, client_of, second_analyst, reviewer, version, tweets
) -> None:
    client.post(URL + "bulk/", {"action": "da", "tweet": tweets[0].pk})
    event = AuditEvent.objects.get(action="bulk").pk
    assert client_of(second_analyst).post(URL + "undo/", {"event": event}).status_code == 403
    assert Label.objects.filter(verdict=Verdict.DA).exists()
    client_of(reviewer).post(URL + "undo/", {"event": event})
    assert not Label.objects.filter(verdict=Verdict.DA).exists()


def test_an_undo_of_anything_else_is_not_found(client, analyst, version) -> None:
    export = AuditEvent.objects.create(action="export", user=analyst)
    for event in (export.pk, 0, "x", ""):
        assert client.post(URL + "undo/", {"event": event}).status_code == 404


def test_choosing_nothing_changes_nothing(client, version) -> None:
    answer = client.post(URL + "bulk/", {"action": "da"}, follow=True)
    assert "Choose at least one tweet" in answer.content.decode()
    assert not AuditEvent.objects.filter(action="bulk").exists()


@pytest.mark.parametrize(
    "data",
    [
        {"action": "delete", "tweet": "1"},
        {"action": "da", "tweet": "x"},
        {"action": "da", "tweet": ["1"] * 201},
    ],
)
def test_forged_selections_are_refused(client, version, data: dict) -> None:
    assert client.post(URL + "bulk/", data).status_code == 400
    assert not Annotation.objects.exists()


def test_extra_fields_of_the_form_change_nothing(client, version, tweets, admin) -> None:
    client.post(
        URL + "bulk/",
        {
            "action": "da",
            "tweet": tweets[0].pk,
            "annotator": admin.pk,
            "origin": 4,
            "verdict": 0,
            "tag_ids": 1,
        },
    )
    annotation = Annotation.objects.get()
    assert (str(annotation.annotator), annotation.origin, annotation.verdict) == ("ana", 3, 1)
    assert annotation.tag_ids is None


def test_tweets_that_are_not_scored_are_left_out(client, version, tweets) -> None:
    unscored = make_tweet("later")
    client.post(URL + "bulk/", {"action": "da", "tweet": [tweets[0].pk, unscored.pk, 10**12]})
    assert [a.tweet_id for a in Annotation.objects.all()] == [tweets[0].pk]


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/flagged/", "/admin/"])
def test_it_never_leads_elsewhere(client, version, target: str) -> None:
    answer = client.post(URL + "bulk/", {"action": "da", "next": target})
    assert answer.url == URL + "#list-title"


# Export ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_an_export_is_an_attachment_with_an_audit_row(client, analyst, version, kind: str) -> None:
    answer = client.get(f"{URL}export/?format={kind}&min_risk=0.9")
    body = b"".join(answer.streaming_content)
    assert answer["Content-Disposition"] == f'attachment; filename="flagged-version-{version.number}.{kind}"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    if kind == "csv":
        assert len(body.decode().splitlines()) == 11
    event = AuditEvent.objects.get(action="export")
    assert (event.user, event.tweets) == (analyst, 10)
    assert event.detail["filter"] == {"format": kind, "min_risk": "0.9"}


def test_an_export_stops_at_its_limit(client, version, settings) -> None:
    settings.EXPORT_LIMIT = 5
    assert "up to 5" in client.get(URL).content.decode()
    body = b"".join(client.get(f"{URL}export/?format=jsonl").streaming_content)
    assert len(body.splitlines()) == 5
    assert AuditEvent.objects.get(action="export").tweets == 5


@pytest.mark.parametrize("query", ["format=html", "format=csv&min_risk=9", "format=../x"])
def test_an_export_of_nonsense_is_refused_and_leaves_no_trace(client, version, query: str) -> None:
    assert client.get(f"{URL}export/?{query}").status_code == 400
    assert not AuditEvent.objects.filter(action="export").exists()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0.30012, "0.300"),
        (0.00041, "0.00041"),
        (0.9994, "0.999"),
        (0.99996, ">0.999"),
        (1.0, "1.000"),
    ],
)
def test_a_risk_below_one_is_never_written_as_certain(value, written):
    assert risk(value) == written
