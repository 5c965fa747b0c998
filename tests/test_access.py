"""Who may open which address: every route of the site has a row here, and a route without one fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.conf import settings
from django.contrib.admin.sites import site as admin_site
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from labeling.models import (
    AuditEvent,
    Import,
    Job,
    ModelVersion,
    Queue,
    QueueItem,
    ReviewItem,
    Rule,
    Source,
    Verdict,
)
from tests.factories import make_annotation, make_tag, make_tweet

pytestmark = pytest.mark.django_db

CAST = ("anonymous", "outsider", "analyst", "reviewer", "admin")
LOG_IN = "log-in"  # sent to the log-in page
REFUSED = 403
IN = "in"  # past the guard: any answer but a refusal, a log-in or a server error
WRONG_METHOD = 405


@dataclass(frozen=True)
class Row:
    """`role` and higher come in; the others are refused, anonymous visitors sent to the log-in."""

    role: str  # "anyone", "account" or a role
    path: str
    method: str = "get"
    data: dict[str, str] = field(default_factory=dict)
    wrong: str | None = None  # a method that the view answers with 405

    def expected(self, who: str) -> object:
        if self.role == "anyone":
            return IN
        if who == "anonymous":
            return LOG_IN
        if self.role == "account":
            return IN
        return IN if CAST.index(who) >= CAST.index(self.role) else REFUSED


def get(role: str, path: str, *, also_posts: bool = False) -> Row:
    return Row(role, path, wrong=None if also_posts else "post")


def post(role: str, path: str, **data: str) -> Row:
    return Row(role, path, "post", data, wrong="get")


# {tweet}, {tag}, … stand for rows that the fixture `world` makes.
ROUTES: dict[str, Row] = {
    "healthz": Row("anyone", "/healthz"),
    "readyz": Row("anyone", "/readyz"),
    "log-in": Row("anyone", "/log-in/"),
    "log-out": Row("account", "/log-out/", "post", wrong="get"),
    "password": get("account", "/password/", also_posts=True),
    "labeling:home": get("analyst", "/"),
    "labeling:theme": post("anyone", "/theme/", theme="dark"),
    "labeling:agreement": get("analyst", "/agreement/"),
    "labeling:estimates": get("analyst", "/estimates/"),
    "labeling:audit-start": post("reviewer", "/estimates/audits/"),
    "labeling:version-list": get("analyst", "/versions/"),
    "labeling:retrain": get("reviewer", "/versions/new/", also_posts=True),
    "labeling:version-compare": get("analyst", "/versions/compare/"),
    "labeling:version-flips": get("analyst", "/versions/flips/"),
    "labeling:version-detail": get("analyst", "/versions/{version}/"),
    "labeling:version-tweets": get("analyst", "/versions/{version}/tweets/"),
    "labeling:version-activate": post("reviewer", "/versions/{version}/activate/"),
    "labeling:version-score": post("reviewer", "/versions/{version}/score/"),
    "labeling:flagged": get("analyst", "/flagged/"),
    "labeling:flagged-bulk": post("analyst", "/flagged/bulk/"),
    "labeling:flagged-undo": post("analyst", "/flagged/undo/"),
    "labeling:flagged-export": get("analyst", "/flagged/export/"),
    "labeling:import-list": get("reviewer", "/imports/"),
    "labeling:import-new": get("reviewer", "/imports/new/", also_posts=True),
    "labeling:import-detail": get("reviewer", "/imports/{import}/"),
    "labeling:import-mapping": get("reviewer", "/imports/{import}/mapping/", also_posts=True),
    "labeling:import-discard": post("reviewer", "/imports/{import}/discard/"),
    "labeling:import-resume": post("reviewer", "/imports/{import}/resume/"),
    "labeling:import-delete": get("admin", "/imports/{import}/delete/", also_posts=True),
    "labeling:import-rejected": get("reviewer", "/imports/{import}/rejected/"),
    "labeling:tweet-list": get("analyst", "/tweets/"),
    "labeling:tweet-detail": get("analyst", "/tweets/{tweet}/"),
    "labeling:tweet-copies": get("analyst", "/tweets/{tweet}/copies/"),
    "labeling:tweet-correct": post("analyst", "/tweets/{tweet}/correct/"),
    "labeling:tweet-send": post("analyst", "/tweets/{tweet}/send/"),
    "labeling:tweet-erase": get("admin", "/tweets/{tweet}/erase/", also_posts=True),
    "labeling:tweet-retract": post("analyst", "/tweets/{tweet}/retract/{annotation}/"),
    "labeling:queue-list": get("analyst", "/queues/"),
    "labeling:queue-new": get("reviewer", "/queues/new/", also_posts=True),
    "labeling:queue-check-latest": get("analyst", "/queues/check/"),
    "labeling:queue-check": get("analyst", "/queues/{queue}/check/"),
    "labeling:queue-check-more": post("reviewer", "/queues/{queue}/check/more/"),
    "labeling:wrong-labels": post("reviewer", "/queues/wrong-labels/"),
    "labeling:queue-open": post("reviewer", "/queues/{queue}/open/"),
    "labeling:queue-skipped": post("reviewer", "/queues/{queue}/skipped/"),
    "labeling:label-next": get("analyst", "/label/"),
    "labeling:label": get("analyst", "/queues/{queue}/label/"),
    "labeling:label-submit": post("analyst", "/queues/{queue}/label/submit/"),
    "labeling:label-undo": post("analyst", "/queues/{queue}/label/undo/"),
    "labeling:label-release": post("analyst", "/queues/{queue}/label/release/"),
    "labeling:label-renew": post("analyst", "/queues/{queue}/label/renew/"),
    "labeling:tag-list": get("analyst", "/tags/"),
    "labeling:tag-new": get("reviewer", "/tags/new/", also_posts=True),
    "labeling:tag-edit": get("analyst", "/tags/{tag}/", also_posts=True),
    "labeling:tag-move": post("reviewer", "/tags/{tag}/move/"),
    "labeling:tag-archive": post("reviewer", "/tags/{tag}/archive/"),
    "labeling:starter-lexicon": post("reviewer", "/tags/starter/"),
    "labeling:rule-add": post("reviewer", "/tags/{tag}/rules/"),
    "labeling:rule-change": post("reviewer", "/rules/{rule}/"),
    "labeling:rule-preview": get("analyst", "/rules/preview/"),
    "labeling:rules-apply": post("reviewer", "/rules/apply/"),
    "labeling:job-detail": get("analyst", "/jobs/{job}/"),
    "labeling:job-cancel": post("reviewer", "/jobs/{job}/cancel/"),
}
# The admin's addresses follow from its registered models: who may list, open, add, change and delete.
# Names of models here must be all that are registered.
ADMIN_READERS = {
    "labeling_reviewitem": "reviewer",
    "labeling_tweet": "reviewer",
    "labeling_annotation": "reviewer",
    "labeling_auditevent": "reviewer",
    "auth_user": "admin",
    "axes_accessattempt": "admin",
    "axes_accesslog": "admin",
    "axes_accessfailurelog": "admin",
}
ADMIN_ADDERS = {"auth_user": "admin"}


def routes() -> Iterator[tuple[str, str]]:
    """(name with namespace, pattern) of every route of the site."""

    def walk(patterns: list, prefix: str, namespace: str) -> Iterator[tuple[str, str]]:
        for pattern in patterns:
            where = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, where, pattern.namespace or namespace)
            elif isinstance(pattern, URLPattern):
                yield f"{namespace}:{pattern.name}" if namespace else str(pattern.name), where

    return walk(get_resolver().url_patterns, "", "")


@pytest.fixture
def world(analyst) -> dict[str, int]:
    """One of each thing that an address can name."""
    tweet = make_tweet()
    tag = make_tag()
    queue = Queue.objects.create(name="all", strategy="random")
    annotation = make_annotation(tweet, verdict=Verdict.DA, annotator=analyst)
    return {
        "tweet": tweet.pk,
        "tag": tag.pk,
        "rule": Rule.objects.create(tag=tag, pattern="percs").pk,
        "queue": queue.pk,
        "item": QueueItem.objects.create(queue=queue, tweet=tweet, position=1).pk,
        "annotation": annotation.pk,
        "version": ModelVersion.objects.create(number=1, state="ready", trained_at=timezone.now()).number,
        "job": Job.objects.create(kind=Job.Kind.IMPORT, state=Job.State.DONE).pk,
        "import": Import.objects.create(source=Source.GENERAL, file_name="tweets.csv").pk,
        "review": ReviewItem.objects.create(tweet=tweet, reason="sent").pk,
        "event": AuditEvent.objects.create(action="bulk", user=analyst).pk,
    }


@pytest.fixture
def clients(analyst, reviewer, admin, outsider, client_of) -> dict[str, Client]:
    people = {"analyst": analyst, "reviewer": reviewer, "admin": admin, "outsider": outsider}
    return {"anonymous": Client(), **{name: client_of(user) for name, user in people.items()}}


def outcome(response) -> object:
    if response.status_code == 302 and response["Location"].startswith("/log-in/?next="):
        return LOG_IN
    if response.status_code in (REFUSED, WRONG_METHOD) or response.status_code >= 500:
        return response.status_code
    return IN


def test_every_route_has_a_row_and_every_row_a_route():
    named = {name for name, _ in routes() if not name.startswith("admin:")}
    assert named - ROUTES.keys() == set(), "add these routes to ROUTES, with the role that may use them"
    assert ROUTES.keys() - named == set(), "these rows have no route any more"


def test_every_row_names_the_pattern_of_its_route():
    """A row whose path leads to another view would test nothing."""
    from django.urls import resolve

    for name, row in ROUTES.items():
        assert resolve(re.sub(r"\{\w+\}", "1", row.path)).view_name == name


def test_every_own_view_states_its_role():
    """Access is stated in a decorator; the table must agree with it."""
    from django.urls import resolve

    for name, row in ROUTES.items():
        if name.startswith("labeling:") and row.role != "anyone":
            view = resolve(re.sub(r"\{\w+\}", "1", row.path)).func
            assert getattr(view, "required_role", None) == row.role, name


@pytest.mark.parametrize("name", ROUTES)
def test_the_cast_at_every_route(name, clients, world):
    row = ROUTES[name]
    for who, client in clients.items():
        response = getattr(client, row.method)(row.path.format(**world), row.data)
        assert outcome(response) == row.expected(who), f"{who} at {row.path}: {response.status_code}"


@pytest.mark.parametrize("name", [name for name, row in ROUTES.items() if row.wrong])
def test_the_wrong_method_is_refused(name, clients, world):
    row = ROUTES[name]
    response = getattr(clients["admin"], str(row.wrong))(row.path.format(**world))
    assert response.status_code == WRONG_METHOD, f"{row.wrong} {row.path}"


@pytest.mark.parametrize("name", ROUTES)
def test_an_id_that_does_not_exist_is_not_found(name, clients):
    row = ROUTES[name]
    if "{" not in row.path:
        return
    path = re.sub(r"\{\w+\}", "999999999", row.path)
    response = getattr(clients["admin"], row.method)(path, row.data)
    # Some look at their form first, and miss it.
    assert response.status_code in (404, 400), f"{path}: {response.status_code}"


def test_every_model_of_the_admin_has_a_row():
    registered = {f"{model._meta.app_label}_{model._meta.model_name}" for model in admin_site._registry}
    assert registered == ADMIN_READERS.keys()


@pytest.mark.parametrize("model", ADMIN_READERS)
def test_the_cast_in_the_admin(model, clients, world, analyst):
    app, name = model.split("_")
    objects = {
        "reviewitem": world["review"],
        "tweet": world["tweet"],
        "annotation": world["annotation"],
        "auditevent": world["event"],
        "user": analyst.pk,
    }
    base = f"/admin/{app}/{name}/"
    reader, adder = ADMIN_READERS[model], ADMIN_ADDERS.get(model)
    for who, client in clients.items():

        def seen(path: str, client: Client = client) -> object:
            response = client.get(base + path)
            if response.status_code == 302 and response["Location"].startswith("/admin/login/"):
                response = client.get(response["Location"])  # says no
            return outcome(response)

        no = LOG_IN if who == "anonymous" else REFUSED
        reads = who != "anonymous" and CAST.index(who) >= CAST.index(reader)
        adds = bool(adder) and who != "anonymous" and CAST.index(who) >= CAST.index(str(adder))
        assert seen("") == (IN if reads else no), f"{who} lists {model}"
        if name in objects:
            assert seen(f"{objects[name]}/change/") == (IN if reads else no), f"{who} opens {model}"
            assert seen("add/") == (IN if adds else no), f"{who} adds {model}"
            assert seen(f"{objects[name]}/delete/") == no, f"{who} deletes {model}"


def test_the_log_in_is_required_by_default():
    """A view without any decorator is closed to visitors."""
    assert "django.contrib.auth.middleware.LoginRequiredMiddleware" in settings.MIDDLEWARE


def test_an_analyst_cannot_take_back_or_undo_what_a_colleague_did(client_of, world, second_analyst, analyst):
    """The object belongs to `analyst`; the second analyst has the right role, but not the right."""
    client = client_of(second_analyst)
    assert client.post(f"/tweets/{world['tweet']}/retract/{world['annotation']}/").status_code == REFUSED
    assert client.post("/flagged/undo/", {"event": world["event"]}).status_code == REFUSED
    assert client_of(analyst).post("/flagged/undo/", {"event": world["event"]}).status_code == 302


@pytest.mark.parametrize(
    "smuggled",
    [{"annotator": "1", "annotator_id": "1"}, {"origin": "4"}, {"is_staff": "on", "is_superuser": "on"}],
)
def test_smuggled_fields_change_nothing(client_of, world, second_analyst, analyst, smuggled):
    """Mass assignment: who judged, and as what, comes from the session."""
    from labeling.models import Annotation, Origin

    client_of(second_analyst).post(f"/tweets/{world['tweet']}/correct/", {"verdict": "0", **smuggled})
    newest = Annotation.objects.latest("id")
    assert newest.pk != world["annotation"]
    assert (newest.annotator, newest.origin) == (second_analyst, Origin.ANALYST)
    second_analyst.refresh_from_db()
    assert not second_analyst.is_superuser


def test_an_analyst_reads_a_tag_but_does_not_change_it(client_of, world, analyst):
    """One address, two roles: reading is for the team, writing for reviewers."""
    data = {"name": "renamed", "colour": "teal", "key": "", "guideline": ""}
    assert client_of(analyst).post(f"/tags/{world['tag']}/", data).status_code == REFUSED
