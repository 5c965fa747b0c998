"""What one version flags and another does not; asking before tweets that people judged are lost."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from labeling import flips, versions
from labeling.flips import Flip
from labeling.labels import derive_labels
from labeling.models import AuditEvent, ModelVersion, Origin, Tag, Tweet, Verdict
from tests.factories import make_annotation, make_scores, make_tag, make_tweet, make_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def tag() -> Tag:
    return make_tag("alpha")


def judge(tweet: Tweet, by, *, verdict: Verdict | None = None, tags: list[Tag] | None = None) -> None:
    tag_ids = None if tags is None else [tag.pk for tag in tags]
    make_annotation(tweet, annotator=by, verdict=verdict, tag_ids=tag_ids)
    derive_labels([tweet.pk])


@pytest.fixture
def world(analyst, tag) -> tuple[ModelVersion, ModelVersion, dict[str, Tweet]]:
    """Two scored versions, the first active; tweets named after what becomes of them."""
    tweets = {
        name: make_tweet(f"a tweet that is {name}") for name in ("lost", "kept", "gained", "quiet", "nda")
    }
    before, after = make_version(), make_version()
    scores = {
        "lost": (0.9, 0.2),
        "kept": (0.8, 0.7),
        "gained": (0.1, 0.6),
        "quiet": (0.1, 0.2),
        "nda": (0.7, 0.3),
    }
    given = {
        "lost": (0.9, 0.1),
        "kept": (0.9, 0.9),
        "gained": (0.1, 0.8),
        "quiet": (0.1, 0.1),
        "nda": (0.9, 0.1),
    }
    for place, version in enumerate((before, after)):
        rows = {tweets[name]: (risks[place], {tag: given[name][place]}) for name, risks in scores.items()}
        make_scores(version, rows, activate=not place)
    for name in ("lost", "kept", "gained"):
        judge(tweets[name], analyst, verdict=Verdict.DA, tags=[tag])
    judge(tweets["nda"], analyst, verdict=Verdict.NDA, tags=[])
    return before, after, tweets


def test_what_people_judged_is_counted_for_da_and_each_tag(world, tag):
    before, after, _ = world
    da, alpha = flips.judged(before, after)
    assert (da.name, da.n, da.before, da.after, da.lost, da.gained) == ("DA", 3, 2, 2, 1, 1)
    assert (alpha.tag, alpha.n, alpha.before, alpha.after, alpha.lost, alpha.gained) == (tag, 3, 2, 2, 1, 1)


def test_what_only_rules_or_an_import_said_is_not_verified(world, tag):
    before, after, tweets = world
    make_annotation(tweets["quiet"], origin=Origin.IMPORT, verdict=Verdict.DA, tag_ids=[tag.pk])
    derive_labels([tweets["quiet"].pk])
    assert [row.n for row in flips.judged(before, after)] == [3, 3]


def test_lists_say_which_tweets_flip_those_that_were_judged_and_all(world, tag):
    before, after, tweets = world

    def ids(read, flip):
        return [row.tweet_id for row in read(flip).rows]

    for tag_id in (None, tag.pk):
        assert ids(flips.judged_page, Flip(before, after, tag_id)) == [tweets["lost"].pk]
        assert ids(flips.page, Flip(before, after, tag_id)) == [tweets["lost"].pk, tweets["nda"].pk]
        assert ids(flips.page, Flip(after, before, tag_id)) == [tweets["gained"].pk]
    (row,) = flips.judged_page(Flip(before, after, tag.pk)).rows
    assert (row.by, row.but_not) == pytest.approx((0.9, 0.1), abs=0.003)


def test_a_tweet_that_the_other_version_has_not_scored_does_not_flip(world, tag):
    _before, after, _ = world
    new = make_tweet("came later")
    third = make_version()
    make_scores(third, {new: (0.9, {tag: 0.9})}, activate=False)
    assert flips.page(Flip(third, after)).rows == flips.page(Flip(third, after, tag.pk)).rows == []


def test_a_list_is_read_page_by_page_and_window_by_window(tag, monkeypatch):
    before, after = make_version(), make_version()
    tweets = [make_tweet() for _ in range(60)]
    make_scores(before, {tweet: (0.6 + n / 200, {tag: 0.1}) for n, tweet in enumerate(tweets)})
    make_scores(
        after,
        {tweet: (0.1 + 0.8 * (n % 3 > 0), {tag: 0.1}) for n, tweet in enumerate(tweets)},
        activate=False,
    )
    flip, place, seen = Flip(before, after), None, []
    monkeypatch.setattr(flips, "WINDOWS", (10,))
    for _ in range(20):
        found = flips.page(flip, after=place, size=2)
        seen += [row.tweet_id for row in found.rows]
        place = found.after
        if place is None:
            break
    assert seen == [tweet.pk for n, tweet in reversed(list(enumerate(tweets))) if n % 3 == 0]
    first = flips.page(flip, size=25)
    assert len(first.rows) < 25
    assert first.after is not None
    assert first.looked_down_to == first.after[0]
    count = flips.count(flip)
    assert (count.flagged, count.flips, count.is_exact) == (60, 20, True)


def test_many_flips_are_counted_in_a_sample(tag, monkeypatch):
    before, after = make_version(), make_version()
    tweets = [make_tweet() for _ in range(300)]
    make_scores(before, dict.fromkeys(tweets, (0.9, {tag: 0.9})))
    make_scores(
        after, {tweet: (0.1 if n % 2 else 0.9, {tag: 0.9}) for n, tweet in enumerate(tweets)}, activate=False
    )
    before.score_summary |= {"flagged": 300, "tags": [{"tag": tag.pk, "n": 300, "flagged": 300}]}
    monkeypatch.setattr(flips, "SAMPLED", 100)
    count = flips.count(Flip(before, after))
    assert not count.is_exact
    assert 50 < count.sampled < 150
    assert 75 < count.estimate < 225
    assert flips.count(Flip(before, after, tag.pk)).flips == 0


def test_what_was_not_scored_cannot_be_compared(world):
    before, _, _ = world
    with pytest.raises(flips.CannotCompare, match="no published scores"):
        flips.judged(before, make_version())


# Activating -----------------------------------------------------------------------------------------------


def test_the_button_asks_first_where_judged_tweets_would_be_lost(world, reviewer, client_of):
    before, after, tweets = world
    url = reverse("labeling:version-activate", args=[after.number])
    body = client_of(reviewer).post(url).content.decode()
    assert ModelVersion.objects.active() == before
    assert "What would be lost" in body
    assert tweets["lost"].text in body
    assert tweets["kept"].text not in body
    client_of(reviewer).post(url, {"sure": "yes"})
    assert ModelVersion.objects.active() == after
    assert AuditEvent.objects.latest("id").detail["lost"] == {"DA": 1, "alpha": 1}


def test_nothing_is_asked_where_nothing_is_lost(world, reviewer, client_of):
    _before, after, _ = world
    ModelVersion.objects.update(is_active=False)
    assert flips.losses(after) == []
    client_of(reviewer).post(reverse("labeling:version-activate", args=[after.number]))
    assert ModelVersion.objects.active() == after
    assert "lost" not in AuditEvent.objects.latest("id").detail


def test_the_version_page_keeps_saying_what_was_lost(world, reviewer):
    _, after, _ = world
    versions.activate(after, user=reviewer)
    activation = versions.last_activation(after)
    assert activation is not None
    assert activation.lost == {"DA": 1, "alpha": 1}


def test_the_command_names_the_lost_tweets_and_wants_to_be_forced(world):
    before, after, tweets = world
    errors = StringIO()
    with pytest.raises(CommandError, match="--force"):
        call_command("activate", str(after.number), stderr=errors, stdout=StringIO())
    assert ModelVersion.objects.active() == before
    assert f"tweet {tweets['lost'].pk}" in errors.getvalue()
    assert "1 would be lost, 1 gained" in errors.getvalue()
    call_command("activate", str(after.number), "--force", stdout=StringIO())
    assert ModelVersion.objects.active() == after


# Pages ----------------------------------------------------------------------------------------------------


def test_the_pages_list_what_flips(world, tag, analyst, client_of):
    before, after, tweets = world
    client, url = client_of(analyst), reverse("labeling:version-flips")
    versions_of = {"before": before.number, "after": after.number}
    for query in ({}, {"tag": tag.pk}):
        body = client.get(url, {**versions_of, **query, "way": "lost", "judged": "on"}).content.decode()
        assert tweets["lost"].text in body
        assert tweets["nda"].text not in body
        body = client.get(url, {**versions_of, **query, "way": "lost"}).content.decode()
        assert tweets["nda"].text in body
        assert "tweets. 2 of them were scored" in body
        body = client.get(url, {**versions_of, **query, "way": "gained"}).content.decode()
        assert tweets["gained"].text in body
    later = client.get(url, {**versions_of, "way": "lost", "risk": "0.8", "tweet": "1"}).content.decode()
    assert tweets["nda"].text in later
    assert tweets["lost"].text not in later


@pytest.mark.parametrize("query", ["", "before=1&after=2&way=lost", "way=sideways", "risk=x"])
def test_a_list_that_does_not_exist_is_a_bad_request(query, analyst, client_of):
    assert client_of(analyst).get(f"{reverse('labeling:version-flips')}?{query}").status_code == 400


def test_a_version_without_scores_has_a_reason_in_place_of_a_list(world, analyst, client_of):
    before, _, _ = world
    query = {"before": before.number, "after": make_version().number, "way": "lost"}
    body = client_of(analyst).get(reverse("labeling:version-flips"), query).content.decode()
    assert "no published scores" in body
