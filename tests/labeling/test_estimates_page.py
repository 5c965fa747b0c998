"""The estimates page: before, during and after an audit; starting one; and how blind its label page is."""

from __future__ import annotations

import pytest
from django.urls import reverse

from labeling import audits, estimate_words
from labeling.models import Audit
from ml.estimates import Interval
from tests.factories import make_rule, make_tag
from tests.labeling.test_audits import judge, make_corpus
from tests.labeling.test_corpus_share import hold_out

PAGE = "/estimates/"
START = "/estimates/audits/"


def test_without_a_model_it_says_what_comes_first(client_of, analyst):
    page = client_of(analyst).get(PAGE).content.decode()
    assert "No model has scored the tweets yet" in page
    assert "Draw them" not in page


def test_without_an_audit_it_says_what_labels_would_buy(client_of, reviewer):
    make_corpus()
    page = client_of(reviewer).get(PAGE).content.decode()
    assert "No audit yet" in page
    assert "What so many labels would buy" in page
    assert "Draw them" in page


def test_an_analyst_is_told_whom_to_ask(client_of, analyst):
    make_corpus()
    page = client_of(analyst).get(PAGE).content.decode()
    assert "Ask a reviewer" in page
    assert "Draw them" not in page


def test_starting_an_audit_makes_its_queue(client_of, reviewer):
    make_corpus()
    response = client_of(reviewer).post(START, {"labels": 100, "then": "label"})
    audit = Audit.objects.get()
    assert response["Location"] == reverse("labeling:label", args=[audit.queue_id])
    assert audit.queue.created_by == reviewer
    assert "The audit has begun: 0 of 100" in client_of(reviewer).get(PAGE).content.decode()


def test_an_audit_of_the_flagged_alone_can_be_asked_for(client_of, reviewer):
    make_corpus(flagged=100)
    client_of(reviewer).post(START, {"labels": 60, "only_flagged": "on"})
    assert Audit.objects.get().is_of_flagged
    page = client_of(reviewer).get(PAGE).content.decode()
    assert "among what it flags" in page
    assert "No audit of all general tweets yet" in page
    assert "From the flagged list" not in page  # nothing is judged


@pytest.mark.slow
def test_the_flagged_list_alone_has_its_precision_and_number(
    client_of, analyst, django_assert_max_num_queries
):
    version = make_corpus(tweets=2_000, flagged=300)
    hold_out(version, flagged=45, missed=15)
    judge(audits.start(version, labels=250, user=None, only_flagged=True), analyst)
    client = client_of(analyst)
    with django_assert_max_num_queries(20):
        page = client.get(PAGE).content.decode()
    assert "From the flagged list" in page
    assert f"general tweets that version {version.number} flags, " in page
    assert "there are about" in page
    assert "where fewer have keywords it is too low" in page
    assert "Figures for version" not in page  # of those, an audit of all general tweets is needed


def test_the_number_by_the_flagged_list_stands_beside_that_of_the_audit(client_of, analyst):
    version = make_corpus()
    hold_out(version, flagged=45, missed=15)
    judge(audits.start(version, labels=300, user=None), analyst)
    page = client_of(analyst).get(PAGE).content.decode()
    assert "Figures for version" in page
    assert "The same, from the flagged list" in page


def test_without_held_out_tweets_there_is_no_number_by_the_flagged_list(client_of, analyst):
    judge(audits.start(make_corpus(), labels=300, user=None), analyst)
    page = client_of(analyst).get(PAGE).content.decode()
    assert "The same, from the flagged list" not in page
    assert "fewer than 50 held-out DA tweets" in page


def test_a_size_that_makes_no_sense_is_refused_in_words(client_of, reviewer):
    make_corpus()
    response = client_of(reviewer).post(START, {"labels": 3})
    assert response.status_code == 400
    assert "greater than or equal to 50" in response.content.decode()
    assert not Audit.objects.exists()


def test_it_says_in_a_sentence_what_the_labels_mean(client_of, analyst, django_assert_max_num_queries):
    version = make_corpus(tweets=200)
    held_out = {"n": 9, "positives": 4, "tp": 3, "fn": 1, "fp": 2, "tn": 3, "recall": 0.75, "precision": 0.6}
    version.report = {"tags": [], "samples": {"test": {"n": 9, "network": {"verdict": held_out}}}}
    version.save()
    judge(audits.start(version, labels=200, user=None), analyst)
    client = client_of(analyst)
    with django_assert_max_num_queries(20):
        page = client.get(PAGE).content.decode()
    assert "Of about 40 DA tweets among 200 general tweets" in page
    assert "Estimated, all 200 general tweets" in page
    assert "All held out" in page


def test_an_unknown_version_is_not_found(client_of, analyst):
    assert client_of(analyst).get(PAGE, {"version": 99}).status_code == 404


def test_the_label_page_of_an_audit_is_blind(client_of, analyst):
    """No suggestion, no marks of the rules, no way to the tweet's page, which has the scores."""
    version = make_corpus()
    make_rule(make_tag("invented"), "invented")
    audit = audits.start(version, labels=60, user=None)
    page = client_of(analyst).get(reverse("labeling:label", args=[audit.queue_id])).content.decode()
    assert "invented" in page
    assert "<mark" not in page
    assert "The model (version" not in page
    assert "its page" not in page


@pytest.mark.parametrize(
    ("interval", "written"),
    [
        (Interval(31_234, 24_321, 39_111), "31,000 (24,000–39,000)"),
        (Interval(19_964_321, 19_956_123, 19_972_456), "19,964,000 (19,956,000–19,972,000)"),
        (Interval(3, 0, 9), "3 (0–9)"),
        (Interval(40, 40, 40), "40"),
    ],
)
def test_counts_have_the_digits_that_their_interval_deserves(interval, written):
    assert estimate_words.count(interval) == written


@pytest.mark.parametrize(
    ("interval", "written"),
    [
        (Interval(0.712, 0.577, 0.821), "71\u00a0% (58–82\u00a0%)"),
        (Interval(0.00157, 0.00123, 0.00194), "0.16\u00a0% (0.12–0.19\u00a0%)"),
        (Interval(0.5, 0.5, 0.5), "50.0\u00a0%"),
        (None, "–"),
    ],
)
def test_shares_have_the_digits_that_their_interval_deserves(interval, written):
    assert estimate_words.share(interval) == written
