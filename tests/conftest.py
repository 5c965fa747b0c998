"""The cast: analyst, second analyst, reviewer, admin, outsider. And a client logged in as each."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

PASSWORD = "correct horse battery"


def pytest_collection_finish() -> None:
    """The quick tests would all wait for it: five seconds in each process."""
    if "tensorflow" in sys.modules:
        raise pytest.UsageError("A test module imports TensorFlow: import it inside the tests that need it.")


def make_user(username: str, role: str | None) -> User:
    user = User.objects.create_user(username, password=PASSWORD, is_staff=role in ("reviewer", "admin"))
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    if role == "admin":
        user.is_superuser = True
        user.save()
    return user


@pytest.fixture
def analyst(db: None) -> User:
    return make_user("ana", "analyst")


@pytest.fixture
def second_analyst(db: None) -> User:
    return make_user("ben", "analyst")


@pytest.fixture
def reviewer(db: None) -> User:
    return make_user("rita", "reviewer")


@pytest.fixture
def admin(db: None) -> User:
    return make_user("ada", "admin")


@pytest.fixture
def outsider(db: None) -> User:
    """Has an account, but no role."""
    return make_user("otto", None)


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """client_of(user) is a client that is logged in as that user."""

    def logged_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return logged_in
