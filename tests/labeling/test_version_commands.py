"""manage.py train, activate and evaluate."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from labeling import training
from labeling.models import ModelVersion
from tests.factories import job_of, make_version
from tests.reports import make_evaluated_version

pytestmark = pytest.mark.django_db


def output(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_evaluate_writes_the_whole_report_and_ends_with_one_line_of_figures(tmp_path: Path):
    version = make_evaluated_version(2, tweets=40)
    file = tmp_path / "report.json"
    line = output("evaluate", "--version", str(version.number), "--json", str(file))
    found = json.loads(file.read_text())
    assert found["version"] == version.number
    assert found["report"]["samples"]["test"]["network"]["tag_against_tag"]
    assert line.count("\n") == 1
    assert "test n=40 | network: DA average precision 0." in line


def test_evaluate_takes_the_active_version_or_says_that_there_is_none(tmp_path: Path):
    with pytest.raises(CommandError, match="No version has been trained yet"):
        output("evaluate", "--json", "-")
    version = make_evaluated_version(1, tweets=20, is_active=True)
    make_version()
    assert json.loads(output("evaluate", "--json", "-"))["version"] == version.number


def test_activate_flips_or_says_why_not():
    version = make_version()
    with pytest.raises(CommandError, match="no published scores yet"):
        output("activate", str(version.number))
    with pytest.raises(CommandError, match="There is no version 999999"):
        output("activate", "999999")
    version.scores_published_at = timezone.now()
    version.save()
    assert f"Version {version.number} is active" in output("activate", str(version.number))
    assert ModelVersion.objects.active() == version


def test_train_says_what_is_missing():
    with pytest.raises(CommandError, match="You need at least 50 tweets that count as DA; you have 0"):
        output("train")
    assert ModelVersion.objects.get().state == ModelVersion.State.FAILED


def test_train_refuses_a_precision_that_is_no_share():
    with pytest.raises(CommandError, match="above 0 and below 1"):
        call_command("train", "--goal", "precision", "--precision", "80")
    assert not ModelVersion.objects.exists()


def test_train_refuses_a_prior_that_is_no_share():
    with pytest.raises(CommandError, match="is a share above 0 and below 1, such"):
        call_command("train", "--corpus-prior", "3")
    assert not ModelVersion.objects.exists()


def test_train_refuses_more_hidden_positives_than_were_measured():
    with pytest.raises(CommandError, match=r"from 0 to 0\.02"):
        call_command("train", "--hidden-positives", "0.3")
    assert not ModelVersion.objects.exists()


def test_train_keeps_what_was_stated():
    with pytest.raises(CommandError, match="You need at least 50"):
        output("train", "--corpus-prior", "0.003", "--hidden-positives", "0.01")
    detail = job_of(ModelVersion.objects.get()).detail
    assert (detail["corpus_prior"], detail["hidden_positives"]) == (0.003, 0.01)


def test_train_refuses_beside_another_training():
    training.start_training(user=None)
    with pytest.raises(CommandError, match="already queued or running"):
        output("train")
