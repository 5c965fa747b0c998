"""The admin: the review queue for reviewers, accounts for admins, records that nobody changes."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.annotation import annotate
from labeling.identity import dedupe_keys
from labeling.models import Annotation, Label, ReviewItem, Source, Verdict
from tests.factories import make_tag, make_tweet
from tests.plans import rows_read

pytestmark = pytest.mark.django_db

QUEUE = "/admin/labeling/reviewitem/"


def disputed(analyst, second_analyst, *, text: str = "", tags=()) -> ReviewItem:
    tweet = make_tweet(text)
    annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=tags)
    annotate(tweet_id=tweet.pk, annotator=second_analyst, verdict=Verdict.NDA, tag_ids=[])
    return ReviewItem.objects.get(tweet=tweet)


def test_the_queue_shows_the_judgements_side_by_side(client_of, reviewer, analyst, second_analyst):
    tag = make_tag("withdrawal")
    disputed(analyst, second_analyst, text="cannot sleep again", tags=[tag.pk])
    page = client_of(reviewer).get(QUEUE).content.decode()
    for words in ("cannot sleep again", "Analysts disagree", "ana", "ben", "NDA", "withdrawal", "no score"):
        assert words in page


def test_the_queue_hides_what_is_decided_until_asked(client_of, reviewer, analyst, second_analyst):
    item = disputed(analyst, second_analyst, text="already settled words")
    ReviewItem.objects.filter(pk=item.pk).update(state="rejected")
    client = client_of(reviewer)
    assert "already settled words" not in client.get(QUEUE).content.decode()
    assert "already settled words" in client.get(QUEUE + "?state=rejected").content.decode()
    assert "already settled words" in client.get(QUEUE + "?state=all").content.decode()


@pytest.mark.slow
def test_the_queue_costs_the_same_for_one_item_and_for_thirty(client_of, reviewer, analyst, second_analyst):
    client = client_of(reviewer)
    disputed(analyst, second_analyst)
    with CaptureQueriesContext(connection) as one:
        client.get(QUEUE)
    for _ in range(29):
        disputed(analyst, second_analyst)
    with CaptureQueriesContext(connection) as thirty:
        client.get(QUEUE)
    assert len(thirty) == len(one) <= 10
    counts = [q["sql"] for q in thirty if "COUNT(" in q["sql"]]
    assert all("LIMIT 1000" in sql for sql in counts), "a count that is not capped"


def test_a_reviewer_corrects_and_gets_the_next_item(client_of, reviewer, analyst, second_analyst):
    tag = make_tag()
    item, following = disputed(analyst, second_analyst), disputed(analyst, second_analyst)
    answer = {"decision": "correct", "verdict": "1", "tags": [tag.pk], "note": "slang"}
    response = client_of(reviewer).post(f"{QUEUE}{item.pk}/change/", answer)
    assert response["Location"] == f"{QUEUE}{following.pk}/change/"
    label = Label.objects.get(pk=item.tweet_id)
    assert (label.verdict, label.tag_ids, label.is_disputed) == (Verdict.DA, [tag.pk], False)
    history = client_of(reviewer).get(f"{QUEUE}{item.pk}/change/").content.decode()
    assert "Corrected by rita" in history
    assert "slang" in history


def test_a_tie_is_approved_by_choosing_a_judgement(client_of, reviewer, analyst, second_analyst):
    item = disputed(analyst, second_analyst)
    client = client_of(reviewer)
    refused = client.post(f"{QUEUE}{item.pk}/change/", {"decision": "approve"})
    assert refused.status_code == 200
    assert "no majority" in refused.content.decode()
    chosen = Annotation.objects.get(annotator=second_analyst)
    client.post(f"{QUEUE}{item.pk}/change/", {"decision": "approve", "chosen": chosen.pk})
    item.refresh_from_db()
    assert item.state == "approved"
    assert Label.objects.get(pk=item.tweet_id).verdict == Verdict.NDA


def test_a_judgement_is_approved_with_the_note_and_the_list_goes_on_as_it_was(
    client_of, reviewer, analyst, second_analyst
):
    item, other, following = (disputed(analyst, second_analyst) for _ in range(3))
    ReviewItem.objects.filter(pk=other.pk).update(reason="wrong")
    came_from = "?_changelist_filters=reason__exact%3Ddisagreement"
    chosen = Annotation.objects.filter(tweet=item.tweet, annotator=second_analyst).get()
    page = client_of(reviewer).get(f"{QUEUE}{item.pk}/change/").content.decode()
    assert f'form="decision" name="chosen" value="{chosen.pk}"' in page
    answer = client_of(reviewer).post(
        f"{QUEUE}{item.pk}/change/{came_from}", {"chosen": chosen.pk, "note": "why"}
    )
    assert answer["Location"] == f"{QUEUE}{following.pk}/change/{came_from}"
    item.refresh_from_db()
    assert item.state == "approved"
    assert Annotation.objects.get(reviewitem=item).note == "why"
    last = client_of(reviewer).post(f"{QUEUE}{following.pk}/change/{came_from}", {"decision": "reject"})
    assert last["Location"] == f"{QUEUE}?reason__exact=disagreement"  # what is open is of another reason


def test_a_refused_decision_keeps_what_was_ticked(client_of, reviewer, analyst, second_analyst):
    item = disputed(analyst, second_analyst)
    refused = client_of(reviewer).post(f"{QUEUE}{item.pk}/change/", {"decision": "approve", "verdict": "0"})
    assert 'name="verdict" value="0" checked' in refused.content.decode()


@pytest.mark.parametrize("nonsense", [{}, {"decision": "erase"}, {"decision": "correct", "verdict": "7"}])
def test_nonsense_changes_nothing(client_of, reviewer, analyst, second_analyst, nonsense):
    item = disputed(analyst, second_analyst)
    assert client_of(reviewer).post(f"{QUEUE}{item.pk}/change/", nonsense).status_code == 200
    item.refresh_from_db()
    assert item.state == "open"


def test_bulk_rejection_decides_all_that_are_ticked(client_of, reviewer, analyst, second_analyst):
    items = [disputed(analyst, second_analyst) for _ in range(3)]
    ticked = {"action": "reject_items", "_selected_action": [items[0].pk, items[1].pk]}
    response = client_of(reviewer).post(QUEUE, ticked, follow=True)
    assert "2 decided" in response.content.decode()
    assert list(ReviewItem.objects.order_by("id").values_list("state", flat=True)) == [
        "rejected",
        "rejected",
        "open",
    ]


def test_analysts_and_outsiders_are_refused(client_of, analyst, outsider, client):
    for user in (analyst, outsider):
        assert client_of(user).get("/admin/", follow=True).status_code == 403
        assert client_of(user).get(QUEUE, follow=True).status_code == 403
    assert client.get(QUEUE)["Location"].startswith("/log-in/?next=")


def test_a_reviewer_reads_records_but_changes_none_and_sees_no_accounts(client_of, reviewer, analyst):
    tweet = make_tweet("to look at")
    annotation = annotate(tweet_id=tweet.pk, annotator=analyst, verdict=Verdict.DA, tag_ids=[])
    client = client_of(reviewer)
    for path in (f"tweet/{tweet.pk}", f"annotation/{annotation.pk}"):
        url = f"/admin/labeling/{path}/change/"
        assert client.get(url).status_code == 200
        assert client.post(url, {"text": "changed", "verdict": "0"}).status_code == 403
        assert client.post(f"/admin/labeling/{path}/delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/auth/user/").status_code == 403


def test_the_tweet_list_counts_no_further_than_it_must(client_of, admin):
    keys = dedupe_keys(Source.GENERAL, [("abc1", "")])
    make_tweet("one of many", external_id="abc1", dedupe_key=int(keys[0]))
    client = client_of(admin)
    with CaptureQueriesContext(connection) as queries:
        assert "one of many" in client.get("/admin/labeling/tweet/?q=abc1").content.decode()
    assert all("LIMIT 1000" in q["sql"] for q in queries if "COUNT(" in q["sql"])
    assert "one of many" not in client.get("/admin/labeling/tweet/?q=many").content.decode()


@pytest.mark.parametrize(
    "query", ["decided_by__password__startswith=p", "tweet__text__regex=a", "tweet__label__verdict=1"]
)
def test_filters_outside_the_list_of_allowed_ones_are_refused(client_of, reviewer, query):
    assert client_of(reviewer).get(f"{QUEUE}?{query}").status_code in (400, 302)


def test_an_admin_of_the_group_alone_manages_accounts(client_of, db):
    boss = User.objects.create_user("boss", password="correct horse battery")
    boss.groups.add(Group.objects.get_or_create(name="admin")[0])
    client = client_of(boss)
    analysts = Group.objects.get_or_create(name="analyst")[0]
    page = client.get("/admin/auth/user/add/")
    assert page.status_code == 200
    new = {
        "username": "nina",
        "usable_password": "true",
        "password1": "a long good phrase",
        "password2": "a long good phrase",
        "groups": [analysts.pk],
    }
    client.post("/admin/auth/user/add/", new)
    assert User.objects.get(username="nina").groups.get() == analysts


def test_disabling_an_account_ends_its_session_at_the_next_request(client_of, analyst):
    client = client_of(analyst)
    assert client.get("/").status_code == 200
    User.objects.filter(pk=analyst.pk).update(is_active=False)
    assert client.get("/")["Location"].startswith("/log-in/")


def test_a_tweet_is_found_by_its_number_or_by_the_id_it_came_with(client_of, admin):
    keys = dedupe_keys(Source.GENERAL, [("named", "")])
    named = make_tweet("came with a name", external_id="named", dedupe_key=int(keys[0]))
    for _ in range(300):
        make_tweet()
    client = client_of(admin)
    address = reverse("admin:labeling_tweet_changelist")
    for term in ("named", str(named.pk)):
        with CaptureQueriesContext(connection) as queries:
            html = client.get(address, {"q": term}).content.decode()
        assert "came with a name" in html
        assert html.count("field-excerpt") == 1
        statements = [q["sql"] for q in queries.captured_queries if 'FROM "labeling_tweet"' in q["sql"]]
        assert all(rows_read(statement) < 10 for statement in statements)
