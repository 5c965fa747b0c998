"""Queue pages and the label page, over HTTP: with htmx and as plain forms."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from labeling import queues
from labeling.models import Annotation, Queue, QueueItem, Rule, Tweet, Verdict
from tests.factories import make_scores, make_tag, make_tweet, make_version

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def make_queue(**fields) -> Queue:
    for _ in range(fields.pop("tweets", 3)):
        make_tweet()
    fields = {"strategy": "random", "size": 50, "user": None, **fields}
    return queues.create_queue(name=fields.pop("name", f"queue {Queue.objects.count()}"), **fields)


def url(name: str, queue: Queue) -> str:
    return reverse(f"labeling:{name}", args=[queue.pk])


def shown(response) -> str:
    return str(response.context["shown"])


def submit(client, queue, token, *, htmx=True, **data):
    data = {"shown": token, "action": "submit", "verdict": Verdict.DA.value} | data
    return client.post(url("label-submit", queue), data, headers=HTMX if htmx else {})


# Access ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["queue-list", "queue-new", "label-next"])
def test_visitors_log_in_first_and_outsiders_stay_out(name, client, client_of, outsider):
    assert client.get(reverse(f"labeling:{name}")).status_code == 302
    assert client_of(outsider).get(reverse(f"labeling:{name}")).status_code == 403


@pytest.mark.parametrize("name", ["label-submit", "label-undo", "label-release", "label-renew"])
def test_what_changes_something_is_posted(name, client_of, analyst, outsider):
    queue = make_queue()
    assert client_of(analyst).get(url(name, queue)).status_code == 405
    assert client_of(outsider).post(url(name, queue)).status_code == 403


def test_a_reviewer_makes_and_closes_queues_and_an_analyst_does_not(client_of, analyst, reviewer):
    make_tweet()
    new = reverse("labeling:queue-new")
    assert client_of(analyst).get(new).status_code == 403
    data = {"name": "first", "strategy": "random", "size": 5, "annotators_per_tweet": 1, "source": "general"}
    client = client_of(reviewer)
    assert client.get(new).status_code == 200
    assert client.post(new, data).status_code == 302
    queue = Queue.objects.get()
    assert (queue.name, queue.created_by, queue.shows_suggestion) == ("first", reviewer, False)
    assert client_of(analyst).post(url("queue-open", queue), {"open": "0"}).status_code == 403
    client.post(url("queue-open", queue), {"open": "0"})
    queue.refresh_from_db()
    assert not queue.is_open
    client.post(url("queue-open", queue), {"open": "1"})
    queue.refresh_from_db()
    assert queue.is_open


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategy": "risk"}, "Train a version"),
        ({"size": 0}, "greater than or equal to 1"),
        ({"name": ""}, "required"),
        ({"strategy": "selected"}, "not one of the available choices"),
    ],
)
def test_a_queue_that_cannot_be_made_says_why(change, words, client_of, reviewer):
    make_tweet()
    data = {
        "name": "first",
        "strategy": "random",
        "size": 5,
        "annotators_per_tweet": 1,
        "source": "",
    } | change
    response = client_of(reviewer).post(reverse("labeling:queue-new"), data)
    assert response.status_code == 400
    assert words in response.content.decode()
    assert not Queue.objects.exists()


def test_the_list_of_queues_takes_few_queries_however_many_there_are(
    client_of, analyst, django_assert_num_queries
):
    for n in range(4):
        queue = make_queue(name=f"q{n}")
    client = client_of(analyst)
    submit(client, queue, shown(client.get(url("label", queue))))  # and the next one is in hand
    with django_assert_num_queries(6):  # session, user, role, open, closed, counts
        content = client.get(reverse("labeling:queue-list")).content.decode()
    assert content.count("Start labeling") == 4
    assert content.count("<strong>0</strong> of 3 judged · 3 waiting") == 3
    assert content.count("<strong>1</strong> of 3 judged · 1 waiting · 1 in hand · 1 by me") == 1


def test_there_is_nothing_to_start_in_a_finished_queue(client_of, analyst):
    make_queue().items.update(state="done")
    content = client_of(analyst).get(reverse("labeling:queue-list")).content.decode()
    assert "Start labeling" not in content
    assert ">Open<" in content


def test_an_empty_list_of_queues_says_what_a_queue_is(client_of, analyst):
    assert "Ask a reviewer" in client_of(analyst).get(reverse("labeling:queue-list")).content.decode()


# The page -------------------------------------------------------------------------------------------------


def test_label_next_goes_to_a_queue_with_tweets_or_says_that_there_is_none(client_of, analyst):
    client = client_of(analyst)
    assert client.get(reverse("labeling:label-next")).headers["Location"] == reverse("labeling:queue-list")
    queue = make_queue()
    make_queue(name="later")
    client.get(url("label", queue))
    assert client.get(reverse("labeling:label-next")).headers["Location"] == url("label", queue)


def test_label_next_goes_on_where_one_worked_last(client_of, analyst, second_analyst):
    worked, untouched = make_queue(name="worked"), make_queue(name="newer and untouched")
    client, next_queue = client_of(analyst), reverse("labeling:label-next")
    submit(client, worked, shown(client.get(url("label", worked))))
    held = queues.claim_next(worked, analyst)  # what the submit has shown
    assert held is not None
    queues.submit(held.pk, analyst, verdict=Verdict.NDA, tag_ids=[])
    assert client.get(next_queue).headers["Location"] == url("label", worked)
    assert client_of(second_analyst).get(next_queue).headers["Location"] == url("label", untouched)


def test_label_next_leaves_out_a_queue_that_waits_for_others(client_of, analyst):
    two_each = make_queue(tweets=1, annotators_per_tweet=2, name="two each")
    other = make_queue(name="other")
    client = client_of(analyst)
    for item in two_each.items.filter(seat=1):
        queues.submit(item.pk, analyst, verdict=Verdict.NDA, tag_ids=[])
    assert not queues.has_next(two_each, analyst)
    assert client.get(reverse("labeling:label-next")).headers["Location"] == url("label", other)
    queues.set_open(other, is_open=False)
    answer = client.get(reverse("labeling:label-next"), follow=True)
    assert "Ask a reviewer for a new queue" in answer.content.decode()


def test_what_was_skipped_is_said_and_can_be_offered_again(client_of, analyst, reviewer):
    queue = make_queue(tweets=2)
    client = client_of(analyst)
    token = shown(client.get(url("label", queue)))
    token = shown(submit(client, queue, token, action="skip"))
    done = submit(client, queue, token).content.decode()
    assert "1 judgements are in, and 1 was skipped: a reviewer can offer it again" in done
    assert "1 of 2 judged · 1 skipped" in done
    assert client.post(url("queue-skipped", queue)).status_code == 403
    page = client_of(reviewer).get(reverse("labeling:queue-list")).content.decode()
    assert "<strong>1</strong> of 2 judged · 1 skipped · 0 waiting" in page
    answer = client_of(reviewer).post(url("queue-skipped", queue), follow=True)
    assert "1 skipped in" in answer.content.decode()
    assert "Offer the skipped again" not in answer.content.decode()
    assert client.get(url("label", queue)).context["item"] is not None  # the one who skipped it, too


@pytest.mark.parametrize(("fields", "is_linked"), [({}, True), ({"annotators_per_tweet": 2}, False)])
def test_where_people_judge_for_themselves_no_link_leads_to_what_others_say(
    client_of, analyst, fields, is_linked
):
    queue = make_queue(**fields)
    assert ("its page" in client_of(analyst).get(url("label", queue)).content.decode()) == is_linked


def test_the_page_shows_a_tweet_with_marked_terms_and_keys_and_a_reload_shows_the_same(client_of, analyst):
    tag = make_tag("opioids", guideline="only when named")
    Rule.objects.create(tag=tag, pattern="oxy")
    make_tweet("some <i>oxy</i> left")
    queue = make_queue(tweets=0)
    client = client_of(analyst)
    page = client.get(url("label", queue))
    content = page.content.decode()
    assert '&lt;i&gt;<mark class="term" title="opioids">oxy</mark>&lt;/i&gt;' in content
    assert 'data-key="1"' in content
    assert "only when named" in content
    assert client.get(url("label", queue)).context["item"] == page.context["item"]


def test_after_a_submit_htmx_gets_the_next_tweet_as_a_fragment(client_of, analyst):
    tag, queue = make_tag(), make_queue()
    client = client_of(analyst)
    page = client.get(url("label", queue))
    answer = submit(client, queue, shown(page), tags=[tag.pk], note="why")
    assert answer.status_code == 200
    assert b"<html" not in answer.content
    assert answer.context["item"] != page.context["item"]
    annotation = Annotation.objects.get()
    assert (annotation.verdict, annotation.tag_ids, annotation.note) == (Verdict.DA, [tag.pk], "why")
    assert annotation.seconds is not None
    assert annotation.suggested_by is None


def test_without_scripts_the_same_form_leads_back_to_the_page(client_of, analyst):
    queue = make_queue()
    client = client_of(analyst)
    answer = submit(client, queue, shown(client.get(url("label", queue))), htmx=False)
    assert answer.status_code == 302
    assert answer.headers["Location"] == url("label", queue)
    assert client.post(url("label-undo", queue)).headers["Location"] == url("label", queue)
    assert client.get(url("label", queue)).context["verdicts"][0].is_checked  # the choice came back


def test_a_double_submit_is_harmless(client_of, analyst):
    queue = make_queue()
    client = client_of(analyst)
    token = shown(client.get(url("label", queue)))
    second = submit(client, queue, token), submit(client, queue, token, verdict=0)
    assert [answer.status_code for answer in second] == [200, 200]
    assert Annotation.objects.count() == 1


@pytest.mark.parametrize("htmx", [True, False])
def test_without_a_verdict_nothing_is_lost(htmx, client_of, analyst):
    tag, queue = make_tag(), make_queue()
    client = client_of(analyst)
    page = client.get(url("label", queue))
    answer = submit(client, queue, shown(page), htmx=htmx, verdict="", tags=[tag.pk], note="kept")
    assert answer.status_code == 422
    assert "Choose a verdict" in answer.content.decode()
    assert answer.context["tag_choices"][0].is_checked
    assert answer.context["item"] == page.context["item"]
    assert "kept" in answer.content.decode()


@pytest.mark.parametrize("htmx", [True, False])
def test_a_lost_claim_says_so_and_keeps_what_was_chosen(htmx, client_of, analyst, second_analyst):
    tag, queue = make_tag(), make_queue(tweets=1)
    client = client_of(analyst)
    page = client.get(url("label", queue))
    QueueItem.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    assert queues.claim_next(queue, second_analyst) is not None
    answer = submit(client, queue, shown(page), htmx=htmx, tags=[tag.pk], note="kept")
    assert answer.status_code == 409
    content = answer.content.decode()
    assert "a colleague has it now" in content
    assert "kept" in content
    assert answer.context["tag_choices"][0].is_checked
    assert reverse("labeling:tweet-correct", args=[page.context["item"].tweet_id]) in content
    assert not Annotation.objects.exists()


def test_skip_and_undo_bring_a_tweet_away_and_back(client_of, analyst):
    queue = make_queue()
    client = client_of(analyst)
    page = client.get(url("label", queue))
    skipped = client.post(url("label-submit", queue), {"shown": shown(page), "action": "skip"}, headers=HTMX)
    assert skipped.context["item"] != page.context["item"]
    back = client.post(url("label-undo", queue), headers=HTMX)
    assert back.context["item"] == page.context["item"]
    nothing = client.post(url("label-undo", queue), headers=HTMX)
    assert nothing.status_code == 204
    assert "nothing to undo" in nothing.headers["HX-Trigger"]


def test_the_form_cannot_say_who_when_or_which_suggestion(client_of, analyst, reviewer):
    queue = make_queue()
    client = client_of(analyst)
    token = shown(client.get(url("label", queue)))
    submit(client, queue, token, annotator=reviewer.pk, suggested_by=5, seconds=0.1, inclusion_probability=1)
    annotation = Annotation.objects.get()
    assert (annotation.annotator, annotation.suggested_by_id) == (analyst, None)
    assert submit(client, queue, token + "x").status_code == 400
    assert submit(client_of(reviewer), queue, token).status_code == 400  # another user's form


def test_a_beacon_gives_the_tweet_back_and_pause_leads_to_the_queues(
    client_of, analyst, second_analyst, settings
):
    settings.RELEASE_GRACE_SECONDS = -1
    queue = make_queue(tweets=1)
    client = client_of(analyst)
    token = shown(client.get(url("label", queue)))
    renewed = client.post(url("label-renew", queue), {"shown": token}).json()["shown"]
    assert client.post(url("label-release", queue), {"shown": token}).status_code == 204  # an older page
    assert queues.claim_next(queue, second_analyst) is None
    paused = client.post(url("label-release", queue), {"shown": renewed, "pause": "1"})
    assert paused.headers["Location"] == reverse("labeling:queue-list")
    assert queues.claim_next(queue, second_analyst) is not None
    assert client.post(url("label-renew", queue), {"shown": renewed}).status_code == 409


def test_a_queue_that_shows_the_suggestion_stores_whose_it_was(client_of, analyst):
    tag, tweet = make_tag("opioids"), make_tweet()
    version = make_version(number=42)
    make_scores(version, {tweet: (0.777, {tag: 0.91})})
    queue = make_queue(tweets=0, shows_suggestion=True)
    client = client_of(analyst)
    page = client.get(url("label", queue))
    content = page.content.decode()
    assert "77.7" in content
    assert "91 %" in content
    assert not page.context["tag_choices"][0].is_checked  # a hint, not an answer
    submit(client, queue, shown(page))
    assert Annotation.objects.get().suggested_by == version


def test_a_blind_queue_gives_nothing_away(client_of, analyst):
    tag, tweet = make_tag("opioids"), make_tweet()
    make_scores(make_version(number=42), {tweet: (0.777, {tag: 0.91})})
    queue = make_queue(tweets=0, strategy="risk")
    client = client_of(analyst)
    page = client.get(url("label", queue))
    content = page.content.decode()
    for secret in ("77.7", "0.777", "91 %", "0.91", 'class="hint', "version 42", "highest risk"):
        assert secret not in content
    submit(client, queue, shown(page))
    assert Annotation.objects.get().suggested_by is None


def test_an_empty_queue_says_what_next(client_of, analyst, second_analyst):
    queue = make_queue(tweets=1)
    client = client_of(analyst)
    done = submit(client, queue, shown(client.get(url("label", queue))))
    assert "The queue is done" in done.content.decode()
    other = make_queue(tweets=1)
    queues.claim_next(other, second_analyst)
    assert "in the hands of colleagues" in client.get(url("label", other)).content.decode()
    queues.set_open(other, is_open=False)
    assert "This queue is closed" in client.get(url("label", other)).content.decode()


def test_a_tweet_with_a_script_is_inert(client_of, analyst):
    make_tweet('<img src=x onerror="alert(1)"> javascript:alert(2)')
    queue = make_queue(tweets=0)
    content = client_of(analyst).get(url("label", queue)).content.decode()
    assert "<img" not in content
    assert 'href="javascript' not in content


def test_the_next_tweet_takes_few_queries(client_of, analyst, django_assert_num_queries):
    tags = [make_tag() for _ in range(25)]
    queue = make_queue(tweets=20, shows_suggestion=True)
    tweets = list(Tweet.objects.all())
    version = make_version()
    make_scores(version, {tweet: (0.5, dict.fromkeys(tags, 0.5)) for tweet in tweets})
    Queue.objects.update(version=version)
    client = client_of(analyst)
    token = shown(client.get(url("label", queue)))
    with django_assert_num_queries(21):  # 4 of them begin or end a transaction
        submit(client, queue, token, tags=[tag.pk for tag in tags[:3]])
