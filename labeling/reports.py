"""Reading a version's report: what the model pages show of it, in words and cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from labeling.corpus_share import assumption
from labeling.models import ModelVersion, Source
from labeling.versions import DA_HEAD, SAMPLES, TAGS_HEAD

Json = dict[str, Any]

SHADES = 10  # CSS classes heat-0 … heat-9
CURVE_RECALLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)  # rows of the table beside the curve

SAMPLE_TITLES = {
    "test": "All held out",
    "people": "Judged by people",
    "no_rule": "No rule matches",
    "masked": "Rule terms masked",
}
SAMPLE_WORDS = {
    "test": "Every tweet of the test split. No version trains on it; near copies of it are kept out of training.",
    "people": "Of the test split, the tweets whose verdict a person gave. The figures to believe first, once there "
    "are enough of them.",
    "no_rule": "Beyond the keywords: of the test split, the tweets that no rule matches. A model that only "
    "relearns the rules finds nothing here.",
    "masked": "Beyond the keywords: the whole test split again, with every rule term blanked out of the text "
    "before the model reads it.",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a confusion matrix: how many, of how many in its row, and where the tweets are."""

    count: int
    share: float | None  # of its row; None in an empty row
    is_error: bool
    place: tuple[str, str | int, int | str, int | str]  # sample, head, truth, predicted
    words: str  # what the count means, for a reader who does not see the table

    @property
    def query(self) -> str:
        """The address of its tweets. Numbers and names of ours: there is nothing to quote."""
        sample, head, truth, predicted = self.place
        return f"sample={sample}&head={head}&truth={truth}&predicted={predicted}"

    @property
    def heat(self) -> int:
        return min(SHADES - 1, int((self.share or 0.0) * SHADES))


@dataclass(frozen=True)
class Row:
    """One line of the table of figures: network beside baseline."""

    name: str
    network: Json | None
    baseline: Json | None
    matrix: list[list[Cell]] | None = None
    note: str = ""  # why figures are missing

    @property
    def loses(self) -> bool:
        a, b = (model.get("f1") if model else None for model in (self.network, self.baseline))
        return a is not None and b is not None and bool(a < b)


def sample_names(report: Json) -> list[Json]:
    """The samples of a report, for the selector."""
    found = report.get("samples", {})
    return [
        {"key": key, "title": SAMPLE_TITLES[key], "n": found[key]["n"]} for key in SAMPLES if key in found
    ]


def verdict_matrix(binary: Json, sample: str) -> list[list[Cell]]:
    return _matrix(binary, sample, DA_HEAD, yes=settings.VERDICT_DA, no=settings.VERDICT_NDA)


@dataclass(frozen=True)
class HoldOut:
    """What the report says of DA on held-out tweets, to be seen beside an estimate for the corpus."""

    title: str
    figures: Json
    matrix: list[list[Cell]]


def hold_out(version: ModelVersion) -> list[HoldOut]:
    """Of all held-out tweets, and of those that people judged; the samples without a verdict are left out."""
    found = []
    for sample in ("test", "people"):
        figures = version.report.get("samples", {}).get(sample, {}).get("network", {}).get("verdict")
        if figures and figures["n"]:
            found.append(HoldOut(SAMPLE_TITLES[sample], figures, verdict_matrix(figures, sample)))
    return found


def _matrix(binary: Json, sample: str, head: str | int, *, yes: str, no: str) -> list[list[Cell]]:
    """Rows: truly positive, truly negative. Columns: predicted positive, predicted negative."""
    cells = []
    for truth, counts in ((1, (binary["tp"], binary["fn"])), (0, (binary["fp"], binary["tn"]))):
        total = sum(counts)
        cells.append(
            [
                Cell(
                    count=count,
                    share=count / total if total else None,
                    is_error=truth != predicted,
                    place=(sample, head, truth, predicted),
                    words=f"truly {yes if truth else no}, predicted {yes if predicted else no}",
                )
                for predicted, count in zip((1, 0), counts, strict=True)
            ]
        )
    return cells


def tag_rows(version: ModelVersion, sample: str) -> list[Row]:
    """Per tag, with its matrix, then micro and macro means."""
    figures = version.report["samples"][sample]
    network, baseline = figures["network"], figures["baseline"]
    rows = []
    for tag_id, name in zip(version.tag_ids, version.report["tags"], strict=True):
        own = network["tags"][name]
        matrix = _matrix(own, sample, tag_id, yes=name, no=f"not {name}")
        rows.append(Row(name, own, baseline["tags"].get(name), matrix, missing_reason(own)))
    return rows


def mean_rows(version: ModelVersion, sample: str) -> list[Row]:
    figures = version.report["samples"][sample]
    network, baseline = figures["network"], figures["baseline"]
    return [
        Row("All decisions together (micro)", network["micro"], baseline["micro"]),
        Row("Mean of the tags (macro)", network["macro"], baseline["macro"]),
    ]


@dataclass(frozen=True)
class ThresholdRow:
    """What a threshold reached on the validation tweets."""

    name: str
    threshold: float | None
    figures: Json | None  # figure, value, low, high, positives; None: no threshold


def threshold_rows(version: ModelVersion) -> list[ThresholdRow]:
    """DA, then the tags. Empty for versions from before intervals were kept."""
    reached = version.report.get("threshold_figures", {})
    given = {"DA": version.threshold, **version.tag_thresholds}
    return [
        ThresholdRow(settings.VERDICT_DA if name == "DA" else name, given.get(name), figures)
        for name, figures in reached.items()
    ]


def goal_words(version: ModelVersion) -> str:
    """What the tags' thresholds were chosen for."""
    goal = version.report.get("goal", {"name": "f1"})
    if goal["name"] == "precision":
        return f"a precision of {_percent(goal['precision'])}"
    return {"f1": "the best F1 of each", "overall": "the best F1 of all together (mean of micro and macro)"}[
        goal["name"]
    ]


def missing_reason(binary: Json | None) -> str:
    """Why a figure of this output is undefined; empty when all are there."""
    if binary is None or not binary["n"]:
        return "nobody judged a tweet of this sample for it"
    if not binary["positives"]:
        return "no tweet of this sample has it"
    if binary["threshold"] is None:
        return "no threshold: too few examples to choose one, or the wanted precision is out of reach; nothing is predicted"
    if binary["precision"] is None:
        return "never predicted in this sample"
    return ""


@dataclass(frozen=True)
class TagMatrix:
    names: list[str]  # columns; the last one is "none"
    rows: list[tuple[str, list[Cell]]]


def tag_matrix(version: ModelVersion, sample: str) -> TagMatrix | None:
    """Has the row's tag × is predicted the column's tag. A tweet with several tags counts in several cells."""
    counts = version.report["samples"][sample]["network"]["tag_against_tag"]
    names = [*version.report["tags"], "none"]
    keys: list[int | str] = [*version.tag_ids, "none"]
    if len(names) == 1:
        return None
    rows = []
    for i, line in enumerate(counts):
        most = max(line)
        cells = [
            Cell(
                count=count,
                share=count / most
                if most
                else None,  # of the strongest cell: rows overlap, so no share adds up
                is_error=i != j,
                place=(sample, TAGS_HEAD, keys[i], keys[j]),
                words=f"{names[i]}, predicted {names[j]}",
            )
            for j, count in enumerate(line)
        ]
        rows.append((names[i], cells))
    return TagMatrix(names, rows)


def heads(version: ModelVersion) -> list[tuple[str, str]]:
    """(key, name) of every output, for the choice of curves."""
    tags = zip(version.tag_ids, version.report["tags"], strict=True)
    return [(DA_HEAD, settings.VERDICT_DA), *((str(tag_id), name) for tag_id, name in tags)]


def head_figures(version: ModelVersion, sample: str, head: str) -> dict[str, Json | None]:
    """Figures of one output in one sample: network and baseline."""
    figures = version.report["samples"][sample]
    if head == DA_HEAD:
        return {name: figures[name]["verdict"] for name in ("network", "baseline")}
    tag = version.report["tags"][version.tag_ids.index(int(head))]
    return {name: figures[name]["tags"].get(tag) for name in ("network", "baseline")}


def chart_data(models: dict[str, Json | None]) -> Json:
    """What static/labeling/version.js draws."""
    network = models["network"]
    threshold = network and {"recall": network["recall"], "precision": network["precision"]}
    return {
        "curves": {
            name: {"recall": model["curve"]["recall"], "precision": model["curve"]["precision"]}
            for name, model in models.items()
            if model and model["curve"]["recall"]
        },
        "at_threshold": threshold if threshold and threshold["precision"] is not None else None,
        "prevalence": network["positives"] / network["n"] if network and network["n"] else None,
        "bins": [b for b in network["reliability"]["bins"] if b["n"]] if network else [],
    }


def curve_table(models: dict[str, Json | None]) -> list[tuple[float, list[float | None]]]:
    """[(recall, [best precision of the network at that recall or above, of the baseline])]"""

    def precision_at(model: Json | None, recall: float) -> float | None:
        if not model:
            return None
        points = zip(model["curve"]["recall"], model["curve"]["precision"], strict=True)
        return max((p for r, p in points if r >= recall - 1e-9), default=None)

    return [(r, [precision_at(models[name], r) for name in ("network", "baseline")]) for r in CURVE_RECALLS]


# Sentences -----------------------------------------------------------------------------------------------


def headline(version: ModelVersion) -> str:
    """What the model does, on which sample, in one or two sentences."""
    verdict = _verdict(version, "test")
    da, nda = settings.VERDICT_DA, settings.VERDICT_NDA
    if verdict is None:
        return f"No held-out tweet has a verdict, so nothing can be said about {da} and {nda}."
    if verdict["recall"] is None or verdict["precision"] is None:
        return (
            f"On {verdict['n']:,} held-out tweets, {verdict['positives']:,} of them {da}: "
            f"{missing_reason(verdict) or 'nothing was predicted'}."
        )
    sentence = (
        f"Of the {verdict['positives']:,} {da} tweets among {verdict['n']:,} held out it finds "
        f"{_percent(verdict['recall'])}; of those that it flags, {_percent(verdict['precision'])} count as {da}."
    )
    beyond = _verdict(version, "no_rule")
    if beyond and beyond["positives"] and beyond["recall"] is not None:
        sentence += f" Where no rule matches, it finds {_percent(beyond['recall'])} of {beyond['positives']:,} {da} tweets."
    judged = belief(version)
    if judged.n:
        sentence += (
            f" People judged {judged.people:,} of the held-out tweets; the others are assumed or imported."
        )
    return sentence


def losses(version: ModelVersion) -> list[str]:
    """Plain sentences where the network does worse than the baseline, on the test sample."""
    report, sentences = version.report, []
    network, baseline = (version.figures["test"][name] for name in ("network", "baseline"))
    if report.get("verdict_loses"):
        a, b = (_figure(model["verdict"], "average_precision") for model in (network, baseline))
        sentences.append(
            f"For {settings.VERDICT_DA}, this network does not beat the plain baseline (TF-IDF and logistic "
            f"regression): average precision {a} against {b}."
        )
    if report.get("macro_loses"):
        a, b = (_figure(model["macro"], "f1") for model in (network, baseline))
        sentences.append(
            f"For the tags, this network does not beat the plain baseline: macro F1 {a} against {b}."
        )
    words = report.get("faithfulness")
    if words and words["low"] <= 0:
        sentences.append(
            "The words that it marks behind a score are not shown to drive it: deleting them lowers the score no more "
            "than deleting random words."
        )
    return sentences


def faithfulness(version: ModelVersion) -> str:
    """Whether the marked words drive the score, in one sentence with its sample; empty for older versions."""
    found = version.report.get("faithfulness")
    if not found:
        return ""
    return (
        f"Deleting the {found['words']} most strongly marked words of a tweet lowers its log-odds of "
        f"{settings.VERDICT_DA} by {found['marked']:.2f} on average, deleting {found['words']} random words by "
        f"{found['random']:.2f} (95 % interval of the difference {found['low']:.2f} to {found['high']:.2f}), on "
        f"{found['n']:,} test tweets that this version flags."
    )


def expected_in_corpus(version: ModelVersion) -> str:
    """How many DA tweets it expects among the general ones, corrected and not, and where the share comes from.

    Empty for a model without a verdict, and for one trained before this was written down.
    """
    prior = version.report.get("prior", {})
    if prior.get("uncorrected") is None:
        return ""
    da, scored = settings.VERDICT_DA, version.score_summary.get("sources", {}).get(str(int(Source.GENERAL)))
    count, among = (scored[0], "general tweets scored") if scored else (1_000_000, "general tweets")
    corrected, uncorrected = (round(count * prior[name]) for name in ("corpus", "uncorrected"))
    return (
        f"Among {count:,} {among} it expects about {corrected:,} {da} tweets ({_percent(prior['corpus'])}); without the "
        f"correction for how rare {da} is in the corpus, its probabilities would add up to {uncorrected:,}. "
        + _origin_of_prior(prior)
    )


def _origin_of_prior(prior: Json) -> str:
    if prior["source"] == "stated":
        return "The share was stated in the configuration."
    interval = ""
    if prior["low"] is not None:
        interval = f", 95 % interval {_percent(prior['low'])} to {_percent(prior['high'])}"
    if prior["source"] == "audited":
        return f"The share comes from the audits that there were when it was trained{interval}."
    if prior["source"] == "flagged":
        return _origin_in_flagged(prior, interval)
    return (
        f"The share was estimated without labels on {prior['sample']:,} random general tweets{interval}. That takes the "
        "general tweets for a mixture of tweets like those of the training, so it is a rough guess, often too low; an "
        "audit measures it."
    )


def _origin_in_flagged(prior: Json, interval: str) -> str:
    da, held_out = settings.VERDICT_DA, prior["held_out"]
    assumed = "" if held_out["is_judged"] else f", some of which are only assumed to be {da}"
    return (
        f"The share comes from {prior['judged']:,} judged tweets among those that version {prior['by_version']} flagged "
        f"({_percent(prior['precision'])} of the list are {da}), and from the {held_out['tweets']:,} held-out {da} tweets "
        f"of which it flagged {_percent(held_out['flagged'] / held_out['tweets'])}{assumed}{interval}. {assumption()}"
    )


def cascade_loss(version: ModelVersion) -> list[str]:
    """What the cascade lost against *accurate* on every tweet, each sentence with its sample. Empty for others."""
    loss = version.report.get("cascade")
    if not loss:
        return []
    sentences = [_lost_on_sample(loss["sample"]) if loss["sample"] else TOO_FEW_FOR_LOSS]
    if test := loss["test"]:
        sentences.append(
            f"On the {test['n']:,} held-out tweets with a verdict its average precision is {test['cascade']:.3f}; with "
            f"Accurate on all of them it would be {test['accurate']:.3f} (95 % interval of the difference "
            f"{test['low']:+.3f} to {test['high']:+.3f}, by resampling the tweets)."
        )
    return sentences


TOO_FEW_FOR_LOSS = (
    "There are too few general tweets outside the training to say on a random sample what the cascade loses."
)


def _lost_on_sample(sample: Json) -> str:
    """The sample has only tweets that nothing was trained on."""
    lost = sample["listed"] - sample["kept"]
    missed = f"{lost:,} did not reach it" if lost else "none failed to reach it"
    return (
        f"In a random sample of {sample['sample']:,} general tweets, Accurate read {sample['read_again']:,}, "
        f"{_percent(sample['read_again'] / sample['sample'])}. Of the {sample['listed']:,} that it would have put first "
        f"had it read them all, {missed}: the cascade keeps {_percent(sample['share'])} of that list "
        f"(95 % interval {_percent(sample['low'])} to {_percent(sample['high'])})."
    )


@dataclass(frozen=True)
class Belief:
    """How far the figures can be believed: who judged the held-out tweets."""

    n: int
    people: int
    imported: int
    assumed: int
    drawn: int
    prevalence: float | None  # share of DA in the hold-out
    corpus: float | None  # share of DA that the calibration assumes in the corpus


def belief(version: ModelVersion) -> Belief:
    counts: dict[str, int] = {}
    da = known = 0
    for verdict, by_origin in version.snapshot.get("splits", {}).get("test", {}).items():
        if verdict not in ("DA", "NDA"):
            continue
        for origin, n in by_origin.items():
            counts[origin] = counts.get(origin, 0) + n
            known += n
            da += n if verdict == "DA" else 0
    return Belief(
        n=known,
        people=counts.get("people", 0),
        imported=counts.get("import", 0),
        assumed=counts.get("assumed", 0),
        drawn=counts.get("drawn", 0),
        prevalence=da / known if known else None,
        corpus=version.report.get("prior", {}).get("corpus"),
    )


def snapshot_table(version: ModelVersion) -> list[tuple[str, list[tuple[str, str, list[int]]]]]:
    """[(verdict, [(origin, explanation, [train, validation, test])])]"""
    splits = version.snapshot.get("splits", {})
    table = []
    for verdict, title in (
        ("DA", settings.VERDICT_DA),
        ("NDA", settings.VERDICT_NDA),
        ("unsure", "unsure"),
        ("UNSURE", "unsure"),
        ("none", "tags only"),
    ):
        rows = []
        for origin, words in ORIGIN_WORDS.items():
            numbers = [
                splits.get(s, {}).get(verdict, {}).get(origin, 0) for s in ("train", "validation", "test")
            ]
            if any(numbers):
                rows.append((origin, words, numbers))
        if rows:
            table.append((title, rows))
    return table


ORIGIN_WORDS = {
    "people": "judged by a person",
    "import": "came with the import",
    "rule": "from the rules alone",
    "assumed": "specific tweet, assumed, judged by nobody",
    "drawn": "general tweet, drawn at random, judged by nobody",
}


def _verdict(version: ModelVersion, sample: str) -> Json | None:
    found = version.figures.get(sample)
    if not found or not found["network"]["verdict"]:
        return None
    verdict: Json = version.report["samples"][sample]["network"]["verdict"]
    return verdict


def _figure(figures: Json | None, name: str) -> str:
    value = figures.get(name) if figures else None
    return "–" if value is None else f"{value:.3f}"


def _percent(share: float) -> str:
    """With a space that does not break."""
    digits = 0 if 0.01 <= share <= 0.99 or share in (0, 1) else 1
    if 0 < share < 0.001:
        digits = 3
    return f"{share * 100:.{digits}f}\N{NO-BREAK SPACE}%"
