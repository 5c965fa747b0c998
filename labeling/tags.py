"""Tags: create, rename, archive, reorder; their colours and the keys of the label page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils.text import slugify

from labeling.models import Tag

# Each is a CSS class tag-<colour> in site.css, readable (WCAG AA) on light and on dark pages.
HUES = (
    "teal",
    "red",
    "blue",
    "amber",
    "violet",
    "green",
    "rose",
    "cyan",
    "orange",
    "indigo",
    "lime",
    "magenta",
)
COLOURS = (*HUES, *(f"deep-{hue}" for hue in HUES), "grey")

DIGITS = "1234567890"
KEYS = tuple(f"{modifier}{digit}" for modifier in ("", "shift+", "shift+alt+") for digit in DIGITS)
KEY_FORM = re.compile(r"(shift\+)?(alt\+)?[a-z0-9]")
# Letters that the label page uses for itself: accept, reject, unsure, skip, flag, help, note, undo and more.
RESERVED_KEYS = frozenset("adfghnqsuxyz")


def next_colour(taken: Iterable[str]) -> str:
    """The first colour that no tag has; starts again when all are taken."""
    used = list(taken)
    free = [colour for colour in COLOURS if colour not in used]
    return free[0] if free else COLOURS[len(used) % len(COLOURS)]


def unique_slug(name: str) -> str:
    base = slugify(name)[:50] or "tag"
    taken = set(Tag.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(
        slug for slug in (base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))) if slug not in taken
    )


def clean_name(name: str, *, tag: Tag | None = None) -> str:
    """Trimmed. Raises ValidationError when it is empty, too long or another tag's."""
    name = " ".join(name.split())
    if not name:
        raise ValidationError("Give the tag a name.")
    if len(name) > 60:
        raise ValidationError("The name is longer than 60 characters.")
    other = Tag.objects.filter(name__iexact=name).exclude(pk=tag.pk if tag else 0).first()
    if other:
        archived = " It is archived: restore it instead." if other.is_archived else ""
        raise ValidationError(f"There is a tag named “{other.name}” already.{archived}")
    return name


def clean_key(key: str, *, tag: Tag | None = None) -> str:
    """Lower case; "" means by position. Raises ValidationError for a key that cannot be had."""
    key = key.strip().lower().replace(" ", "")
    if not key:
        return ""
    if not KEY_FORM.fullmatch(key):
        raise ValidationError(
            "Write a digit or a letter, with shift+ or alt+ before it if you like: shift+3."
        )
    if key in RESERVED_KEYS:
        raise ValidationError(f"The label page uses the key {key} itself. Choose another, or add shift+.")
    other = Tag.objects.in_use().filter(key=key).exclude(pk=tag.pk if tag else 0).first()
    if other:
        raise ValidationError(f"The tag “{other.name}” has this key.")
    return key


def create_tag(name: str, *, colour: str = "", key: str = "", guideline: str = "") -> Tag:
    """A new tag, after the others. Raises ValidationError."""
    name, key = clean_name(name), clean_key(key)
    with transaction.atomic():
        last = Tag.objects.aggregate(last=Max("position"))["last"] or 0
        if colour not in COLOURS:
            colour = next_colour(Tag.objects.in_use().values_list("colour", flat=True))
        return Tag.objects.create(
            name=name,
            slug=unique_slug(name),
            colour=colour,
            key=key,
            guideline=guideline.strip(),
            position=last + 1,
        )


def change_tag(tag: Tag, *, name: str, colour: str, key: str, guideline: str) -> Tag:
    """Rename and so on. The slug stays: exports and links hold it. Raises ValidationError."""
    tag.name, tag.key = clean_name(name, tag=tag), clean_key(key, tag=tag)
    tag.colour = colour if colour in COLOURS else tag.colour
    tag.guideline = guideline.strip()
    tag.save()
    return tag


def archive(tag: Tag) -> None:
    """Out of use: no longer offered, trained on or voted for. What was judged stays."""
    Tag.objects.filter(pk=tag.pk).update(is_archived=True)


def restore(tag: Tag) -> None:
    """Back to its place, with its key, so that the keys of the others are again what people knew."""
    is_taken = bool(tag.key) and Tag.objects.in_use().filter(key=tag.key).exists()
    Tag.objects.filter(pk=tag.pk).update(is_archived=False, key="" if is_taken else tag.key)


def move(tag: Tag, *, by: int) -> None:
    """Change places with the neighbour before (-1) or after (+1) it."""
    ids = list(Tag.objects.in_use().values_list("id", flat=True))
    if tag.pk not in ids:
        return
    old = ids.index(tag.pk)
    new = min(max(old + by, 0), len(ids) - 1)
    ids.insert(new, ids.pop(old))
    reorder(ids)


@transaction.atomic
def reorder(tag_ids: Sequence[int]) -> None:
    """Put the tags in use in this order. Archived ones, and any that is not named, stay behind the one that they follow."""
    ids = list(tag_ids)
    before: int | None = None
    for tag_id in Tag.objects.order_by("position", "id").values_list("id", flat=True):
        if tag_id not in tag_ids:
            ids.insert(ids.index(before) + 1 if before else 0, tag_id)
        before = tag_id
    for position, tag_id in enumerate(ids, start=1):
        Tag.objects.filter(pk=tag_id).exclude(position=position).update(position=position)


def keys_of(tags: Sequence[Tag]) -> dict[int, str]:
    """Tag id → key, for the tags in use in their order: its own, or that of its position. "" past the last."""
    keys = {tag.pk: tag.key for tag in tags if tag.key}
    taken = set(keys.values())
    for place, tag in enumerate(tags):
        if tag.pk not in keys:
            wanted = [*KEYS[place : place + 1], *KEYS]  # where another tag has it: the first that is free
            keys[tag.pk] = next((key for key in wanted if key not in taken), "")
            taken.add(keys[tag.pk])
    return keys


def key_for(tag: Tag) -> str:
    """One query; for several tags use keys_of()."""
    return keys_of(list(Tag.objects.in_use())).get(tag.pk, "")
