"""Replaying a labelled set: how many positives each strategy would have found, label by label.

Rounds of train → choose → reveal, with the strategies that the product uses (ml.choosing) over a table in memory, and
with the library's baseline as the model: it is trained in a second, and ranks the strategies as a network does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from ml import choosing, groups
from ml.baseline import regression

Floats = NDArray[np.floating[Any]]
THRESHOLD = 0.5  # of every output: the regressions are not calibrated


@dataclass(frozen=True)
class Replay:
    """A labelled set that is hidden again: `truth` is float32 [n, 1 + tags], DA first, NaN where nobody judged.

    `known` (bool [n]) says which texts are labelled at the start, `free` which are the pool. `assumed` of the pool, at
    random, count as not DA and without tags until they are labelled, as in the product's training.
    """

    texts: list[str]
    truth: NDArray[np.float32]
    tags: list[str]
    known: NDArray[np.bool_]
    free: NDArray[np.bool_]
    assumed: int = 5_000


def hide(
    texts: list[str],
    truth: NDArray[np.float32],
    tags: list[str],
    *,
    start: int,
    tag: int | None = None,
    examples: int = 5,
    seed: int = 0,
) -> Replay:
    """A replay that starts from `start` random labels: half of them DA; with `tag`, `examples` of them have the tag.

    Texts that are not judged for what is counted are left out. ValueError, in words, where nothing is left to find.
    """
    rng = np.random.default_rng(seed)
    counted = truth[:, 0 if tag is None else 1 + tag]
    positive, negative = (rng.permutation(np.flatnonzero(counted == value)) for value in (1, 0))
    what, wanted = ("DA", start // 2) if tag is None else (f"the tag {tags[tag]}", examples)
    if len(positive) <= wanted:
        raise ValueError(
            f"{len(positive):,} texts of the set are labelled with {what}. To start from {wanted:,} of them, and find"
            " others, it takes more: label more, or start from fewer."
        )
    known = np.zeros(len(texts), bool)
    known[positive[:wanted]] = True
    known[negative[: max(1, start - wanted)]] = True
    if not (~known[negative]).any():
        raise ValueError(
            f"Nothing in the set is labelled as without {what}: there is nothing to tell it from."
        )
    return Replay(texts, truth, tags, known, ~np.isnan(counted) & ~known)


def simulate(
    replay: Replay,
    strategy: str,
    *,
    labels: int = 1_000,
    batch: int = 50,
    seed: int = 0,
    tag: int | None = None,
    until: int | None = None,
    features: Features | None = None,
) -> NDArray[np.int64]:
    """Positives found after 1, 2, … labels: int64, at most `labels` long. Of the tag if one is given, else DA.

    It ends when `until` positives are found. `features` are those of Features.of(replay.texts), where several simulations share them. The same seed gives the
    same figures.
    """
    rng = np.random.default_rng(seed)
    pool = _Pool(replay, features or Features.of(replay.texts), rng)
    counted = replay.truth[:, 0 if tag is None else 1 + tag]
    found: list[bool] = []
    while len(found) < labels and (until is None or sum(found) < until):
        ids = [c.id for c in choosing.STRATEGIES[strategy](pool, min(batch, labels - len(found)), tag)]
        if not ids:
            break
        pool.reveal(ids)
        found += [bool(counted[i] > 0) for i in ids]
    return np.cumsum(found, dtype=np.int64)


def labels_until(found: NDArray[np.int64], wanted: int) -> int | None:
    """How many labels it took to find so many; None when it did not come to that."""
    place = int(np.searchsorted(found, wanted))
    return place + 1 if place < len(found) else None


def compare(
    replays: Sequence[Replay],
    strategies: Sequence[str],
    *,
    labels: int = 1_000,
    batch: int = 50,
    tag: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Each strategy on each replay of the same texts; plain data, with the means over the replays.

    A strategy that ends before all labels are spent, because nothing is left that it would take, keeps what it found.
    `report` is told how many of how many simulations are done.
    """
    features = Features.of(replays[0].texts)
    points = [*range(batch, labels, batch), labels]
    column = 0 if tag is None else 1 + tag
    found: dict[str, list[list[int]]] = {name: [] for name in strategies}
    spent: dict[str, list[int]] = {name: [] for name in strategies}
    for number, replay in enumerate(replays):
        for name in strategies:
            curve = simulate(
                replay, name, labels=labels, batch=batch, tag=tag, seed=number, features=features
            )
            at = [int(curve[min(n, len(curve)) - 1]) if len(curve) else 0 for n in points]
            found[name].append(at)
            spent[name].append(len(curve))
            if report:
                report(sum(map(len, found.values())), len(replays) * len(strategies))
    first = replays[0]
    return {
        "counted": "DA" if tag is None else first.tags[tag],
        "texts": int(first.free.sum()),
        "positives": int((first.truth[first.free, column] > 0).sum()),
        "known": int(first.known.sum()),
        "known_positives": int((first.truth[first.known, column] > 0).sum()),
        "batch": batch,
        "labels": points,
        "strategies": {
            name: {
                "found": np.mean(found[name], axis=0).round(2).tolist(),
                "each": found[name],
                "labels_spent": spent[name],
            }
            for name in strategies
        },
    }


def table(result: dict[str, Any]) -> str:
    """For people: a line for each strategy, with its last column against random where that took part."""
    labels = result["labels"]
    shown = sorted({labels[0], *(labels[(len(labels) - 1) * k // 4] for k in (1, 2, 3, 4))})
    random = result["strategies"].get("random")
    lines = [f"{'strategy':12}" + "".join(f"{f'after {n:,}':>14}" for n in shown)]
    for name, given in result["strategies"].items():
        values = [given["found"][labels.index(n)] for n in shown]
        ratio = (
            f"  {values[-1] / random['found'][-1]:5.1f} × random" if random and random["found"][-1] else ""
        )
        lines.append(f"{name:12}" + "".join(f"{value:14,.1f}" for value in values) + ratio)
    repeats = len(next(iter(result["strategies"].values()))["each"])
    lines.append(
        f"{result['counted']} found, of {result['positives']:,} among {result['texts']:,} texts; started from"
        f" {result['known']:,} labels, {result['known_positives']:,} of them positive; mean of {repeats} starts"
    )
    return "\n".join(lines)


WIDTH, HEIGHT, MARGIN = 720, 420, 56  # pixels
COLOURS = ("#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#52525b", "#be185d")


def chart(result: dict[str, Any]) -> str:
    """An SVG picture of what compare() returned: positives found by labels spent, a line for each strategy."""
    most = max([1.0, *(value for given in result["strategies"].values() for value in given["found"])])
    last = result["labels"][-1]

    def place(label: float, found: float) -> str:
        x = MARGIN + (WIDTH - 2.5 * MARGIN) * label / last
        return f"{x:.1f},{HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * found / most:.1f}"

    lines, names = [], []
    for number, (name, given) in enumerate(result["strategies"].items()):
        colour = COLOURS[number % len(COLOURS)]
        curve = [(0, 0.0), *zip(result["labels"], given["found"], strict=True)]
        lines.append(
            f'<polyline points="{" ".join(place(*point) for point in curve)}" fill="none" stroke="{colour}"'
            ' stroke-width="2"/>'
        )
        names.append(
            f'<text x="{MARGIN + 12}" y="{MARGIN + 18 * number}" fill="{colour}">{name}: {given["found"][-1]:g}</text>'
        )
    axes = [
        f'<path d="M{MARGIN},{MARGIN} V{HEIGHT - MARGIN} H{WIDTH - 1.5 * MARGIN}" fill="none" stroke="#71717a"/>',
        *(f'<text x="{place(last * k / 4, 0).split(",")[0]}" y="{HEIGHT - MARGIN + 20}" text-anchor="middle">'
          f"{last * k // 4:,}</text>" for k in range(5)),
        *(f'<text x="{MARGIN - 8}" y="{place(0, most * k / 4).split(",")[1]}" text-anchor="end">{most * k / 4:,.0f}</text>'
          for k in range(5)),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">labels</text>',
        f'<text x="{MARGIN}" y="{MARGIN - 24}">{escape(result["counted"])} found, of {result["positives"]:,} among'
        f' {result["texts"]:,} texts</text>',
    ]  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="sans-serif" font-size="13" fill="#3f3f46"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join([*axes, *lines, *names])}</svg>\n"
    )


@dataclass(frozen=True)
class Features:
    """What all simulations of the same texts share."""

    tfidf: sparse.csr_matrix  # [n, terms], of words and pairs
    words: sparse.csc_matrix  # [n, words]: whether the text has the word
    column_of: dict[str, int]
    groups: NDArray[np.int64]  # of near copies

    @classmethod
    def of(cls, texts: Sequence[str]) -> Features:
        """About 0.1 ms a text."""
        tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, dtype=np.float32)
        words = CountVectorizer(analyzer=choosing.words_of, binary=True, dtype=np.int8)
        has = sparse.csc_matrix(words.fit_transform(texts))
        group = groups.near_duplicates(texts, groups.text_keys(texts))
        return cls(sparse.csr_matrix(tfidf.fit_transform(texts)), has, words.vocabulary_, group)


class _Pool:
    """choosing.Pool over arrays. Ids are row numbers of the replay."""

    def __init__(self, replay: Replay, features: Features, rng: np.random.Generator) -> None:
        self._replay, self._features, self._rng = replay, features, rng
        self._is_free = replay.free.copy()
        self._labelled = np.flatnonzero(replay.known)
        free = np.flatnonzero(replay.free)
        self._assumed = rng.choice(free, min(replay.assumed, len(free)), replace=False)
        self._background = rng.permutation(free)
        self._learned: dict[int, Floats | None] = {}

    def reveal(self, ids: Sequence[int]) -> None:
        self._is_free[list(ids)] = False
        self._labelled = np.concatenate([self._labelled, np.asarray(ids, np.int64)])
        self._learned.clear()

    def _output(self, number: int) -> Floats | None:
        """Probabilities of one output for all texts, by a regression on what is labelled and what is assumed at this
        moment; trained when it is asked for. None where that is of one class."""
        if number not in self._learned:
            assumed = self._assumed[self._is_free[self._assumed]]
            rows = np.concatenate([self._labelled, assumed])
            truth = self._replay.truth[rows, number]
            truth[len(self._labelled) :] = 0
            weights = (~np.isnan(truth)).astype(np.float32)
            table = self._features.tfidf
            model = regression(table[rows], np.nan_to_num(truth), weights, 0)
            self._learned[number] = None if model is None else expit(model.decision_function(table))
        return self._learned[number]

    def _risk(self) -> Floats:
        risk = self._output(0)
        return np.zeros(len(self._is_free)) if risk is None else risk

    def draw(self, limit: int) -> tuple[list[int], float | None]:
        free = np.flatnonzero(self._is_free)
        drawn = self._rng.choice(free, min(limit, len(free)), replace=False)
        return [int(n) for n in drawn], len(drawn) / len(free) if len(free) else None

    def riskiest(self, limit: int) -> list[int]:
        return self._first(-self._risk(), self._is_free, limit)

    def nearest(self, limit: int) -> list[int]:
        risk = self._risk()
        is_above = risk >= THRESHOLD
        above = self._first(risk, self._is_free & is_above, limit // 2)
        return above + self._first(-risk, self._is_free & ~is_above, limit // 2)

    def given(self, tag: int, limit: int) -> list[int]:
        probability = self._output(1 + tag)
        if probability is None:
            return []
        return self._first(-probability, self._is_free & (probability >= THRESHOLD), limit)

    def voted(self, tag: int, limit: int) -> list[int]:
        return []  # a replayed set has no rules

    def having(self, word: str, limit: int) -> list[int]:
        column = self._features.column_of.get(word)
        if column is None:
            return []
        table = self._features.words
        rows = table.indices[table.indptr[column] : table.indptr[column + 1]]
        return [int(n) for n in rows[self._is_free[rows]][:limit]]

    def probabilities(self, ids: Sequence[int]) -> tuple[Floats, Sequence[float | None]]:
        outputs = [self._output(n) for n in range(self._replay.truth.shape[1])]
        limits = [None if output is None else THRESHOLD for output in outputs]
        rows = np.asarray(ids, np.int64)
        columns = [np.zeros(len(rows)) if output is None else output[rows] for output in outputs]
        return np.stack(columns, axis=1), limits

    def texts(self, ids: Sequence[int]) -> list[str]:
        return [self._replay.texts[n] for n in ids]

    def one_of_each(self, ids: Sequence[int]) -> list[int]:
        firsts: dict[int, int] = {}
        for n in ids:
            firsts.setdefault(int(self._features.groups[n]), n)
        return list(firsts.values())

    def background(self, limit: int) -> list[str]:
        return self.texts([int(n) for n in self._background[:limit]])

    def examples(self, tag: int, limit: int) -> list[str]:
        has = self._replay.truth[self._labelled, 1 + tag] > 0
        return self.texts([int(n) for n in self._labelled[has][:limit]]) or [self._replay.tags[tag]]

    def counterexamples(self, tag: int, limit: int) -> list[str]:
        lacks = self._replay.truth[self._labelled, 1 + tag] == 0
        return self.texts([int(n) for n in self._labelled[lacks][-limit:]])

    @staticmethod
    def _first(keys: Floats, mask: NDArray[np.bool_], limit: int) -> list[int]:
        """The rows of the mask with the smallest keys, in order."""
        rows = np.flatnonzero(mask)
        if limit < len(rows):
            rows = rows[np.argpartition(keys[rows], limit)[:limit]]
        return [int(n) for n in rows[np.argsort(keys[rows], kind="stable")][:limit]]
