"""The command python -m ml.train: a file of judged texts in, a model and a line of figures out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ml import calibration, files
from ml.config import ARCHITECTURES, Config
from ml.train import train

DESCRIPTION = """\
Train a model on a CSV or JSONL file of judged texts. Judgements may be

  verdict   a column `verdict`: DA, NDA or empty; with or without tags beside it
  tags      a column `tags`: a list, or a cell with tags separated by |, ; or a comma
  0 and 1   a column per tag, with 0, 1 or empty (found by their values, or named by --tag-columns)
  classes   a column `label`: exactly one class a row, any number of classes

An empty cell is "not judged", except in `tags`, where it is "none of them". Rows without any judgement serve as
unlabelled texts. Writes model.zip, report.json and holdout.parquet into DIR.
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    columns = files.Columns(
        text=options.text_column, tags=options.tags_column, label=options.label_column,
        binary=tuple(name.strip() for name in options.tag_columns.split(",") if name.strip()),
        split=options.split_column,
    )  # fmt: skip
    try:
        judged = files.examples(options.file, columns, validation=options.validation, test=options.test)
        unlabelled = files.texts(options.unlabelled, text=options.text_column) if options.unlabelled else []
        print(_found(judged))
        config = Config(
            architecture=options.architecture, seed=options.seed, epochs=options.epochs, task=judged.task,
            term_pattern=options.term_pattern, corpus_prior=options.corpus_prior, goal=options.goal,
            precision=options.precision,
        )  # fmt: skip
        report = train(
            judged.examples, tags=judged.tags, config=config, out=options.out, progress=_print_progress,
            unlabelled=[*judged.unlabelled, *unlabelled],
        )  # fmt: skip
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(summary(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ml.train",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="TRAIN", type=Path, help="JSONL or CSV")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--validation", metavar="FILE", type=Path, help="where epochs, calibration and thresholds are chosen; "
        "default: 10 %% of the rows, near copies kept together"
    )  # fmt: skip
    parser.add_argument(
        "--test", metavar="FILE", type=Path, help="what the model is judged on; default: another 10 %%, but none where "
        "--validation is given"
    )  # fmt: skip
    parser.add_argument(
        "--unlabelled", metavar="FILE", type=Path, help="further texts: CSV, JSONL, or .txt, one a line"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME", help="default: text")
    parser.add_argument(
        "--tags-column", default="", metavar="NAME", help="several tags in a cell; default: tags"
    )
    parser.add_argument("--tag-columns", default="", metavar="A,B,…", help="columns of 0 and 1")
    parser.add_argument("--label-column", default="", metavar="NAME", help="one class a row; default: label")
    parser.add_argument(
        "--split-column",
        default="",
        metavar="NAME",
        help="train, validation (or dev), test; default: split, if there",
    )
    parser.add_argument(
        "--goal", choices=calibration.GOALS, default="f1", help="what the tags' thresholds are chosen for: the best F1 of "
        "each tag; the best mean of micro and macro F1 overall; or the lowest threshold with the --precision wanted"
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=float, default=0.8, help="wanted of every tag; with --goal precision"
    )
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="fast")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=0, help="default: as the architecture needs")
    parser.add_argument(
        "--term-pattern", default="", help="RE2 pattern of keywords to delete at random in training"
    )
    parser.add_argument("--corpus-prior", type=float, help="share of DA where the model will be used")
    return parser


def _found(judged: files.Judged) -> str:
    """What the file was taken for: the user must see when a column was taken for a tag that is none."""
    kind = {"verdict": "a verdict and tags", "tags": "tags", "classes": "one of these classes a text"}[
        judged.task
    ]
    parts = judged.examples["split"].value_counts()
    splits = ", ".join(f"{int(parts.get(name, 0)):,} {name}" for name in ("train", "validation", "test"))
    return f"{kind}: {', '.join(judged.tags) or 'none'}\n{splits}, {len(judged.unlabelled):,} not judged"


def _print_progress(event: dict[str, Any]) -> None:
    if "validation_loss" in event:
        print(f"epoch {event['epoch']}: loss {event['loss']:.4f}, validation {event['validation_loss']:.4f}")
    elif event.get("step", 1) == 1 and "epoch" not in event:
        print(event["stage"])


def summary(report: dict[str, Any]) -> str:
    """One line of figures on the test sample; on validation, and said to flatter, where there is none."""

    def figures(model: dict[str, Any]) -> str:
        verdict, classes = model["verdict"], model.get("classes")
        shown = [f"DA average precision {verdict['average_precision'] or 0:.3f}"] if verdict else []
        if classes:
            shown += [f"accuracy {classes['accuracy']:.3f}, macro F1 {classes['macro_f1']:.3f}"]
        elif model["macro"]["f1"] is not None:
            shown += [f"tags micro F1 {model['micro']['f1'] or 0:.3f}, macro F1 {model['macro']['f1']:.3f}"]
        return ", ".join(shown) or "nothing to judge"

    samples = report["samples"]
    name = "validation" if "validation" in samples else "test"
    sample = samples[name]
    note = " (which chose epochs and thresholds: these figures flatter)" if name == "validation" else ""
    return (
        f"{sample['n']} {name} texts{note}: network {figures(sample['network'])}; "
        f"baseline {figures(sample['baseline'])}; {report['seconds']:.0f} s"
    )
