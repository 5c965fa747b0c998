"""Settings that keep an installation safe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

from labeling.team import FIRST_TEAM, create_team
from tagger_site.embedded.layout import CHECKOUT
from tagger_site.proxy import client_address


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")
    }  # of the tests
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=CHECKOUT,
        env={**inherited, "DEBUG": "", "DJANGO_SETTINGS_MODULE": "tagger_site.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_documented_settings_pass_the_deployment_checks() -> None:
    done = manage(
        "check",
        "--deploy",
        "--fail-level",
        "WARNING",
        HTTPS="true",
        TRUSTED_PROXIES="1",
        ALLOWED_HOSTS="a.example",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_without_https_the_deployment_checks_complain() -> None:
    assert manage("check", "--deploy", "--fail-level", "WARNING").returncode != 0


def test_a_bad_value_stops_the_start() -> None:
    done = manage("check", TRUSTED_PROXIES="many")
    assert done.returncode != 0
    assert "TRUSTED_PROXIES" in done.stderr


def test_an_address_in_a_header_counts_only_behind_ones_own_proxies(settings: Any) -> None:
    request = RequestFactory().get(
        "/", headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}, REMOTE_ADDR="10.0.0.1"
    )
    settings.TRUSTED_PROXIES = 0
    assert client_address(request) == "10.0.0.1"
    settings.TRUSTED_PROXIES = 1
    assert client_address(request) == "203.0.113.9"
    settings.TRUSTED_PROXIES = 3  # fewer entries than proxies: somebody came around them
    assert client_address(request) == "10.0.0.1"


@pytest.mark.django_db
def test_the_first_team_gets_random_passwords_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "log-in.txt"
    users = create_team(path)
    assert [user.username for user in users] == [name for name, _ in FIRST_TEAM]
    assert path.stat().st_mode & 0o777 == 0o600
    for user, line in zip(users, path.read_text().splitlines(), strict=True):
        name, password = line.split()
        assert user.username == name
        assert user.check_password(password)
    assert create_team(path) == []  # and never touches an installation that has accounts
