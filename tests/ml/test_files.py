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
    from_json = files.examples(tmp_path / "a.jsonl")
    from_csv = files.examples(tmp_path / "a.csv")
    assert from_json.tags == from_csv.tags == ["x", "y"]
    assert from_json.unlabelled == ["three"]
    assert from_json.task == from_csv.task == "verdict"
    columns = ["text", "verdict", "x", "y", "split"]
    assert from_json.examples[columns].equals(from_csv.examples[columns])
    assert from_json.examples["verdict"].tolist() == [1.0, 0.0]
    assert from_json.examples["x"].tolist() == [1.0, 0.0]


def test_without_a_tags_column_nothing_is_judged_for_tags(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,verdict\none,1\ntwo,0\n")
    judged = files.examples(tmp_path / "a.csv")
    assert judged.tags == []
    assert np.array_equal(judged.examples["verdict"], [1.0, 0.0])


def test_columns_of_zero_and_one_are_tags_and_an_empty_cell_is_not_judged(tmp_path: Path):
    (tmp_path / "a.csv").write_text("id,body,joy,fear,words\nt1,one,1,1,3\nt2,two,0,,2\nt3,three,,,1\n")
    judged = files.examples(tmp_path / "a.csv", files.Columns(text="body"))
    assert judged.task == "tags"
    assert judged.tags == ["joy", "fear"]
    assert judged.unlabelled == ["three"]
    assert judged.examples["id"].tolist() == ["t1", "t2"]
    assert np.array_equal(judged.examples["fear"], [1.0, np.nan], equal_nan=True)


def test_only_the_named_columns_are_tags(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,joy,retweet\none,1,0\ntwo,0,1\n")
    assert files.examples(tmp_path / "a.csv", files.Columns(binary=("joy",))).tags == ["joy"]


def test_a_label_is_one_class_and_may_be_called_verdict(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,verdict\none,abuse\ntwo,mention\nthree,\nfour,use\n")
    judged = files.examples(tmp_path / "a.csv", files.Columns(label="verdict"))
    assert judged.task == "classes"
    assert judged.tags == ["abuse", "mention", "use"]
    assert judged.examples[judged.tags].to_numpy().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert judged.unlabelled == ["three"]


def test_numbered_classes_are_named_alike_in_csv_and_jsonl(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label\none,1\ntwo,2\n")
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one", "label": 1}\n{"text": "two", "label": 2}\n{"text": "x"}\n'
    )
    assert files.examples(tmp_path / "a.csv").tags == files.examples(tmp_path / "a.jsonl").tags == ["1", "2"]


def test_a_split_column_decides_the_splits(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,label,split\na,x,train\nb,y,dev\nc,x,Test\nd,y,TRAIN\n")
    assert files.examples(tmp_path / "a.csv").examples["split"].tolist() == [
        "train", "validation", "test", "train",
    ]  # fmt: skip


def test_a_file_per_split_decides_the_splits(tmp_path: Path):
    for name, rows in (("train", "a,x\nb,y\n"), ("dev", "c,x\n"), ("test", "d,z\n")):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    judged = files.examples(
        tmp_path / "train.csv", validation=tmp_path / "dev.csv", test=tmp_path / "test.csv"
    )
    assert judged.examples["split"].tolist() == ["train", "train", "validation", "test"]
    assert judged.tags == ["x", "y", "z"]


def test_without_a_validation_file_some_of_the_training_rows_validate(tmp_path: Path):
    words = [f"{chr(97 + n % 26)}{chr(97 + n // 26)} text of its own" for n in range(200)]
    (tmp_path / "train.csv").write_text(
        "text,label\n" + "".join(f"{word} {word[::-1]} {word * 3},{n % 2}\n"
                                 for n, word in enumerate(words))
    )  # fmt: skip
    (tmp_path / "test.csv").write_text("text,label\nq,1\n")
    counts = (
        files.examples(tmp_path / "train.csv", test=tmp_path / "test.csv").examples["split"].value_counts()
    )
    assert counts["test"] == 1
    assert 5 < counts["validation"] < 50


def test_unlabelled_texts_come_one_a_line_or_from_a_column(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "a.csv").write_text("body\none\ntwo\n")
    assert files.texts(tmp_path / "a.txt") == files.texts(tmp_path / "a.csv", text="body") == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "no rows"),
        ("a.csv", "body\nx\n", "no column `text`"),
        ("a.jsonl", '{"text": "x"}\n{"text": ', "line 2 is not JSON"),
        ("a.jsonl", "[1]\n", "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": "x"}\n{"text": null}\n', "row 2 has no text"),
        ("a.csv", "text,verdict\nx,perhaps\n", "verdict 'perhaps'; it must be DA, NDA"),
        ("a.csv", "text,verdict\nx,perhaps\n", "--label-column verdict"),
        ("a.csv", "text,words\nx,5\n", "nothing to learn from.*Found: text, words"),
        ("a.csv", "text,label\nx,a\ny,a\n", "1 classes; at least 2"),
        ("a.csv", "text,label,split\nx,a,dev\ny,b,later\n", "Row 2: split 'later'; it must be train"),
        ("a.csv", "text,tags,tags\nx,a,b\n", "two columns are called tags"),
        ("a.csv", "text,tags\nx,split\n", "A tag cannot be called split"),
        ("a.csv", "PK\x03\x04\0\0", "not a text file. Save it as CSV or JSONL"),
        ("a.jsonl", '{"text": "x", "tags": 5}\n', "Row 1: tags 5; they must be a list"),
        ("a.csv", "text,verdict\nx,\ny,unsure\n", "no row is judged"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str, content: str, message: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        files.examples(tmp_path / name)


def test_a_named_column_that_is_absent_or_not_of_zero_and_one_is_an_error(tmp_path: Path):
    (tmp_path / "a.csv").write_text("text,joy\nx,maybe\n")
    with pytest.raises(ValueError, match=r"no column `anger`\. Found: joy, text"):
        files.examples(tmp_path / "a.csv", files.Columns(binary=("anger",)))
    with pytest.raises(ValueError, match="Row 1: joy is 'maybe'; it must be 1, 0 or empty"):
        files.examples(tmp_path / "a.csv", files.Columns(binary=("joy",)))
    with pytest.raises(ValueError, match="not two"):
        files.examples(tmp_path / "a.csv", files.Columns(binary=("joy",), label="joy"))
