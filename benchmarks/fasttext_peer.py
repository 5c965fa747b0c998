"""fastText on the same texts, from the registry into an environment of its own; used by graph.py and scale.py.

Words and pairs of them (wordNgrams 2), one thread, which is all that its predicting has. Two models: `verdict`, a
softmax over DA and NDA of which the likelier is asked for, and `all outputs`, one against the rest over these two and the
tags, all of which are asked for: what the product's own model gives.
Its texts are lower-cased beforehand and lie in memory; ours are lower-cased by the graph.
"""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Iterable, Sequence
from pathlib import Path

PACKAGES = ("fasttext-wheel==0.9.2", "numpy")
KINDS = ("verdict", "all outputs")

Seconds = dict[str, dict[str, dict[str, list[float]]]]

_SCRIPT = """
import json, sys, time
import fasttext
folder, repeats, samples = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
def lines(name):
    with open(f"{folder}/{name}", encoding="utf-8", newline="\\n") as file:
        return file.readlines()
def seconds(model, sample, k):
    spent = {"cpu": [], "wall": []}
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        model.f.multilinePredict(sample, k, 0.0, "strict")
        spent["cpu"].append(time.process_time() - cpu)
        spent["wall"].append(time.perf_counter() - wall)
    return spent
options = dict(wordNgrams=2, thread=1, epoch=1, verbose=0)
result = {}
for kind, loss in (("verdict", "softmax"), ("all outputs", "ova")):
    model = fasttext.train_supervised(f"{folder}/{kind}", loss=loss, **options)
    asked = 1 if kind == "verdict" else len(model.labels)
    result[kind] = {name: seconds(model, lines(name), asked) for name in samples}
    del model
print(json.dumps(result))
"""


class CannotInstall(Exception):
    """fastText cannot be had here; the message is what pip said."""


def install(folder: Path) -> None:
    """Into `folder`/environment, unless it is there. Raises CannotInstall."""
    python = _python(folder)
    if not python.exists():
        venv.create(folder / "environment", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotInstall(done.stderr.strip()[-1_500:])


def write_training(
    folder: Path, texts: Sequence[str], verdicts: Iterable[bool], tags: Iterable[Iterable[str]]
) -> None:
    """What both models learn from, in the order given: it should be mixed. `tags` of every text may be empty."""
    with (folder / KINDS[0]).open("w") as verdict_file, (folder / KINDS[1]).open("w") as tag_file:
        for text, is_da, names in zip(texts, verdicts, tags, strict=True):
            verdict = "__label__DA" if is_da else "__label__NDA"
            labels = " ".join(f"__label__{name.replace(' ', '_')}" for name in names)
            verdict_file.write(f"{verdict} {_line(text)}")
            tag_file.write(f"{verdict} {labels} {_line(text)}")


def write_sample(folder: Path, name: str, texts: Iterable[str]) -> None:
    (folder / name).write_text("".join(map(_line, texts)))


def seconds(folder: Path, samples: Sequence[str], *, repeats: int) -> Seconds:
    """Train, then predict every sample `repeats` times: {kind: {sample: {"cpu" or "wall": [seconds, …]}}}."""
    command = [str(_python(folder)), "-c", _SCRIPT, str(folder), str(repeats), *samples]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Seconds = json.loads(done.stdout.splitlines()[-1])
    return found


def _python(folder: Path) -> Path:
    return folder / "environment" / "bin" / "python"


def _line(text: str) -> str:
    return " ".join(text.lower().split()) + "\n"
