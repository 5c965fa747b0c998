"""What to label next: strategies that choose from a pool of texts which nobody has judged, behind one registry.

A pool only answers questions of a bounded size, so that a strategy costs the same among 20 million texts as among
20,000: labeling.pool asks the database, ml.simulation a table in memory. Numpy alone: web processes choose too.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

CANDIDATES = 8  # texts that are weighed for each one taken
COPIES = 10  # times as many are read where the first are near copies of each other: judge one, not all
ANCHORS = 200  # examples of a rare tag that are learned from; more than that, and it is not rare
COUNTEREXAMPLES = 2_000  # judged texts without the tag
BACKGROUND = 4_000  # random texts: what words are worth nothing
QUERIES = (
    200  # telling words that are searched for at most: fewer fill the sub-pool where there are many texts
)
TOO_COMMON = 0.005  # share of the background that has a word: more tell little, and find very many
PER_QUERY = 250  # texts taken of one word
SUBPOOL = 6_000  # texts that are ranked for a rare tag, whatever the size of the pool


class Pool(Protocol):
    """Texts that may be chosen, by their ids, and what is known of them. No method reads more than its limit.

    `tag` is the number by which the pool knows a tag. All lists are without texts that were judged.
    """

    def draw(self, limit: int) -> tuple[list[int], float | None]:
        """Uniformly at random, without replacement; and the probability of each text to be among them."""

    def riskiest(self, limit: int) -> list[int]:
        """By P(DA), the highest first."""

    def nearest(self, limit: int) -> list[int]:
        """The `limit` / 2 on either side of the threshold of P(DA)."""

    def given(self, tag: int, limit: int) -> list[int]:
        """At or above the tag's threshold, the most probable first. None for a tag that has no threshold."""

    def voted(self, tag: int, limit: int) -> list[int]:
        """Those to which a rule gives the tag."""

    def having(self, word: str, limit: int) -> list[int]:
        """Any that have the word, but for those that are examples."""

    def probabilities(self, ids: Sequence[int]) -> tuple[Floats, Sequence[float | None]]:
        """[n, 1 + tags], DA first, between 0 and 1; and the threshold of each output, None where there is none."""

    def texts(self, ids: Sequence[int]) -> list[str]: ...

    def one_of_each(self, ids: Sequence[int]) -> list[int]:
        """In their order, without those of whose group of near copies one came before."""

    def background(self, limit: int) -> list[str]:
        """Random texts of the whole, judged or not."""

    def examples(self, tag: int, limit: int) -> list[str]:
        """Texts that have the tag by label; if there are none, what else says what it is about."""

    def counterexamples(self, tag: int, limit: int) -> list[str]:
        """Texts that were judged for their tags, and do not have this one."""


@dataclass(frozen=True)
class Chosen:
    id: int
    why: str  # for people, short
    probability: float | None = None  # of being drawn; None: chosen, not drawn


Strategy = Callable[[Pool, int, int | None], list[Chosen]]  # of a pool, how many, for which tag


# Random, and by risk --------------------------------------------------------------------------------------


def choose_random(pool: Pool, size: int, tag: int | None = None) -> list[Chosen]:
    """Every text has the same chance."""
    ids, probability = pool.draw(size)
    return [Chosen(text_id, "random", probability) for text_id in ids]


def choose_risk(pool: Pool, size: int, tag: int | None = None) -> list[Chosen]:
    """The highest risk that nobody has judged, one of each group of near copies."""
    for limit in (size, COPIES * size):  # the second time where many were copies of each other
        ids = pool.riskiest(limit)
        if len(kept := pool.one_of_each(ids)) >= size or len(ids) < limit:
            break
    return [Chosen(text_id, "highest risk") for text_id in kept[:size]]


def choose_uncertain(pool: Pool, size: int, tag: int | None = None) -> list[Chosen]:
    """Risk nearest the threshold, weighed with the tags that are nearest theirs.

    1. The texts next to the threshold on both sides, CANDIDATES times as many as asked for.
    2. Each gets 1 at the threshold falling to 0 at probabilities 0 and 1; plus half of the same for its
       most uncertain tag. The greatest sums are taken (margin sampling: Settles 2009, section 3.1).
    """
    ids = pool.nearest(CANDIDATES * size)
    if not ids:
        return []
    probabilities, limits = pool.probabilities(ids)
    order = np.argsort(-_uncertainty(probabilities, limits), kind="stable")
    threshold = limits[0] if limits[0] is not None else 0.5
    is_above = dict(zip(ids, probabilities[:, 0] >= threshold, strict=True))
    kept = pool.one_of_each([ids[n] for n in order])[:size]
    return [
        Chosen(text_id, "uncertain, above the threshold" if is_above[text_id] else "uncertain, below it")
        for text_id in kept
    ]


def _uncertainty(probabilities: Floats, limits: Sequence[float | None]) -> Floats:
    """Between 0 and 1.5 for each row."""
    total = _margin(probabilities[:, 0], limits[0] if limits[0] is not None else 0.5)
    tags = [_margin(probabilities[:, k], limit) for k, limit in enumerate(limits) if k and limit is not None]
    return total + 0.5 * np.max(tags, axis=0) if tags else total


def _margin(probability: Floats, threshold: float) -> Floats:
    """1 at the threshold, 0 at certainty."""
    below = probability / max(threshold, 1e-9)
    above = (1 - probability) / max(1 - threshold, 1e-9)
    return np.asarray(np.clip(np.where(probability < threshold, below, above), 0, 1))


# Unlike each other ----------------------------------------------------------------------------------------


def choose_diverse(pool: Pool, size: int, tag: int | None = None) -> list[Chosen]:
    """Risky or uncertain texts that are about different things.

    1. The riskiest and the most uncertain, CANDIDATES times as many as asked for, one of each group of near copies.
    2. One after the other, the text that adds most to Σ over words of √(what the chosen ones have of it), each text
       counting by its risk or its uncertainty: a word's tenth text adds little (feature-based submodular functions,
       Wei, Iyer and Bilmes 2015).
    """
    half = CANDIDATES * size // 2
    ids = pool.one_of_each(list(dict.fromkeys([*pool.riskiest(half), *pool.nearest(half)])))
    if not ids:
        return []
    probabilities, limits = pool.probabilities(ids)
    weights = np.maximum(probabilities[:, 0], _uncertainty(probabilities, limits) / 1.5)
    order = _cover([words_of(text) for text in pool.texts(ids)], weights, size)
    return [Chosen(ids[n], "unlike the others") for n in order]


def _cover(texts: Sequence[set[str]], weights: Floats, size: int) -> list[int]:
    """Lazy greedy (Minoux 1978): a gain only ever falls, so the first whose gain is up to date is the greatest."""
    frequency = Counter(word for words in texts for word in words)
    rarity = {word: np.log(1 + len(texts) / count) for word, count in frequency.items()}
    covered: defaultdict[str, float] = defaultdict(float)
    shares = [
        {word: weight * rarity[word] / np.sqrt(len(words)) for word in sorted(words)}
        for words, weight in zip(texts, weights.tolist(), strict=True)
    ]

    def gain(n: int) -> float:
        return float(
            sum((covered[word] + share) ** 0.5 - covered[word] ** 0.5 for word, share in shares[n].items())
        )

    queue = [(-gain(n), n, 0) for n in range(len(texts))]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < size:
        _, n, when = heapq.heappop(queue)
        if when == len(chosen):
            chosen.append(n)
            for word, share in shares[n].items():
                covered[word] += share
        else:
            heapq.heappush(queue, (-gain(n), n, len(chosen)))
    return chosen


# A rare tag -----------------------------------------------------------------------------------------------


def choose_rare_tag(pool: Pool, size: int, tag: int | None = None) -> list[Chosen]:
    """Texts that may deserve a tag with few examples, out of a bounded sub-pool around these.

    1. The anchors: texts that have the tag. A logistic regression on words tells them from judged texts without
       the tag and from random ones.
    2. The sub-pool: what has one of the most telling words, by the search index; what the model or a rule gives
       the tag. It has at most SUBPOOL texts, however many there are in all.
    3. The sub-pool's first by the regression; what the model holds of the tag counts too where it has learned it.

    As AnchorAL (Lesci and Vlachos 2024, arXiv:2404.05623) and SEALS (Coleman et al. 2022): neighbours of the
    labelled examples are the only candidates, and both the cost and the share of the rare class are in hand.
    """
    assert tag is not None
    anchors = pool.examples(tag, ANCHORS)
    words = WordWeights.fit(
        anchors, [*pool.counterexamples(tag, COUNTEREXAMPLES), *(background := pool.background(BACKGROUND))]
    )
    given, voted = pool.given(tag, SUBPOOL // 4), pool.voted(tag, SUBPOOL // 4)
    ids = list(dict.fromkeys([*given, *voted, *_neighbours(pool, words.telling(background))]))[:SUBPOOL]
    if not ids:
        return []
    scores = words.scores(pool.texts(ids))
    places = {text_id: 1 - n / len(given) for n, text_id in enumerate(given)}
    scores += np.array([places.get(text_id, 0.0) for text_id in ids]) * MODEL_SAYS
    by_model, by_rule = set(given), set(voted)
    kept = pool.one_of_each([ids[n] for n in np.argsort(-scores, kind="stable")])[:size]
    return [
        Chosen(i, "by the model" if i in by_model else "by a rule" if i in by_rule else "by its words")
        for i in kept
    ]


MODEL_SAYS = 3.0  # log odds that the model's first gets for the tag, falling to 0 at its last


def _neighbours(pool: Pool, words: Iterable[str]) -> list[int]:
    found: dict[int, None] = {}
    for word in words:
        found.update(dict.fromkeys(pool.having(word, PER_QUERY)))
        if len(found) >= SUBPOOL:
            break
    return list(found)


_WORD = re.compile(r"#?\w[\w'’]*")
_LINK = re.compile(r"(?:https?://|www\.)\S+|@\w+")


def words_of(text: str) -> set[str]:
    """Lower-case words, each once; neither links nor handles."""
    return set(_WORD.findall(_LINK.sub(" ", text.lower())))


@dataclass(frozen=True)
class WordWeights:
    """A logistic regression on the words of a text, each counting by its rarity; rows of length 1."""

    columns: dict[str, int]
    rarity: Floats
    weights: Floats
    bias: float

    @classmethod
    def fit(cls, positive: Sequence[str], negative: Sequence[str]) -> WordWeights:
        """Both classes count alike in sum, however few the examples are."""
        rows = [words_of(text) for text in [*positive, *negative]]
        frequency = Counter(word for words in rows for word in words)
        kept = sorted(set().union(*rows[: len(positive)]) | {w for w, n in frequency.items() if n > 1})
        columns = {word: n for n, word in enumerate(kept)}
        rarity = np.array([1 + np.log((1 + len(rows)) / (1 + frequency[word])) for word in kept])
        truth = np.arange(len(rows)) < len(positive)
        share = max(truth.mean(), 1e-9) if rows else 0.5
        importance = np.where(truth, 0.5 / share, 0.5 / max(1 - share, 1e-9))
        table = _table(rows, columns, rarity)
        weights, bias = _regress(table, truth, importance, width=len(columns))
        return cls(columns, rarity, weights, bias)

    def telling(self, background: Sequence[str]) -> list[str]:
        """The words that speak most for the class and are not in too many texts, the heaviest first."""
        common = Counter(word for text in background for word in words_of(text))
        heavy = self.weights * self.rarity
        order = np.argsort(-heavy, kind="stable")
        names = list(self.columns)
        most = 3 + TOO_COMMON * len(background)
        good = [names[n] for n in order if heavy[n] > 0 and common[names[n]] <= most]
        return good[:QUERIES]

    def scores(self, texts: Sequence[str]) -> Floats:
        """Log odds, float64 [n]."""
        row, column, value = _table([words_of(text) for text in texts], self.columns, self.rarity)
        return np.asarray(_sums(row, value * self.weights[column], len(texts)) + self.bias)


Table = tuple[NDArray[np.int64], NDArray[np.int64], Floats]  # rows, columns, values of what is not 0


def _table(texts: Sequence[set[str]], columns: dict[str, int], rarity: Floats) -> Table:
    found = [(row, columns[word]) for row, words in enumerate(texts) for word in words if word in columns]
    row, column = np.array(sorted(found), np.int64).reshape(-1, 2).T
    value = rarity[column]
    length = np.sqrt(_sums(row, value**2, len(texts)))
    return row, column, value / length[row]


def _sums(groups: NDArray[np.int64], values: Floats, count: int) -> Floats:
    return np.asarray(np.bincount(groups, values, minlength=count), np.float64)


PENALTY = 1 / 3  # 1 / C of the library's baseline
STEPS = 150


def _regress(
    table: Table, truth: NDArray[np.bool_], importance: Floats, *, width: int
) -> tuple[Floats, float]:
    """Minimises Σ importance · log loss + PENALTY / 2 · |weights|², by Nesterov's accelerated gradient.

    scikit-learn would do the same, at 1.2 s and 130 MB for each web process that imports it.
    """
    row, column, value = table
    target = truth.astype(np.float64)

    def multiply(weights: Floats) -> Floats:
        return np.asarray(_sums(row, value * weights[column], len(truth)) + weights[-1])

    def gather(per_row: Floats) -> Floats:
        result = _sums(column, value * per_row[row], width + 1)
        result[-1] = per_row.sum()
        return result

    direction: Floats = np.ones(width + 1)
    for _ in range(10):  # the greatest eigenvalue, which bounds the curvature
        direction = gather(importance * multiply(direction / np.linalg.norm(direction)))
    step = 1 / (0.3 * np.linalg.norm(direction) + PENALTY)
    weights: Floats = np.zeros(width + 1)
    before = weights
    for n in range(STEPS):
        ahead = weights + n / (n + 3) * (weights - before)
        gradient = gather(importance * (1 / (1 + np.exp(-multiply(ahead))) - target))
        gradient[:-1] += PENALTY * ahead[:-1]
        before, weights = weights, ahead - step * gradient
    return weights[:-1], float(weights[-1])


STRATEGIES: dict[str, Strategy] = {
    "uncertain": choose_uncertain,
    "risk": choose_risk,
    "diverse": choose_diverse,
    "rare_tag": choose_rare_tag,
    "random": choose_random,
}
