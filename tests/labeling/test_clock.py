"""What the clock rings for."""

from __future__ import annotations

import pytest
from celery.signals import beat_init

from tagger_site.celery import app


def test_a_clock_that_starts_has_the_list_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "of this test alone"
    monkeypatch.setitem(app.conf.beat_schedule["keep-list-near"]["options"], "queue", name)
    with app.connection_for_write() as broker, broker.SimpleQueue(name) as queue:
        beat_init.send(sender=None)
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == "labeling.tasks.keep_list_near"
    assert message.headers["expires"]
