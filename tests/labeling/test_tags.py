"""Tags: names, colours, keys and order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError

from labeling import tags
from labeling.models import Tag
from tests.factories import make_tag

pytestmark = pytest.mark.django_db


def names() -> list[str]:
    return [tag.name for tag in Tag.objects.in_use()]


def test_a_new_tag_comes_last_with_a_slug_and_a_colour_of_its_own():
    first, second = tags.create_tag("Pain relief"), tags.create_tag("  pain   Relief 2 ")
    assert (first.slug, second.name) == ("pain-relief", "pain Relief 2")
    assert first.colour != second.colour
    assert first.position < second.position


def test_names_that_slugify_alike_get_different_slugs_and_scripts_without_letters_get_one():
    assert [tags.create_tag(name).slug for name in ("a b", "a-b", "痛み")] == ["a-b", "a-b-2", "tag"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 61])
def test_a_bad_name_is_refused(name):
    with pytest.raises(ValidationError):
        tags.create_tag(name)


def test_a_name_in_other_case_is_the_same_name():
    tags.create_tag("Lean")
    with pytest.raises(ValidationError, match="already"):
        tags.create_tag("LEAN")


def test_renaming_keeps_the_slug():
    tag = tags.create_tag("lean")
    tags.change_tag(tag, name="codeine syrup", colour="red", key="shift+l", guideline=" when ")
    tag.refresh_from_db()
    assert (tag.slug, tag.name, tag.colour, tag.key, tag.guideline) == (
        "lean",
        "codeine syrup",
        "red",
        "shift+l",
        "when",
    )


def test_keys_follow_the_position_to_thirty_and_stop():
    all_tags = [make_tag() for _ in range(31)]
    keys = list(tags.keys_of(all_tags).values())
    assert keys[0] == "1"
    assert keys[9] == "0"
    assert (keys[10], keys[19], keys[20], keys[29]) == ("shift+1", "shift+0", "shift+alt+1", "shift+alt+0")
    assert keys[30] == ""
    assert tags.key_for(all_tags[10]) == "shift+1"


def test_a_key_of_ones_own_goes_first_and_no_key_is_given_twice():
    all_tags = [make_tag(), make_tag(key="1"), make_tag()]
    keys = tags.keys_of(all_tags)
    assert keys[all_tags[1].pk] == "1"
    assert len(set(keys.values())) == 3


@pytest.mark.parametrize("key", ["a", "f5", "ctrl+1", "é", "shift+"])
def test_keys_that_the_page_or_the_browser_needs_are_refused(key):
    with pytest.raises(ValidationError):
        tags.clean_key(key)


def test_a_key_that_another_tag_has_is_refused():
    make_tag("lean", key="shift+l")
    with pytest.raises(ValidationError, match="lean"):
        tags.clean_key("Shift+L")


def test_tags_move_and_stop_at_the_ends():
    a, _, c = make_tag("a"), make_tag("b"), make_tag("c")
    tags.move(c, by=-1)
    assert names() == ["a", "c", "b"]
    tags.move(a, by=-1)
    tags.move(a, by=1)
    assert names() == ["c", "a", "b"]


def test_an_archived_tag_leaves_the_list_and_comes_back_to_its_place_and_key():
    """Or the keys of all tags behind it would be others for good."""
    a, b, c = make_tag("a", key="shift+a"), make_tag("b"), make_tag("c")
    keys = tags.keys_of(list(Tag.objects.in_use()))
    tags.archive(a)
    assert names() == ["b", "c"]
    tags.restore(a)
    assert names() == ["a", "b", "c"]
    assert tags.keys_of(list(Tag.objects.in_use())) == keys
    tags.archive(b)
    tags.move(c, by=-1)
    tags.restore(b)
    assert names() == ["c", "a", "b"]


def test_a_key_that_another_tag_has_meanwhile_is_not_had_twice():
    a = make_tag("a", key="k")
    tags.archive(a)
    make_tag("b", key="k")
    tags.restore(a)
    assert Tag.objects.get(pk=a.pk).key == ""


# Colours -------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("prefix", ["", '[data-bs-theme="dark"] '])
def test_every_colour_is_in_the_stylesheet_and_readable(prefix):
    css = (Path(settings.BASE_DIR) / "static/labeling/site.css").read_text()
    pattern = rf"^{re.escape(prefix)}\.tag-([a-z-]+) \{{ --tag-bg: (#\w{{6}}); --tag-fg: (#\w{{6}}); \}}"
    found = {name: (bg, fg) for name, bg, fg in re.findall(pattern, css, re.MULTILINE)}
    assert set(found) == set(tags.COLOURS)
    assert len(set(found.values())) == len(tags.COLOURS)
    assert min(contrast(*pair) for pair in found.values()) >= 4.5
