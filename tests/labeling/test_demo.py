"""The demo: its invented tweets are what they claim to be, and their truth stays in its file."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from labeling import demo, lexicon
from labeling.demo import corpus, grammar
from labeling.models import Annotation, Import, Label, Origin, Queue, Source, Tag, Tweet, Verdict
from ml.groups import text_keys
from tests.factories import make_scores, make_tweet, make_version


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> corpus.Files:
    return corpus.write_files(tmp_path_factory.mktemp("demo"), specific=1_000, general=10_000, seed=1)


@pytest.fixture(scope="module")
def truth(files) -> dict:
    return corpus.read_truth(files.truth)


def general_rows(files: corpus.Files) -> list[dict]:
    with gzip.open(files.general, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def specific_rows(files: corpus.Files) -> list[dict]:
    with files.specific.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path):
    def written(name: str, seed: int) -> list[bytes]:
        made = corpus.write_files(tmp_path / name, specific=50, general=300, seed=seed)
        return [path.read_bytes() for path in (made.specific, made.general, made.truth)]

    assert written("a", 1) == written("b", 1)
    assert written("a", 1) != written("c", 2)


@pytest.mark.slow
def test_one_general_tweet_in_a_hundred_is_da_and_many_of_them_have_no_keyword(files, truth):
    hidden = [row for row in truth.values() if row["source"] == "general" and row["verdict"] == "DA"]
    assert len(hidden) == 100
    assert sum(not row["has_keyword"] for row in hidden) >= 30
    rules = corpus.starter_rules()
    texts = [row["text"] for row in general_rows(files) if truth[row["id"]] in hidden]
    assert sum(rules.matches_any(texts)) <= 70


@pytest.mark.slow
def test_the_specific_tweets_have_tags_and_about_half_are_nda(files, truth):
    rows = specific_rows(files)
    assert all(row["tags"] for row in rows)
    share = sum(truth[row["id"]]["verdict"] == "NDA" for row in rows) / len(rows)
    assert 0.4 <= share <= 0.6
    names = {json.loads(line)["tag"] for line in lexicon.STARTER.read_text().splitlines()}
    assert {tag for row in rows for tag in row["tags"].split(";")} <= names
    assert {tag for row in truth.values() for tag in row["tags"]} <= names


def test_texts_are_distinct_even_without_links_handles_and_numbers(files):
    for rows in (specific_rows(files), general_rows(files)):
        texts = [row["text"] for row in rows]
        assert len(set(texts)) >= 0.95 * len(texts)
        assert len(set(text_keys(texts).tolist())) >= 0.9 * len(texts)
        assert max(map(len, texts)) <= 280


@pytest.mark.slow
def test_general_authors_are_all_different_and_every_handle_and_link_is_invented(files):
    rows = general_rows(files)
    assert len({row["author"] for row in rows}) == len(rows)
    for row in rows:
        assert all(word.startswith("@demo_") for word in row["text"].lower().split() if word.startswith("@"))
        assert row["text"].count("https://") == row["text"].count("https://example.com/")


@pytest.mark.slow
def test_the_general_file_carries_no_tags_and_no_verdicts(files):
    assert {key for row in general_rows(files) for key in row} == {"id", "text", "author", "created_at"}


@pytest.mark.parametrize(
    "family",
    [*grammar.DA_KEYWORD, *grammar.DA_WITHOUT, *grammar.NDA_KEYWORD, *grammar.EVERYDAY, *grammar.HARD],
)
def test_every_slot_of_every_template_exists(family):
    for template in family.templates:
        assert all(name in grammar.SLOTS for name, is_slot in corpus._parts(template) if is_slot)


@pytest.fixture
def small_demo(db, tmp_path: Path) -> Path:
    call_command("make_demo", "--specific", "300", "--general", "2000", "--out", str(tmp_path), verbosity=0)
    return tmp_path


@pytest.mark.slow
def test_a_small_demo_is_imported_tagged_and_judged_mostly_right_and_made_only_once(small_demo):
    truth = corpus.read_truth(corpus.Files.under(small_demo).truth)
    assert Tweet.objects.filter(source=Source.SPECIFIC).count() == 300
    assert Tweet.objects.filter(source=Source.GENERAL).count() == 2_000
    assert Tag.objects.count() == 25
    assert Label.objects.filter(tags_origin=Origin.RULE).exists()
    assert Label.objects.filter(tags_origin=Origin.IMPORT).exists()
    judged = Annotation.objects.filter(origin=Origin.ANALYST).values_list("tweet__external_id", "verdict")
    names: dict[int | None, str] = {verdict.value: verdict.label for verdict in Verdict}
    right = sum(names[verdict] == truth[tweet]["verdict"] for tweet, verdict in judged)
    assert 0.88 <= right / len(judged) <= 0.99
    assert Label.objects.filter(annotators=2).count() == demo.JUDGED_TWICE
    assert Queue.objects.filter(name="Random sample").exists()

    # The truth was never imported: verdicts come from people only, and people judged a part.
    assert not Label.objects.filter(verdict__isnull=False).exclude(verdict_origin=Origin.ANALYST).exists()
    assert len(judged) < 0.25 * Tweet.objects.count()
    assert not any("truth" in name for name in Import.objects.values_list("file_name", flat=True))

    before = (Tweet.objects.count(), Annotation.objects.count(), Queue.objects.count())
    call_command("make_demo", "--specific", "300", "--general", "2000", "--out", str(small_demo), verbosity=0)
    assert (Tweet.objects.count(), Annotation.objects.count(), Queue.objects.count()) == before


def test_it_refuses_a_database_with_tweets_of_ones_own(db, tmp_path):
    make_tweet("somebody's own")
    with pytest.raises(CommandError, match="--force"):
        call_command("make_demo", "--out", str(tmp_path))
    assert Tweet.objects.count() == 1
    assert not list(tmp_path.iterdir())


def test_no_import_only_writes_the_files(db, tmp_path, capsys):
    call_command("make_demo", "--specific", "20", "--general", "100", "--no-import", "--out", str(tmp_path))
    assert not Tweet.objects.exists()
    assert "wrote 120 invented tweets" in capsys.readouterr().out
    assert (tmp_path / "truth" / "truth.jsonl").exists()


def test_the_demo_analysts_are_those_of_the_installation_if_there_are_two(analyst, second_analyst):
    assert demo.demo_analysts() == [analyst, second_analyst]


def test_without_analysts_it_makes_accounts_that_nobody_can_log_in_to(db):
    assert all(not user.has_usable_password() for user in demo.demo_analysts())
    assert len(demo.demo_analysts()) == 2


def test_the_queue_of_the_most_uncertain_opens_as_soon_as_there_are_scores(db):
    tweets = [make_tweet() for _ in range(20)]
    call_command("make_demo", "--queues", verbosity=0)
    assert [queue.name for queue in Queue.objects.all()] == ["Random sample"]
    Queue.objects.update(is_open=False)
    make_scores(make_version(), {tweet: (0.4 + place / 100, {}) for place, tweet in enumerate(tweets)})
    call_command("make_demo", "--queues", verbosity=0)
    assert {queue.name for queue in Queue.objects.all()} == {"Random sample", "Most uncertain"}
