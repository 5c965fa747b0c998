"""Every setting and command appears in the documentation, and no setting that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READ = re.compile(r"""(?:env\.\w+\(|os\.environ\.get\(|os\.environ\[)\s*"([A-Z][A-Z_]+)\"""")
NOT_SETTINGS = {"DJANGO_SETTINGS_MODULE"}  # of Django itself


def settings_read() -> set[str]:
    text = "".join(path.read_text() for path in (ROOT / "tagger_site").rglob("*.py"))
    return set(READ.findall(text)) - NOT_SETTINGS


def test_every_setting_is_documented() -> None:
    assert {"DATABASE_URL", "PORT", "HTTPS"} <= settings_read()
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert settings_read() - documented == set()
    assert documented - settings_read() == {"PYTHON", "ARGS"}  # these are make's


@pytest.mark.parametrize(
    "command", sorted(path.stem for path in (ROOT / "labeling/management/commands").glob("[a-z]*.py"))
)
def test_every_command_is_documented(command: str) -> None:
    assert re.search(rf"`{command}\b", (ROOT / "docs/commands.md").read_text())


@pytest.mark.parametrize(
    "target", re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
)
def test_every_make_target_is_documented(target: str) -> None:
    assert target == "help" or f"`make {target}`" in (ROOT / "docs/commands.md").read_text()
