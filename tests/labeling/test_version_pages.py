"""The model pages."""

from __future__ import annotations

import json
import re

import pytest
from django.urls import reverse
from django.utils import timezone

from labeling import deleting, jobs, training, versions
from labeling.models import AuditEvent, Import, Job, ModelVersion, ScoringRun, Tweet
from tests.factories import job_of, make_annotation, make_version
from tests.reports import make_evaluated_version

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(db: None) -> ModelVersion:
    return make_evaluated_version(3, tweets=80)


def url(name: str, *args: object) -> str:
    return reverse(f"labeling:{name}", args=args)


def pages(version: ModelVersion) -> dict[str, str]:
    return {
        "version-list": url("version-list"),
        "version-detail": url("version-detail", version.number),
        "version-tweets": url("version-tweets", version.number) + "?sample=test&head=DA&truth=1&predicted=1",
        "version-compare": url("version-compare"),
    }


def test_everyone_on_the_team_may_read_and_nobody_else(version, analyst, outsider, client_of, client):
    for path in [*pages(version).values(), url("retrain")]:
        assert client.get(path).status_code == 302
        assert client_of(outsider).get(path).status_code == 403
    for path in pages(version).values():
        assert client_of(analyst).get(path).status_code == 200
        assert client_of(analyst).post(path).status_code == 405


def test_training_scoring_and_activating_are_for_reviewers(version, analyst, client_of):
    for path in (
        url("retrain"),
        url("version-activate", version.number),
        url("version-score", version.number),
    ):
        assert client_of(analyst).post(path).status_code == 403
    body = client_of(analyst).get(url("version-detail", version.number)).content.decode()
    assert "Score and activate" not in body


def test_the_list_shows_figures_with_their_samples_in_few_queries(
    version, analyst, client_of, django_assert_max_num_queries
):
    make_version(state=ModelVersion.State.FAILED)
    client = client_of(analyst)
    with django_assert_max_num_queries(6):
        body = client.get(url("version-list")).content.decode()
    places = []
    for sample in ("people", "no_rule", "test"):  # in the order in which they deserve belief
        verdict = version.report["samples"][sample]["network"]["verdict"]
        places.append(body.index(f'<td class="num">{verdict["average_precision"]:.3f}</td>'))
    assert places == sorted(places)
    assert "Failed" in body
    for number in range(20):
        make_version(note=f"more {number}")
    with django_assert_max_num_queries(6):
        client.get(url("version-list"))


def test_the_empty_list_says_what_to_do(reviewer, client_of):
    body = client_of(reviewer).get(url("version-list")).content.decode()
    assert "Train the first version" in body


def test_retraining_starts_one_job_and_a_second_is_refused_with_the_way_to_the_first(
    reviewer, client_of, django_capture_on_commit_callbacks, monkeypatch
):
    rung: list[int] = []
    monkeypatch.setattr("labeling.tasks.run_job.apply_async", lambda args, *a, **k: rung.append(args[0]))
    client = client_of(reviewer)
    form = {
        "architecture": "accurate",
        "negatives": "500",
        "seed": "7",
        "note": "more labels",
        "goal": "precision",
        "precision": "0.9",
        "activate": "on",
    }
    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(url("retrain"), form)
    version = ModelVersion.objects.get()
    assert answer.url == url("version-detail", version.number)
    assert rung == [version.job_id]
    assert (version.architecture, version.negatives, version.seed, version.note) == (
        "accurate",
        500,
        7,
        "more labels",
    )
    detail = job_of(version).detail
    assert (detail["activate"], detail["goal"], detail["precision"]) == (True, "precision", 0.9)
    assert version.created_by == reviewer
    answer = client.post(url("retrain"), form, follow=True)
    assert ModelVersion.objects.count() == 1
    assert "already running" in answer.content.decode()
    assert answer.redirect_chain[-1][0] == url("version-detail", version.number)
    assert f"Version {version.number} is being trained" in client.get(url("retrain")).content.decode()


def test_a_wrong_form_says_what_is_wrong_and_starts_nothing(reviewer, client_of):
    answer = client_of(reviewer).post(
        url("retrain"), {"architecture": "huge", "negatives": "-1", "seed": "1"}
    )
    assert answer.status_code == 400
    form = {"architecture": "fast", "negatives": "5", "seed": "1", "goal": "precision", "precision": "90"}
    assert "less than or equal to 0.99" in client_of(reviewer).post(url("retrain"), form).content.decode()
    assert not Job.objects.exists()


def test_fields_that_are_not_in_the_form_change_nothing(reviewer, client_of):
    form = {"architecture": "fast", "negatives": "5", "seed": "1", "number": "99", "is_active": "1"}
    client_of(reviewer).post(url("retrain"), form)
    version = ModelVersion.objects.get()
    assert (version.number, version.is_active) == (1, False)
    assert job_of(version).detail["goal"] == "f1"


@pytest.fixture
def running(db: None) -> ModelVersion:
    version = training.start_training(user=None)
    job = jobs.claim_job(job_of(version).pk)
    assert job is not None
    job.stage, job.done, job.total = "Training", 50, 100
    job.detail |= {
        "epoch": 2,
        "epochs": 4,
        "curve": [[0.5, 0.7, None], [1.0, 0.5, 0.6]],
        "examples": 1200,
        "tags": 3,
    }
    job.save()
    return version


def test_a_running_training_shows_stage_epoch_losses_and_cancel(running, analyst, reviewer, client_of):
    client = client_of(reviewer)
    path = url("version-detail", running.number)
    page = client.get(path).content.decode()
    assert "loss-chart" in page
    fragment = client.get(path + "?poll=1", headers={"HX-Request": "true"})
    assert fragment.status_code == 200
    body = fragment.content.decode()
    assert "<html" not in body
    assert "epoch 2 of 4" in body
    assert "Loss 0.500, on validation tweets 0.600" in body
    assert url("job-cancel", running.job_id) in body
    body = client_of(analyst).get(path + "?poll=1", headers={"HX-Request": "true"}).content.decode()
    assert url("job-cancel", running.job_id) not in body
    curve = re.search(r'data-curve="([^"]*)"', body)
    assert curve is not None
    assert json.loads(curve[1].replace("&quot;", '"')) == [[0.5, 0.7, None], [1.0, 0.5, 0.6]]


def test_the_fragment_stops_polling_and_reloads_the_page_when_the_training_ends(running, analyst, client_of):
    Job.objects.filter(pk=running.job_id).update(state=Job.State.DONE)
    path = url("version-detail", running.number) + "?poll=1"
    answer = client_of(analyst).get(path, headers={"HX-Request": "true"})
    assert answer.status_code == 286
    assert answer["HX-Refresh"] == "true"


def test_a_failed_training_shows_its_reason(running, analyst, client_of):
    Job.objects.filter(pk=running.job_id).update(state=Job.State.FAILED, error="You need at least 50 tweets.")
    body = client_of(analyst).get(url("version-detail", running.number)).content.decode()
    assert "You need at least 50 tweets." in body
    assert "has failed" in body


@pytest.mark.parametrize("sample", versions.SAMPLES)
def test_the_report_shows_every_sample_with_its_size(version, sample, analyst, client_of):
    body = (
        client_of(analyst).get(url("version-detail", version.number) + f"?sample={sample}").content.decode()
    )
    for name in versions.SAMPLES:
        assert f"n = {version.report['samples'][name]['n']}" in body
    network = version.report["samples"][sample]["network"]
    assert f"sample={sample}&amp;head=DA&amp;truth=1&amp;predicted=0" in body
    assert f'aria-label="{network["verdict"]["tp"]} truly DA, predicted DA"' in body
    assert f"{network['verdict']['average_precision']:.3f}" in body
    assert "does not beat the plain baseline" in body  # macro_loses


@pytest.mark.slow
def test_the_report_takes_few_queries_however_many_tags(analyst, client_of, django_assert_max_num_queries):
    version = make_evaluated_version(25, tweets=60)
    client = client_of(analyst)
    with django_assert_max_num_queries(12):
        body = client.get(url("version-detail", version.number)).content.decode()
    assert body.count("<caption>") > 25


def test_a_cascade_says_what_it_lost_and_on_which_sample(version, analyst, client_of):
    address = url("version-detail", version.number)
    assert "What the cascade loses" not in client_of(analyst).get(address).content.decode()
    sample: dict[str, float] = {"sample": 20_000, "read_again": 800, "listed": 200, "kept": 196}
    sample |= {"share": 0.98, "low": 0.95, "high": 0.992}
    test = {"n": 1_500, "cascade": 0.912, "accurate": 0.915, "low": -0.006, "high": 0.001}
    version.report["cascade"] = {"sample": sample, "test": test}
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "random sample of 20,000 general tweets, Accurate read 800, 4\N{NO-BREAK SPACE}%" in page
    assert "Of the 200 that it would have put first had it read them all, 4 did not reach it" in page
    assert "95\N{NO-BREAK SPACE}% to 99.2\N{NO-BREAK SPACE}%" in page
    assert "is 0.912; with Accurate on all of them it would be 0.915" in page
    assert "-0.006 to +0.001" in page
    version.report["cascade"] = {"sample": None, "test": None}
    version.save()
    assert "too few general tweets outside the training" in client_of(analyst).get(address).content.decode()


def test_thresholds_say_what_they_were_chosen_for_and_what_they_reached(version, analyst, client_of):
    address = url("version-detail", version.number)
    page = client_of(analyst).get(address).content.decode()
    assert "tags for the best F1 of each." in page
    assert "What each reached" not in page  # a version from before intervals were kept
    name, *others = version.report["tags"]
    figures = {
        "figure": "precision",
        "value": 0.871,
        "low": 0.62,
        "high": 0.961,
        "positives": 31,
        "predicted": 22,
    }
    version.report["threshold_figures"] = {"DA": None, name: figures, **dict.fromkeys(others)}
    version.report["goal"] = {"name": "precision", "precision": 0.85}
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "tags for a precision of 85" in page
    assert "precision 0.87 (0.62–0.96)" in page
    assert "no threshold" in page


def test_expected_numbers_with_and_without_correction_stand_beside_each_other(version, analyst, client_of):
    address = url("version-detail", version.number)
    assert "How many DA tweets are there?" not in client_of(analyst).get(address).content.decode()
    version.report["prior"] = {
        "train": 0.08, "corpus": 0.003, "uncorrected": 0.05, "source": "estimated", "sample": 20_000, "low": 0.0011,
        "high": 0.0072,
    }  # fmt: skip
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "Among 1,000,000 general tweets it expects about 3,000 DA tweets (0.3\N{NO-BREAK SPACE}%)" in page
    assert "would add up to 50,000" in page
    assert (
        "on 20,000 random general tweets, 95 % interval 0.1\N{NO-BREAK SPACE}% to 0.7\N{NO-BREAK SPACE}%"
        in page
    )
    version.score_summary = {"sources": {"2": [20_000_000, 300]}}
    version.report["prior"] |= {"source": "stated", "low": None, "high": None}
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "Among 20,000,000 general tweets scored it expects about 60,000" in page
    assert "stated in the configuration" in page
    version.report["prior"] |= {"source": "audited", "low": 0.002, "high": 0.004}
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "trained, 95 % interval 0.2\N{NO-BREAK SPACE}% to 0.4\N{NO-BREAK SPACE}%." in page
    held_out = {"tweets": 480, "flagged": 288, "is_judged": True}
    version.report["prior"] |= {
        "source": "flagged", "by_version": 4, "judged": 1_000, "positive": 310, "precision": 0.31, "held_out": held_out
    }  # fmt: skip
    version.save()
    page = client_of(analyst).get(address).content.decode()
    assert "from 1,000 judged tweets among those that version 4 flagged (31\N{NO-BREAK SPACE}%" in page
    assert "480 held-out DA tweets of which it flagged 60\N{NO-BREAK SPACE}%, 95 % interval" in page
    assert "where fewer have keywords it is too low" in page
    version.report["prior"]["held_out"]["is_judged"] = False
    version.save()
    assert "only assumed to be DA" in client_of(analyst).get(address).content.decode()


def test_undefined_figures_are_dashes_with_a_reason(version, analyst, client_of):
    body = client_of(analyst).get(url("version-detail", version.number)).content.decode()
    assert "too few examples to choose one, or the wanted precision is out of reach" in body
    assert "–" in body


def test_curves_of_a_tag_can_be_chosen_and_anything_else_is_refused(version, analyst, client_of):
    client = client_of(analyst)
    path = url("version-detail", version.number)
    body = client.get(path + f"?curves={version.tag_ids[1]}").content.decode()
    assert "Curves for addiction" in body
    for query in ("?curves=999", "?sample=everything", "?curves=x"):
        assert client.get(path + query).status_code == 400


def test_an_unknown_version_is_not_found(analyst, client_of):
    assert client_of(analyst).get(url("version-detail", 77)).status_code == 404


def test_a_version_without_a_report_says_so(analyst, client_of):
    version = make_version()
    body = client_of(analyst).get(url("version-detail", version.number)).content.decode()
    assert "no report" in body


def test_the_tweets_of_a_cell_are_listed_page_by_page(
    version, analyst, client_of, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setattr("labeling.views.versions.PAGE", 4)
    cell = versions.Cell("test", "DA", 1, 1)
    expected = [row.tweet_id for row in versions.cell_tweets(version, cell)]
    assert len(expected) > 8
    client = client_of(analyst)
    path = pages(version)["version-tweets"]
    seen: list[int] = []
    query = path
    while query:
        with django_assert_max_num_queries(8):
            answer = client.get(query)
        seen += [row["tweet"].pk for row in answer.context["rows"]]
        token = answer.context["next"]
        query = f"{path}&after={token}" if token else ""
    assert seen == expected
    assert f"{len(expected)} held-out tweets in this cell" in answer.content.decode()


def test_a_cell_whose_tweets_were_deleted_says_so(version, analyst, client_of):
    path = pages(version)["version-tweets"]
    whole = len(client_of(analyst).get(path).context["rows"])
    deleting.delete_range(Import(pk=0), 1, Tweet.objects.order_by("id")[whole * 2].pk)
    fewer = client_of(analyst).get(path)
    assert 0 < len(fewer.context["rows"]) < whole
    deleting.delete_range(Import(pk=0), 1, 2**40)
    assert "erased since" in client_of(analyst).get(path).content.decode()


def test_a_cell_that_does_not_exist_is_refused(version, analyst, client_of):
    client = client_of(analyst)
    path = url("version-tweets", version.number)
    for query in (
        "",
        "?sample=test&head=DA&truth=2&predicted=1",
        "?sample=nobody&head=DA&truth=1&predicted=1",
        "?sample=test&head=999&truth=1&predicted=1",
        "?sample=test&head=tags&truth=1&predicted=x",
        "?sample=test&head=DA&truth=1&predicted=1&after=rubbish",
        "?sample=test&head=DA&truth=1&predicted=1&after=W10=",
    ):
        assert client.get(path + query).status_code == 400, query


def test_tweets_of_a_tag_against_tag_cell(version, analyst, client_of):
    first, second, _ = version.tag_ids
    counts = version.report["samples"]["test"]["network"]["tag_against_tag"]
    path = url("version-tweets", version.number)
    answer = client_of(analyst).get(path + f"?sample=test&head=tags&truth={first}&predicted={second}")
    assert len(answer.context["rows"]) == counts[0][1]
    answer = client_of(analyst).get(path + f"?sample=test&head=tags&truth=none&predicted={first}")
    assert len(answer.context["rows"]) == counts[3][0]


def test_a_label_that_changed_since_is_marked(version, analyst, client_of):
    from labeling.labels import derive_labels
    from labeling.models import Verdict

    path = pages(version)["version-tweets"]
    client = client_of(analyst)
    assert "Label changed since" not in client.get(path).content.decode()
    tweet = client.get(path).context["rows"][0]["tweet"]
    make_annotation(tweet, verdict=Verdict.NDA, annotator=analyst)
    derive_labels([tweet.pk])
    assert "Label changed since" in client.get(path).content.decode()


def test_two_versions_are_compared(version, analyst, client_of, monkeypatch, django_assert_max_num_queries):
    from labeling.models import Tag

    after = make_evaluated_version(list(Tag.objects.all()), tweets=list(Tweet.objects.all()), seed=5)
    client = client_of(analyst)
    path = url("version-compare") + f"?before={version.number}&after={after.number}"
    with django_assert_max_num_queries(14):
        answer = client.get(path)
    body = answer.content.decode()
    assert f"v{version.number}" in body
    assert len(answer.context["comparisons"]) == 4
    monkeypatch.setattr("labeling.views.comparing.PAGE", 1000)
    fixed = client.get(path + "&only=fixed").context["changed"]
    broken = client.get(path + "&only=broken").context["changed"]
    assert len(fixed) + len(broken) == answer.context["counts"]["all"] > 0
    judged = client.get(path + "&sample=people")
    assert 0 < judged.context["n"] < answer.context["n"]
    assert "&amp;sample=people&amp;only=fixed" in judged.content.decode()
    for wrong in ("&only=sideways", "&sample=masked"):
        assert client.get(path + wrong).status_code == 400
    assert client.get(url("version-compare") + "?before=1").status_code == 400


@pytest.mark.parametrize("is_active", [True, False])
def test_a_scoring_that_stopped_can_go_on(version, reviewer, client_of, is_active):
    """Of the active version too: or what comes later is never scored."""
    client, path = client_of(reviewer), url("version-detail", version.number)
    job = Job.objects.create(kind=Job.Kind.SCORE, state=Job.State.FAILED, error="The disk is full.")
    run = ScoringRun.objects.create(version=version, job=job)
    published = {"scores_published_at": timezone.now()} if is_active else {}
    ModelVersion.objects.filter(pk=version.pk).update(is_active=is_active, **published)
    page = client.get(path).content.decode()
    assert "Go on scoring" in page
    assert "The disk is full." in page
    client.post(url("version-score", version.number))
    run.refresh_from_db()
    assert run.job_id != job.pk
    page = client.get(path).content.decode()
    assert "Go on scoring" not in page
    assert "Waiting for a worker" in page


def test_activating_is_one_post_and_refusals_say_why(version, reviewer, client_of):
    client = client_of(reviewer)
    path = url("version-activate", version.number)
    assert client.get(path).status_code == 405
    assert "no published scores yet" in client.post(path, follow=True).content.decode()
    ModelVersion.objects.filter(pk=version.pk).update(scores_published_at=timezone.now())
    assert "is active" in client.post(path, follow=True).content.decode()
    assert ModelVersion.objects.active() == version
    assert AuditEvent.objects.count() == 1


def test_scoring_starts_from_the_page_once(version, reviewer, client_of):
    client = client_of(reviewer)
    path = url("version-score", version.number)
    assert "has started" in client.post(path, {"activate": "1"}, follow=True).content.decode()
    run = ScoringRun.objects.get()
    assert (run.version, run.activates) == (version, True)
    client.post(path)
    assert Job.objects.filter(kind=Job.Kind.SCORE).count() == 1


def test_a_tag_with_markup_in_its_name_stays_text(analyst, client_of):
    from tests.factories import make_tag

    tag = make_tag("<script>alert(1)</script>", slug="x")
    version = make_evaluated_version([tag], tweets=40)
    body = (
        client_of(analyst).get(url("version-detail", version.number) + f"?curves={tag.pk}").content.decode()
    )
    assert "<script>alert" not in body


def test_the_page_says_where_the_word_vectors_come_from(version, analyst, client_of):
    origin = {"settings": {}, "texts": 1_130_000, "words": 54_321, "fingerprint": "0123456789abcdef"}
    record = {"origin": origin, "version": version.number, "learned_at": "2026-11-22T10:00:00+00:00"}
    version.snapshot = {**version.snapshot, "word_vectors": record}
    version.save()
    body = client_of(analyst).get(url("version-detail", version.number)).content.decode()
    assert "learned without labels from 1,130,000 tweets for this version, on 2026-11-22" in body
    assert "54,321 words" in body
    version.snapshot["word_vectors"]["version"] = 900
    version.save()
    body = client_of(analyst).get(url("version-detail", version.number)).content.decode()
    assert "for version 900 and used again" in body
