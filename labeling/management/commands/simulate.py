"""manage.py simulate: how many positives each strategy would have found in a labelled set, label by label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError, CommandParser

from labeling import replaying
from labeling.jobs import JobError
from labeling.replaying import LabelledSet
from ml import choosing, files, simulation


class Command(BaseCommand):
    help = (
        "Hide the labels of a labelled set, and reveal them in the order in which each strategy asks for them: rounds"
        " of train, choose, label. Prints how many positives each would have found; changes nothing. Without FILE it"
        " replays the installation's own labels, with general tweets assumed to be NDA as in training."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", type=Path, help="CSV or JSONL with text, verdict and tags")
        parser.add_argument(
            "--tag", help="count tweets with this tag, not DA; its examples are rare at the start"
        )
        parser.add_argument(
            "--strategies", help=f"some of {', '.join(choosing.STRATEGIES)} (all that fit)", metavar="A,B"
        )
        parser.add_argument("--labels", type=int, default=1_000, help="labels to spend (1000)")
        parser.add_argument(
            "--batch", type=int, default=50, help="labels of a round, after which it trains (50)"
        )
        parser.add_argument("--start", type=int, default=100, help="labels known at the start (100)")
        parser.add_argument(
            "--examples", type=int, default=5, help="with --tag: how many of them have it (5)"
        )
        parser.add_argument("--repeat", type=int, default=3, help="times, each with another start (3)")
        parser.add_argument(
            "--seed", type=int, default=1, help="same set, options and seed: same figures (1)"
        )
        parser.add_argument(
            "--negatives", type=int, default=20_000, help="without FILE: general tweets drawn (20000)"
        )
        parser.add_argument("--json", metavar="FILE", help="write all figures; - is standard output")
        parser.add_argument("--chart", metavar="FILE", type=Path, help="draw them as SVG")

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("labels", "batch", "start", "examples", "repeat"):
            if options[name] < 1:
                raise CommandError(f"--{name} must be 1 or more.")
        labelled = self._labelled_set(options)
        tag = self._tag(options["tag"], labelled.tags)
        strategies = self._strategies(options["strategies"], tag)
        try:
            replays = [
                simulation.hide(
                    labelled.texts, labelled.truth, labelled.tags,
                    start=options["start"], tag=tag, examples=options["examples"], seed=options["seed"] + n,
                )
                for n in range(options["repeat"])
            ]  # fmt: skip
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        result = simulation.compare(
            replays,
            strategies,
            labels=options["labels"],
            batch=options["batch"],
            tag=tag,
            report=lambda done, total: self.stderr.write(f"{done} of {total} simulations"),
        )
        if options["chart"]:
            options["chart"].write_text(simulation.chart(result), encoding="utf-8")
        if options["json"] == "-":
            self.stdout.write(json.dumps(result, indent=1))
            return
        if options["json"]:
            Path(options["json"]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        self.stdout.write(simulation.table(result))

    def _labelled_set(self, options: dict[str, Any]) -> LabelledSet:
        path: Path | None = options["file"]
        if path is None:
            try:
                return replaying.own_labels(negatives=max(0, options["negatives"]), seed=options["seed"])
            except JobError as problem:
                raise CommandError(str(problem)) from problem
        if not path.is_file():
            raise CommandError(f"There is no file {path}.")
        try:
            judged = files.examples(path)
        except ValueError as problem:
            raise CommandError(str(problem)) from problem
        table = judged.examples
        truth = table[["verdict", *judged.tags]].to_numpy(np.float32)
        return LabelledSet(table["text"].tolist(), truth, judged.tags)

    def _tag(self, name: str | None, tags: list[str]) -> int | None:
        if name is None:
            return None
        if name not in tags:
            raise CommandError(f"No text has the tag “{name}”. There are: {', '.join(tags) or 'none'}.")
        return tags.index(name)

    def _strategies(self, asked: str | None, tag: int | None) -> list[str]:
        names = (
            asked.split(",")
            if asked
            else [s for s in choosing.STRATEGIES if tag is not None or s != "rare_tag"]
        )
        if unknown := set(names) - set(choosing.STRATEGIES):
            raise CommandError(
                f"There is no strategy {', '.join(sorted(unknown))}. Choose from {', '.join(choosing.STRATEGIES)}."
            )
        if tag is None and "rare_tag" in names:
            raise CommandError("The strategy rare_tag looks for a tag: name one with --tag.")
        return names
