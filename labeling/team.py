"""The first accounts of an installation: one for each role, and a second analyst to disagree with."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.contrib.auth.models import Group, User
from django.db import transaction

FIRST_TEAM = (("admin", "admin"), ("reviewer", "reviewer"), ("analyst", "analyst"), ("analyst2", "analyst"))
READABLE = "abcdefghjkmnpqrstuvwxyz23456789"  # no l, 1, i, o, 0


@transaction.atomic
def create_team(log_ins: Path) -> list[User]:
    """Create the first team and write its log-ins to a private file. Does nothing where there are accounts."""
    if User.objects.exists():
        return []
    passwords = {name: _password() for name, _ in FIRST_TEAM}
    users = [_create_user(name, role, passwords[name]) for name, role in FIRST_TEAM]
    log_ins.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(log_ins, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{name:<10} {password}\n" for name, password in passwords.items())
    log_ins.chmod(0o600)
    return users


def _create_user(name: str, role: str, password: str) -> User:
    user = User.objects.create_user(
        name, password=password, is_staff=role in ("reviewer", "admin"), is_superuser=role == "admin"
    )
    user.groups.add(Group.objects.get_or_create(name=role)[0])
    return user


def _password() -> str:
    return "-".join("".join(secrets.choice(READABLE) for _ in range(4)) for _ in range(3))
