"""manage.py simulate: from a file and from the installation's own labels."""

from __future__ import annotations

import json
import random
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from labeling.labels import derive_labels
from labeling.models import Origin, Source, Verdict
from tests.factories import make_annotation, make_tag, make_tweet

WORDS = ["rain", "goal", "bread", "train", "cat", "school", "paint", "river", "letter", "candle"]


@pytest.fixture
def labelled_file(tmp_path):
    path = tmp_path / "labelled.jsonl"
    rng = random.Random(1)
    rows = [
        {
            "text": " ".join(rng.choices(WORDS, k=6)) + (" snorted pills" if n % 10 == 0 else ""),
            "verdict": "DA" if n % 10 == 0 else "NDA",
            "tags": ["pills"] if n % 20 == 0 else [],
        }
        for n in range(400)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def run(*arguments, **options) -> str:
    out = StringIO()
    call_command("simulate", *arguments, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_a_file_is_replayed_with_every_strategy(labelled_file, tmp_path):
    chart, figures = tmp_path / "chart.svg", tmp_path / "figures.json"
    options = ["--labels", "60", "--batch", "20", "--start", "20", "--repeat", "2"]
    table = run(labelled_file, *options, "--chart", chart, "--json", figures)
    result = json.loads(figures.read_text())
    assert set(result["strategies"]) == {"risk", "uncertain", "diverse", "random"}
    assert result["strategies"]["risk"]["found"][-1] > 20 > result["strategies"]["random"]["found"][-1]
    assert "× random" in table
    assert chart.read_text().startswith("<svg")
    assert run(labelled_file, *options) == table


def test_a_tag_has_a_strategy_of_its_own(labelled_file):
    table = run(labelled_file, "--tag", "pills", "--labels", "20", "--repeat", "1", "--start", "30")
    assert "rare_tag" in table
    assert "pills found, of 15 among 370 texts; started from 30 labels, 5 of them positive" in table


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tag", "rain"], "No text has the tag “rain”. There are: pills"),
        (["--strategies", "luck"], "There is no strategy luck"),
        (["--strategies", "rare_tag"], "name one with --tag"),
        (["--start", "900"], "40 texts of the set are labelled with DA"),
        (["--batch", "0"], "--batch must be 1 or more"),
    ],
)
def test_what_cannot_be_replayed_is_refused_in_words(labelled_file, arguments, words):
    with pytest.raises(CommandError, match=words):
        run(labelled_file, *arguments)


@pytest.mark.django_db
def test_without_a_file_it_replays_the_installations_own_labels():
    tag = make_tag("pills")
    ids = []
    for n in range(60):
        tweet = make_tweet(f"{WORDS[n % 6]} {n} snorted pills", source=Source.SPECIFIC)
        make_annotation(tweet, origin=Origin.IMPORT, tag_ids=[tag.pk])
        ids.append(tweet.pk)
    for n in range(60):
        tweet = make_tweet(f"{WORDS[n % 6]} nothing of note {n}")
        make_annotation(tweet, verdict=Verdict.NDA, tag_ids=[])
        ids.append(tweet.pk)
    derive_labels(ids)
    for n in range(100):
        make_tweet(f"{WORDS[n % 6]} and {WORDS[n % 5]} {n}")
    table = run("--labels", "20", "--batch", "10", "--start", "20", "--repeat", "1")
    assert "DA found, of 50 among 200 texts" in table


@pytest.mark.django_db
def test_without_labels_it_says_what_is_missing():
    with pytest.raises(CommandError, match="label"):
        run()
