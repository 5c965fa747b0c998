"""Attacks on the web side that must fail: policy headers, injection, forged requests, guessing, sessions."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client, override_settings
from django.urls import path
from kombu.exceptions import ContentDisallowed
from kombu.serialization import loads

from labeling.models import Import, ReviewItem, Source
from tests.conftest import PASSWORD
from tests.factories import make_tag, make_tweet

pytestmark = pytest.mark.django_db

ROOT = Path(settings.BASE_DIR)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
PAYLOAD = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def fail(request):
    raise RuntimeError("on purpose")


urlpatterns = [path("fails/", fail)]  # for the test of the 500 page


# Content-Security-Policy (attack 5)


def assert_policy(response) -> None:
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self'" in policy
    assert "object-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def assert_nothing_inline(html: str) -> None:
    """Nothing that the policy would block anyway: a page that relies on it is broken."""
    assert not re.search(
        r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", re.sub(r'<script[^>]*type="application/json"', "", html)
    )
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=[\"']|javascript:", html)


@pytest.mark.parametrize(
    "url",
    [
        "/",
        "/log-in/",
        "/password/",
        "/agreement/",
        "/nowhere/",
        "/admin/",
        "/admin/labeling/reviewitem/",
        "/admin/labeling/tweet/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
    ],
)
def test_every_kind_of_page_enforces_the_policy_and_has_nothing_inline(client_of, admin, url):
    response = client_of(admin).get(url)
    assert_policy(response)
    assert_nothing_inline(response.content.decode())


def test_htmx_is_told_not_to_do_what_the_policy_blocks(client_of, analyst):
    """By itself it evaluates scripts, adds a style sheet, and copies style attributes from the old page to the new."""
    page = client_of(analyst).get("/").content.decode()
    found = re.search(r"""name="htmx-config" content='([^']+)'""", page)
    assert found
    told = json.loads(found[1])
    assert not any(told[name] for name in ("includeIndicatorStyles", "allowEval", "allowScriptTags"))
    assert "style" not in told["attributesToSettle"]


def test_the_error_pages_enforce_the_policy_too(client, client_of, outsider):
    forbidden = client_of(outsider).get("/")
    assert forbidden.status_code == 403
    assert "Ask an admin" in forbidden.content.decode()
    wrong_host = client.get("/", headers={"host": "evil.example"})
    assert wrong_host.status_code == 400
    forged = Client(enforce_csrf_checks=True).post("/log-in/", {"username": "ana", "password": PASSWORD})
    assert forged.status_code == 403
    for response in (forbidden, wrong_host, forged, client.get("/nowhere/")):
        assert_policy(response)
        assert_nothing_inline(response.content.decode())


@override_settings(ROOT_URLCONF="tests.test_attacks")
def test_the_500_page_says_nothing_of_the_inside_and_enforces_the_policy(client_of, admin):
    client = client_of(admin)
    client.raise_request_exception = False
    response = client.get("/fails/")
    assert response.status_code == 500
    assert_policy(response)
    assert_nothing_inline(response.content.decode())
    assert "on purpose" not in response.content.decode()


# Templates: what the policy would drop silently must not be written in the first place

FORBIDDEN = {
    "an inline script": r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")",
    "an inline style sheet": r"<style\b",
    "an inline style": r"\sstyle\s*=",
    "an event attribute": r"\son[a-z]+\s*=\s*[\"']",
    "hx-on": r"\bhx-on\b",
    "JavaScript in an htmx attribute": r"\bhx-[a-z-]+\s*=\s*[\"'](?:js|javascript):",
    "a trigger filter": r"\bhx-trigger\s*=\s*[\"'][^\"']*\[",
    "a javascript: address": r"javascript:",
    "text that is not escaped": r"\|\s*safe\b|autoescape\s+off",
    "an asset from elsewhere": r"(?:src|href)=[\"'](?:https?:)?//",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_no_template_has(name):
    found = [
        f"{template.relative_to(ROOT)}: {match.group(0)}"
        for template in TEMPLATES
        for match in re.finditer(FORBIDDEN[name], template.read_text())
    ]
    assert found == []


def test_every_htmx_post_is_a_form_that_works_without_it():
    """hx-post sits on a form with a method and an action; hx-get on a link with an address, or on a fragment."""
    for template in TEMPLATES:
        for tag in re.findall(
            r"<[a-z]+\b(?:[^<>{]|\{[%{#].*?[%}#]\})*\bhx-post\b(?:[^<>{]|\{[%{#].*?[%}#]\})*>",
            template.read_text(),
        ):
            if tag.startswith("<form"):
                assert 'method="post"' in tag, f"{template}: {tag}"
                assert "action=" in tag, f"{template}: {tag}"
            else:
                alone = "formaction=" in tag or tag.startswith("<button")
                assert alone or 'hx-include="closest form"' in tag, f"{template}: {tag}"


# Injection (attack 4)


def test_markup_in_tweets_tags_rules_and_file_names_is_inert(client_of, admin):
    from labeling.models import Rule

    tag = make_tag(PAYLOAD[:55], slug="payload")
    Rule.objects.create(tag=tag, pattern=PAYLOAD)
    tweet = make_tweet(PAYLOAD)
    item = ReviewItem.objects.create(tweet=tweet, reason="sent", note=PAYLOAD)
    brought = Import.objects.create(source=Source.GENERAL, file_name=PAYLOAD + ".csv")
    client = client_of(admin)
    pages = [
        "/",
        "/agreement/",
        "/admin/labeling/reviewitem/",
        f"/admin/labeling/reviewitem/{item.pk}/change/",
        "/admin/labeling/tweet/",
        f"/admin/labeling/tweet/{tweet.pk}/change/",
        "/tweets/",
        f"/tweets/{tweet.pk}/",
        "/tags/",
        f"/tags/{tag.pk}/",
        "/imports/",
        f"/imports/{brought.pk}/",
        "/queues/",
        "/queues/new/",
        "/flagged/",
        "/versions/",
        "/versions/new/",
    ]
    shown = 0
    for url in pages:
        response = client.get(url, follow=True)
        assert response.status_code in (200, 404), f"{url}: {response.status_code}"
        html = response.content.decode()
        assert "<img src=x" not in html, url
        assert "<script>alert" not in html, url
        shown += "&lt;img src=x" in html
    assert shown >= 4


# Forged and malformed requests (attacks 1, 15)


@pytest.mark.parametrize(
    "url", ["/log-in/", "/theme/", "/password/", "/log-out/", "/admin/labeling/reviewitem/"]
)
def test_a_post_without_a_token_is_refused(admin, url):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)
    assert client.post(url, {"theme": "dark"}).status_code == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"]
)
def test_a_wrong_host_is_refused(client, host):
    assert client.get("/log-in/", headers={"host": host}).status_code == 400


def test_the_log_in_leads_to_our_own_pages_only(analyst):
    answer = {"username": "ana", "password": PASSWORD, "next": "https://evil.example/"}
    assert Client().post("/log-in/", answer)["Location"] == "/"


# Guessing and sessions (attacks 13, 14)


def guess(username: str, *, address: str = "10.0.0.9", password: str = "wrong", **headers: str):
    return Client().post(
        "/log-in/", {"username": username, "password": password}, REMOTE_ADDR=address, headers=headers
    )


def test_twenty_bad_log_ins_lock_that_user_and_address_and_nobody_else(analyst, second_analyst):
    for n in range(20):
        guess("ana", **{"x-forwarded-for": f"192.0.2.{n}"})  # spoofed: must not look like twenty addresses
    locked = guess("ana", password=PASSWORD)
    assert locked.status_code == 429
    assert "Locked for a while" in locked.content.decode()
    assert_policy(locked)
    spoofed = guess("ana", password=PASSWORD, **{"x-forwarded-for": "198.51.100.7"})
    assert spoofed.status_code == 429
    assert guess("ben", password=PASSWORD).status_code == 302, "a colleague behind the same address"
    assert guess("ana", address="10.0.0.10", password=PASSWORD).status_code == 302, "ana at another address"


def test_a_wrong_password_does_not_say_whether_the_account_exists(analyst):
    def answer(username: str) -> str:
        html = guess(username).content.decode().replace(username, "")
        return re.sub(r"\b[A-Za-z0-9]{64}\b", "", html)  # CSRF tokens

    assert answer("ana") == answer("nobody")


def test_the_session_key_rotates_at_log_in(analyst):
    client = Client()
    session = client.session
    session["planted"] = "by an attacker"
    session.save()
    planted = str(session.session_key)
    client.cookies[settings.SESSION_COOKIE_NAME] = planted
    client.post("/log-in/", {"username": "ana", "password": PASSWORD})
    assert client.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_the_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites(analyst):
    cookie = guess("ana", password=PASSWORD).cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"


def test_logging_out_kills_the_session(client_of, analyst):
    client = client_of(analyst)
    key = client.session.session_key
    client.post("/log-out/")
    assert not Session.objects.filter(session_key=key).exists()


# Vendored files


def test_vendored_files_are_the_recorded_ones_with_a_licence_and_no_source_maps():
    vendor = ROOT / "static/vendor"
    recorded = json.loads((vendor / "vendored.json").read_text())
    for entry in recorded:
        body = (vendor / entry["file"]).read_bytes()
        assert base64.b64encode(hashlib.sha384(body).digest()).decode() == entry["sha384"], entry["file"]
        assert entry["version"]
        assert entry["licence"]
        assert (vendor / entry["file"]).with_name("LICENSE").exists()
        assert b"sourceMappingURL" not in body
    known = {entry["file"] for entry in recorded} | {"vendored.json"}
    present = {str(file.relative_to(vendor)) for file in vendor.rglob("*") if file.is_file()}
    assert {name for name in present if not name.endswith("LICENSE")} == known


# The broker (attack 11)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a message from the broker was unpickled",))


def test_workers_take_json_only():
    from tagger_site.celery import app

    assert list(app.conf.accept_content) == ["json"]
    assert app.conf.task_serializer == "json"
    body = pickle.dumps(Bomb())
    with pytest.raises(ContentDisallowed):
        loads(body, "application/x-python-serialize", "binary", accept={"application/json"})
