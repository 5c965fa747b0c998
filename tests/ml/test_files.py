"""Plain files in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml import files


def test_jsonl_and_csv_say_the_same(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one", "verdict": "DA", "tags": ["x", "y"]}\n\n{"text": "two", "verdict": 0, "tags": []}\n'
        '{"text": "three", "verdict": null, "tags": null}\n'
    )
    (tmp_path / "a.csv").write_text("text,verdict,tags\none,DA,x|y\ntwo,NDA,\n")
    json_table, json_tags, unlabelled = files.examples(tmp_path / "a.jsonl")
    csv_table, csv_tags, _ = files.examples(tmp_path / "a.csv")
    assert json_tags == csv_tags == ["x", "y"]
    assert unlabelled == ["three"]
    columns = ["text", "verdict", "x", "y", "split"]
    assert json_table[columns].equals(csv_table[columns])
    assert json_table["verdict"].tolist() == [1.0, 0.0]
    assert json_table["x"].tolist() == [1.0, 0.0]


def test_without_a_tags_column_nothing_is_judged_for_tags(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,verdict\none,1\ntwo,0\n")
    table, tags, _ = files.examples(tmp_path / "a.csv")
    assert tags == []
    assert np.array_equal(table["verdict"], [1.0, 0.0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "no rows"),
        ("a.csv", "body\nx\n", "no column `text`"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": "x"}\n{"text": null}\n', "row 2 has no text"),
        ("a.csv", "text,verdict\nx,perhaps\n", "verdict 'perhaps'; it must be DA, NDA"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str, content: str, message: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        files.examples(tmp_path / name)
