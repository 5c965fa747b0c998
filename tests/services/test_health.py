"""/healthz and /readyz."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client


def test_healthz_needs_no_log_in_and_no_database(client: Client) -> None:
    assert client.get("/healthz").content == b"ok\n"


@pytest.mark.django_db
def test_readyz_says_that_every_part_answers(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"database": "ok", "broker": "ok"}
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_readyz_names_the_part_that_does_not_answer(client: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://:secret@127.0.0.1:1/0"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"database": "ok", "broker": "does not answer"}
    assert b"secret" not in answer.content


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_they_take_no_posts(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
