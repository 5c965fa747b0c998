"""The tag list, a tag's page, and the preview of a rule."""

from __future__ import annotations

import pytest
from django.urls import reverse

from labeling import rule_preview
from labeling.labels import derive_labels
from labeling.models import Job, Origin, Rule, Source, Tag
from labeling.rules import RuleLine
from tests.factories import make_annotation, make_import, make_rule, make_tag, make_tweet

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


def url(name: str, *args: int) -> str:
    return reverse(f"labeling:{name}", args=args)


@pytest.fixture
def lean() -> Tag:
    tag = make_tag("lean", guideline="When it is <b>sipped</b>.")
    make_rule(tag, "lean")
    make_rule(tag, "lean meat", "phrase", is_exclusion=True)
    return tag


def page_of(client, *where) -> str:
    answer = client.get(url(*where))
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


# The list ------------------------------------------------------------------------------------------------


def test_the_list_shows_keys_rules_and_labelled_tweets(client_of, analyst, lean):
    tweet = make_tweet("lean")
    make_annotation(tweet, origin=Origin.RULE, tag_ids=[lean.pk])
    derive_labels([tweet.pk])
    page = page_of(client_of(analyst), "tag-list")
    assert "tag-teal" in page
    assert "<kbd>1</kbd>" in page
    assert page.count('<td class="num">1</td>') == 3  # one rule, one exclusion, one tweet
    assert "Archive" not in page  # an analyst reads


def test_the_list_takes_the_same_number_of_queries_for_one_tag_as_for_thirty(
    client_of, reviewer, lean, django_assert_max_num_queries
):
    client = client_of(reviewer)
    page_of(client, "tag-list")
    for _ in range(30):
        make_tag()
    with django_assert_max_num_queries(13):
        page_of(client, "tag-list")


def test_the_empty_list_offers_the_starter_lexicon_and_loads_it(client_of, analyst, reviewer):
    assert "Ask a reviewer" in page_of(client_of(analyst), "tag-list")
    client = client_of(reviewer)
    assert "Load the starter lexicon" in page_of(client, "tag-list")
    client.post(url("starter-lexicon"))
    assert Tag.objects.count() == 25
    assert Rule.objects.filter(created_by=reviewer).count() == Rule.objects.count()
    assert "Load the starter lexicon" not in page_of(client, "tag-list")


def test_counts_beyond_the_limit_are_capped(client_of, analyst, lean, monkeypatch):
    monkeypatch.setattr("labeling.views.tags.COUNT_LIMIT", 1)
    tweets = [make_tweet("lean") for _ in range(3)]
    for tweet in tweets:
        make_annotation(tweet, origin=Origin.RULE, tag_ids=[lean.pk])
    derive_labels([tweet.pk for tweet in tweets])
    assert "1+" in page_of(client_of(analyst), "tag-list")


def test_tags_are_moved_archived_and_restored(client_of, reviewer, lean):
    other = make_tag("other")
    client = client_of(reviewer)
    answer = client.post(url("tag-move", other.pk), {"to": "up"})
    assert answer.headers["Location"].endswith(f"#tag-{other.pk}")
    assert f'id="tag-{other.pk}"' in page_of(client, "tag-list")
    assert [tag.name for tag in Tag.objects.in_use()] == ["other", "lean"]
    client.post(url("tag-archive", lean.pk))
    assert "Restore lean" in page_of(client, "tag-list")
    client.post(url("tag-archive", lean.pk))
    assert [tag.name for tag in Tag.objects.in_use()] == ["other", "lean"]


def test_applying_makes_one_job_and_a_second_press_says_so(client_of, reviewer, lean):
    client = client_of(reviewer)
    client.post(url("rules-apply"))
    assert Job.objects.get().kind == Job.Kind.RULES
    answer = client.post(url("rules-apply"), follow=True)
    assert Job.objects.count() == 1
    assert "already queued or running" in answer.content.decode()


def test_it_tells_when_the_rules_have_not_been_applied(client_of, reviewer, lean):
    make_tweet("lean")
    assert "have not been applied yet" in page_of(client_of(reviewer), "tag-list")


# A tag ----------------------------------------------------------------------------------------------------


def test_a_reviewer_makes_and_changes_a_tag(client_of, reviewer):
    client = client_of(reviewer)
    given = {"name": "Pain", "colour": "red", "key": "", "guideline": "Bodily."}
    answer = client.post(url("tag-new"), given)
    tag = Tag.objects.get()
    assert answer["Location"] == url("tag-edit", tag.pk)
    client.post(url("tag-edit", tag.pk), {**given, "name": "Pain relief", "key": "shift+p"})
    tag.refresh_from_db()
    assert (tag.name, tag.key, tag.slug) == ("Pain relief", "shift+p", "pain")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "LEAN"}, "already"),
        ({"key": "a"}, "itself"),
        ({"colour": "beige"}, "valid choice"),
        ({"name": ""}, "required"),
    ],
)
def test_a_bad_tag_is_refused_with_the_reason(client_of, reviewer, lean, change, words):
    given = {"name": "new", "colour": "red", "key": "", "guideline": "", **change}
    page = client_of(reviewer).post(url("tag-new"), given).content.decode()
    assert words in page
    assert Tag.objects.count() == 1


def test_an_analyst_reads_the_guideline_as_text_and_changes_nothing(client_of, analyst, lean):
    client = client_of(analyst)
    page = page_of(client, "tag-edit", lean.pk)
    assert "&lt;b&gt;sipped" in page
    assert "lean meat" in page
    assert "Add the rule" not in page
    assert client.post(url("tag-edit", lean.pk), {"name": "x", "colour": "red"}).status_code == 403


def test_rules_are_added_disabled_and_removed(client_of, reviewer, lean):
    client = client_of(reviewer)
    client.post(url("rule-add", lean.pk), {"kind": "phrase", "pattern": "  purple   drank ", "tag": lean.pk})
    rule = Rule.objects.get(pattern="purple drank")
    assert (rule.created_by, rule.is_exclusion, rule.tag) == (reviewer, False, lean)
    client.post(url("rule-change", rule.pk), {"action": "disable"})
    assert not Rule.objects.get(pk=rule.pk).is_active
    client.post(url("rule-change", rule.pk), {"action": "enable"})
    assert Rule.objects.get(pk=rule.pk).is_active
    client.post(url("rule-change", rule.pk), {"action": "remove"})
    assert not Rule.objects.filter(pk=rule.pk).exists()


def test_adding_a_rule_twice_adds_it_once(client_of, reviewer, lean):
    client_of(reviewer).post(url("rule-add", lean.pk), {"kind": "term", "pattern": "lean"})
    assert Rule.objects.filter(pattern="lean").count() == 1


def test_a_bad_rule_is_refused_in_plain_words_and_kept_in_the_form(client_of, reviewer, lean):
    page = (
        client_of(reviewer)
        .post(url("rule-add", lean.pk), {"kind": "regex", "pattern": "(lean"})
        .content.decode()
    )
    assert "never closed" in page
    assert 'value="(lean"' in page
    assert Rule.objects.count() == 2


# Preview ------------------------------------------------------------------------------------------------------


def test_the_preview_counts_and_marks_before_anything_is_saved(client_of, analyst, lean):
    make_tweet("Sipping <i>wock</i> now")
    make_tweet("nothing here")
    client = client_of(analyst)
    given = {"tag": lean.pk, "kind": "term", "pattern": "wock"}
    page = client.get(url("rule-preview"), given).content.decode()
    assert "In all 2 tweets" in page
    assert "50.00 %" in page
    assert '&lt;i&gt;<mark class="term">wock</mark>&lt;/i&gt;' in page
    assert "<html" in page
    fragment = client.get(url("rule-preview"), given, headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert "wock" in fragment
    assert Rule.objects.count() == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "regex", "pattern": r"(a)\1"}, "Backreferences"),
        ({"kind": "regex", "pattern": "a*"}, "catch every tweet"),
        ({"kind": "what", "pattern": "a"}, "valid choice"),
        ({"kind": "term", "pattern": ""}, "before it is saved"),
        ({"kind": "term", "pattern": "a", "tag": "nonsense"}, "no tweets yet"),
    ],
)
def test_the_preview_answers_anything_with_words(client_of, analyst, given, words):
    answer = client_of(analyst).get(url("rule-preview"), given, headers=HTMX)
    assert answer.status_code == 200
    assert words in answer.content.decode()


def test_the_preview_tells_what_is_new_and_what_an_exclusion_silences(lean):
    make_tweet("lean and wock")
    make_tweet("just wock")
    make_tweet("just lean")
    (count,) = rule_preview.preview(RuleLine(lean.pk, "term", "wock"), tag=lean).counts
    assert (count.n, count.matched, count.unseen) == (3, 2, 1)
    (count,) = rule_preview.preview(RuleLine(lean.pk, "term", "wock", True), tag=lean).counts
    assert count.matched == 1


def test_a_large_table_is_sampled_at_random_and_the_specific_tweets_besides(lean, monkeypatch):
    monkeypatch.setattr(rule_preview, "SAMPLE", 20)
    own = make_import(source=Source.SPECIFIC)
    for _ in range(5):
        make_tweet("wock", source=Source.SPECIFIC, import_id=own.pk)
    for _ in range(100):
        make_tweet("nothing")
    everything, specific = rule_preview.preview(RuleLine(lean.pk, "term", "wock"), tag=lean).counts
    assert everything.words == "a random sample of 20 tweets"
    low, high = everything.interval
    assert 0 <= low <= everything.share <= high <= 1
    assert (specific.words, specific.matched, specific.is_random) == ("all 5 specific tweets", 5, False)


def test_wilsons_interval_is_the_published_one():
    low, high = rule_preview.Count("", 263, 81, 0, True).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I, method 3


def test_a_sample_that_takes_too_long_says_so(client_of, analyst, lean, monkeypatch):
    def too_slow(*args, **kwargs):
        raise rule_preview.TooSlow

    monkeypatch.setattr(rule_preview, "preview", too_slow)
    page = client_of(analyst).get(url("rule-preview"), {"kind": "term", "pattern": "a"}).content.decode()
    assert "took too long" in page


# Access ---------------------------------------------------------------------------------------------------------

POSTS = ["tag-move", "tag-archive", "rule-add"]


def test_outsiders_are_refused_and_visitors_sent_to_the_log_in(client, client_of, outsider, lean):
    for where in (url("tag-list"), url("tag-edit", lean.pk), url("rule-preview"), url("tag-new")):
        assert client_of(outsider).get(where).status_code == 403
        assert client.get(where).status_code == 302
    rule = Rule.objects.get(is_exclusion=True)
    for where in (*(url(name, lean.pk) for name in POSTS), url("rule-change", rule.pk), url("rules-apply")):
        assert client_of(outsider).post(where).status_code == 403


def test_analysts_change_nothing(client_of, analyst, lean):
    client, rule = client_of(analyst), Rule.objects.get(is_exclusion=True)
    where = [
        *(url(name, lean.pk) for name in POSTS),
        url("rule-change", rule.pk),
        url("rules-apply"),
        url("starter-lexicon"),
    ]
    assert {client.post(one, {"action": "remove"}).status_code for one in where} == {403}
    assert Rule.objects.count() == 2


def test_changes_are_posts_only(client_of, reviewer, lean):
    client, rule = client_of(reviewer), Rule.objects.get(is_exclusion=True)
    where = [
        *(url(name, lean.pk) for name in POSTS),
        url("rule-change", rule.pk),
        url("rules-apply"),
        url("starter-lexicon"),
    ]
    assert {client.get(one).status_code for one in where} == {405}
    assert client.post(url("tag-list")).status_code == 405
