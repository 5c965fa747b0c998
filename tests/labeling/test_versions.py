"""Activating versions, the tweets behind matrix cells."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from labeling import versions
from labeling.models import AuditEvent, ModelVersion
from labeling.versions import Cell, NotReady
from tests.factories import make_version
from tests.reports import make_evaluated_version

pytestmark = pytest.mark.django_db


def test_activating_flips_one_version_and_leaves_an_audit_event(reviewer):
    old = make_version(scores_published_at=timezone.now(), is_active=True)
    new = make_version(scores_published_at=timezone.now())
    versions.activate(new, user=reviewer)
    assert list(ModelVersion.objects.filter(is_active=True)) == [new]
    event = AuditEvent.objects.get()
    assert (event.action, event.user, event.detail) == (
        "activate",
        reviewer,
        {"version": new.number, "before": old.number},
    )
    versions.activate(old, user=reviewer)  # and back
    assert list(ModelVersion.objects.filter(is_active=True)) == [old]


def test_activating_the_active_version_again_changes_nothing(reviewer):
    version = make_version(scores_published_at=timezone.now(), is_active=True)
    versions.activate(version, user=reviewer)
    assert not AuditEvent.objects.exists()


def test_a_version_without_published_scores_is_refused_with_what_to_do():
    with pytest.raises(NotReady, match=r"no published scores yet\. Score the tweets with it first"):
        versions.activate(make_version(), user=None)


def test_a_version_that_failed_is_refused():
    version = make_version(state=ModelVersion.State.FAILED, scores_published_at=timezone.now())
    with pytest.raises(NotReady, match="is not ready: failed"):
        versions.activate(version, user=None)


def cells_of(version: ModelVersion) -> list[tuple[Cell, int]]:
    """Every cell of every matrix in a version's report, with its count."""
    found = []
    for sample in versions.SAMPLES:
        network = version.report["samples"][sample]["network"]
        binaries: dict[str | int, Any] = {"DA": network["verdict"]}
        for tag_id, name in zip(version.tag_ids, version.report["tags"], strict=True):
            binaries[tag_id] = network["tags"][name]
        for head, binary in binaries.items():
            if binary is None:
                continue
            for name, truth, predicted in (("tp", 1, 1), ("fp", 0, 1), ("fn", 1, 0), ("tn", 0, 0)):
                found.append((Cell(sample, head, truth, predicted), binary[name]))
        keys = [*version.tag_ids, None]
        for i, row in enumerate(network["tag_against_tag"]):
            for j, count in enumerate(row):
                found.append((Cell(sample, "tags", keys[i], keys[j]), count))
    return found


def test_the_random_negatives_that_it_flags_are_counted_once(django_assert_num_queries):
    version = make_evaluated_version(4, tweets=120)
    assert version.threshold is not None
    drawn = [row for row in version.examples.all() if row.is_sampled_negative]
    flagged = [row for row in drawn if row.probabilities and row.probabilities[0] >= version.threshold]
    assert 0 < len(flagged) < len(drawn)
    assert versions.count_flagged_negatives(version) == (len(flagged), len(drawn))
    with django_assert_num_queries(0):
        versions.count_flagged_negatives(version)


def test_every_cell_of_every_matrix_leads_to_as_many_tweets_as_it_counts():
    version = ModelVersion.objects.get(pk=make_evaluated_version(4, tweets=120).pk)
    cells = cells_of(version)
    assert len(cells) == 4 * (5 * 4 + 25)
    assert sum(count for _, count in cells) > 1000
    for cell, count in cells:
        assert versions.cell_tweets(version, cell).count() == count, cell


def test_the_tweets_of_a_cell_come_most_confident_first():
    version = make_evaluated_version(2, tweets=80)
    rows: list[Any] = list(versions.cell_tweets(version, Cell("test", "DA", 1, 1)))
    assert [row.probability for row in rows] == sorted((row.probability for row in rows), reverse=True)
    assert rows[0].probability == rows[0].probabilities[0]
    masked: Any = versions.cell_tweets(version, Cell("masked", version.tag_ids[1], 0, 0)).first()
    assert masked.probability == masked.masked_probabilities[2]
