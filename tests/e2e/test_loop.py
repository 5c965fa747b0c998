"""The whole loop in a real browser, with a real worker: label, retrain, read, correct, activate, review."""

from __future__ import annotations

import re

import pytest
from django.core.management import call_command
from django.urls import reverse
from playwright.sync_api import Page, expect

from labeling import queues
from labeling.models import Annotation, Job, Label, ModelVersion, Origin, Queue, ReviewItem, Score
from tests.conftest import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.worker, pytest.mark.tensorflow]

MINUTES = 60_000


@pytest.fixture
def corpus(transactional_db, tmp_path, admin) -> None:
    """A small demo corpus with rules applied, version 1 trained, scored and active, and a random queue."""
    call_command("make_demo", specific=500, general=6000, seed=3, out=tmp_path / "demo")
    call_command("train", architecture="fast", negatives=3000, activate=True)
    queues.create_queue(name="Random for the loop", strategy=Queue.Strategy.RANDOM, size=20, user=admin)


def log_in(page: Page, base: str, user: str) -> None:
    page.goto(base + reverse("log-in"))
    page.locator("input[name=username]").fill(user)
    page.locator("input[name=password]").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("main h1").first).to_be_visible()


def label_five_and_undo_one(page: Page, base: str, queue: Queue) -> None:
    """By keyboard alone."""
    page.goto(base + reverse("labeling:label", args=[queue.pk]))
    for verdict, tag in [("d", "1"), ("n", "2"), ("u", "Shift+1"), ("n", "3"), ("d", "4")]:
        tweet = page.locator("#tweet p").first.inner_text()
        page.keyboard.press(verdict)
        page.keyboard.press(tag)
        page.keyboard.press("Enter")
        expect(page.locator("#tweet p").first).not_to_have_text(tweet)
    expect(page.locator("#today")).to_have_text("5")
    page.keyboard.press("Backspace")
    expect(page.locator("#today")).to_have_text("4")


def test_the_whole_loop(page: Page, live_server, corpus, worker, admin):
    base = live_server.url
    first = ModelVersion.objects.get(is_active=True)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_default_timeout(20_000)
    log_in(page, base, admin.username)

    label_five_and_undo_one(page, base, Queue.objects.get(name="Random for the loop"))
    assert Annotation.objects.filter(annotator=admin, retracts=None).count() == 5
    assert Annotation.objects.filter(annotator=admin).exclude(retracts=None).count() == 1

    # Retrain, and watch the progress move.
    page.goto(base + reverse("labeling:retrain"))
    page.locator("#fast").check()
    page.locator("input[name=negatives]").fill("3000")
    page.locator("input[name=seed]").fill("2")
    if page.locator("#activate").is_checked():
        page.locator("#activate").uncheck()
    page.get_by_role("button", name="Start training").click()
    stages = set()
    progress = page.locator("#training p[aria-live]")
    for _ in range(600):
        if progress.count() == 0:
            break
        stages.add(progress.first.inner_text(timeout=5000).split(",")[0])
        page.wait_for_timeout(200)
        if not Job.objects.active().filter(kind=Job.Kind.TRAIN).exists():
            break
    assert len(stages) >= 2, stages
    expect(page.locator(".matrix-large")).to_be_visible(timeout=2 * MINUTES)
    second = ModelVersion.objects.get(number=first.number + 1)
    assert second.state == ModelVersion.State.READY

    # Open a cell of its matrix, and correct a label from there.
    cell = page.locator(".matrix-large td a").filter(has_not_text=re.compile(r"^0")).first
    cell.click()
    page.get_by_role("link", name="Open and correct").first.click()
    tweet_id = int(re.search(r"/tweets/(\d+)/", page.url).group(1))  # type: ignore[union-attr]
    page.locator("label[for=verdict-nda]").click()
    page.locator("#settle").check()  # a colleague may have judged it already: this beats every analyst
    page.get_by_role("button", name="Save my judgement").click()
    expect(page.get_by_role("link", name="Open and correct").first).to_be_visible()
    label = Label.objects.get(tweet_id=tweet_id)
    assert (label.verdict, label.verdict_origin) == (0, Origin.REVIEW)

    # The flagged list before, then score and activate, then the list after.
    page.goto(base + reverse("labeling:flagged"))
    expect(page.locator("main")).to_contain_text(f"ersion {first.number}")
    page.goto(base + reverse("labeling:version-detail", args=[second.number]))
    page.get_by_role("button", name="Score and activate").click()
    expect(page.locator("main .badge", has_text="Active").first).to_be_visible(timeout=2 * MINUTES)
    assert Score.objects.filter(version=second).count() == Score.objects.filter(version=first).count() > 0
    page.goto(base + reverse("labeling:flagged"))
    expect(page.locator("main")).to_contain_text(f"ersion {second.number}")

    # Going back: if that loses judged tweets, the page names them and asks.
    page.goto(base + reverse("labeling:version-detail", args=[first.number]))
    page.get_by_role("button", name="Activate", exact=True).click()
    page.wait_for_load_state()
    if page.locator("#sure").is_visible():
        page.locator("#sure").check()
        page.get_by_role("button", name=f"Activate version {first.number}").click()
    expect(page.locator("main .badge", has_text="Active").first).to_be_visible()
    first.refresh_from_db()
    assert first.is_active

    # The unsure one waits in the admin's review queue: approve the oldest open item.
    item = ReviewItem.objects.open().filter(reason=ReviewItem.Reason.UNSURE).order_by("-id").first()
    assert item is not None
    page.goto(base + reverse("admin:labeling_reviewitem_change", args=[item.pk]))
    page.get_by_role("button", name=re.compile("approve", re.I)).first.click()
    page.wait_for_load_state()
    item.refresh_from_db()
    assert item.state == ReviewItem.State.APPROVED
    assert Label.objects.get(tweet_id=item.tweet_id).verdict_origin == Origin.REVIEW
    assert errors == []
