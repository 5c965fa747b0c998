"""Word vectors that trainings share."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.storage import storages
from django.utils import timezone

from labeling import word_vectors
from labeling.models import ModelVersion
from tests.factories import make_version

pytestmark = [pytest.mark.django_db, pytest.mark.tensorflow]


@pytest.fixture
def learn(tmp_path: Path, monkeypatch):
    """Learn some for a new version and keep them, as a training does."""
    from ml import pretraining

    monkeypatch.setattr(word_vectors, "PRETRAINING", 10)
    settings = pretraining.Settings(dims=4, least=1)

    def learned(*, texts: int = 10) -> tuple[ModelVersion, pretraining.WordVectors]:
        vectors = pretraining.learn([f"we took {n} again" for n in range(texts)], settings)
        vectors.save(tmp_path / "word_vectors.npz")
        version = make_version()
        record = word_vectors.keep(
            tmp_path / "word_vectors.npz", vectors.origin, version=version, texts=texts
        )
        version.snapshot = {"word_vectors": record}
        version.save()
        return version, vectors

    return learned, settings


def test_a_later_training_finds_them(learn):
    learned, settings = learn
    version, vectors = learned()
    found = word_vectors.reusable(settings)
    assert found is not None
    again, record = found
    assert again.origin == vectors.origin
    assert (again.vectors == vectors.vectors).all()
    assert record["version"] == version.number


def test_another_seed_may_use_them_and_another_size_may_not(learn):
    from ml.pretraining import Settings

    learned, _ = learn
    learned()
    assert word_vectors.reusable(Settings(dims=4, least=1, seed=9)) is not None
    assert word_vectors.reusable(Settings(dims=8, least=1)) is None
    assert word_vectors.reusable(Settings(dims=4, least=2)) is None


def test_old_ones_are_learned_anew(learn, monkeypatch):
    learned, settings = learn
    learned()
    monkeypatch.setattr(word_vectors, "MAX_AGE", timedelta(0))
    assert word_vectors.reusable(settings) is None


def test_those_of_a_small_corpus_are_not_kept(learn):
    learned, settings = learn
    version, _ = learned(texts=9)
    assert version.snapshot["word_vectors"]["origin"]["texts"] == 9
    assert word_vectors.reusable(settings) is None


def test_a_file_that_is_gone_or_changed_is_not_used(learn):
    learned, settings = learn
    version, _ = learned()
    record = version.snapshot["word_vectors"]
    version.snapshot = {"word_vectors": record | {"sha256": "0" * 64}}
    version.save()
    assert word_vectors.reusable(settings) is None
    version.snapshot = {"word_vectors": record}
    version.save()
    assert word_vectors.reusable(settings) is not None
    storages["models"].delete(record["file"])
    assert word_vectors.reusable(settings) is None


def test_only_the_last_file_is_kept(learn):
    learned, _ = learn
    first, _ = learned()
    second, _ = learned()
    storage = storages["models"]
    assert not storage.exists(first.snapshot["word_vectors"]["file"])
    assert storage.exists(second.snapshot["word_vectors"]["file"])
    assert timezone.now().isoformat() > second.snapshot["word_vectors"]["learned_at"]
