"""Model pages: versions, retraining, one version's report, the tweets behind its cells."""

from __future__ import annotations

import base64
import json
from typing import Any, cast

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import access, flips, reports, scoring, tasks, training, versions
from labeling.jobs import AlreadyRunning
from labeling.models import Example, Job, Label, ModelVersion, Tag
from labeling.views.jobs import STOP_POLLING

PAGE = 25
VERSIONS_SHOWN = 100
LOST_SHOWN = 10  # tweets, before an activation


def _version(number: int) -> ModelVersion:
    found = ModelVersion.objects.defer(None).select_related("job", "created_by")
    return get_object_or_404(found, number=number)


def ready_version(number: int) -> ModelVersion:
    """A trained version, with its report."""
    found = ModelVersion.objects.ready().defer(None).select_related("created_by")
    return get_object_or_404(found, number=number)


# The list ------------------------------------------------------------------------------------------------


@access.analyst
@require_GET
def version_list(request: HttpRequest) -> HttpResponse:
    found = ModelVersion.objects.select_related("job", "created_by")
    return render(
        request,
        "labeling/version_list.html",
        {
            "versions": found.defer("report", "snapshot", "config", "score_summary")[:VERSIONS_SHOWN],
            "running": _running(),
            "may_train": access.has_role(request.user, "reviewer"),
        },
    )


def _running() -> ModelVersion | None:
    """The version that is being trained now."""
    found = ModelVersion.objects.filter(job__state__in=Job.ACTIVE, state=ModelVersion.State.TRAINING)
    return found.select_related("job").first()


# Retraining ----------------------------------------------------------------------------------------------


class RetrainForm(forms.Form):
    architecture = forms.ChoiceField(
        choices=ModelVersion.Architecture.choices, initial="fast", widget=forms.RadioSelect
    )
    negatives = forms.IntegerField(
        min_value=0,
        max_value=2_000_000,
        initial=150_000,
        help_text="General tweets drawn at random among those that nobody judged, to stand for everything else.",
    )
    seed = forms.IntegerField(
        min_value=0,
        max_value=2_147_483_647,
        initial=1,
        help_text="The same labels, settings and seed give the same figures.",
    )
    goal = forms.ChoiceField(
        choices=[
            ("f1", "Best F1 of each tag"),
            ("overall", "Best F1 of all tags together"),
            ("precision", "A wanted precision"),
        ],
        initial="f1",
        required=False,
        label="A tag’s threshold",
        help_text="From which probability on a tweet gets a tag. F1 weighs tags found and tags given rightly alike; taken "
        "together, rare tags raise fewer false alarms. The verdict’s threshold is always that of its best F1.",
    )
    precision = forms.FloatField(
        min_value=0.05,
        max_value=0.99,
        initial=0.8,
        required=False,
        label="Wanted precision",
        help_text="With the last choice: 0.8 lets 2 of 10 tags given be wrong. A tag that cannot reach it is not given.",
    )
    note = forms.CharField(
        max_length=200, required=False, help_text="What is new about this version? Shown in the list."
    )
    activate = forms.BooleanField(
        required=False, label="When trained, score all tweets and make it the active version"
    )


@access.reviewer
@require_http_methods(["GET", "POST"])
def retrain(request: HttpRequest) -> HttpResponseBase:
    form = RetrainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            wanted = {name: value for name, value in form.cleaned_data.items() if value not in ("", None)}
            version = training.start_training(user=_user(request), **wanted)
        except AlreadyRunning:
            messages.warning(request, "A training is already running: wait for it, or cancel it first.")
            running = _running()
            return (
                redirect("labeling:version-detail", running.number)
                if running
                else redirect("labeling:retrain")
            )
        tasks.run_job.delay_on_commit(version.job_id)  # type: ignore[attr-defined]
        return redirect("labeling:version-detail", version.number)
    labelled = Label.objects.filter(verdict_origin__gte=3)[:1001].count()  # by people; capped
    context = {"form": form, "running": _running(), "labelled": labelled}
    return render(request, "labeling/retrain.html", context, status=400 if form.errors else 200)


def _user(request: HttpRequest) -> Any:
    return request.user


# One version ---------------------------------------------------------------------------------------------


class ChoiceForm(forms.Form):
    """What a version's page shows: checked against the version's own samples and outputs."""

    def __init__(self, data: Any, version: ModelVersion) -> None:
        super().__init__(data)
        samples = [(s["key"], s["title"]) for s in reports.sample_names(version.report)]
        self.fields["sample"] = forms.ChoiceField(choices=samples, required=False)
        self.fields["curves"] = forms.ChoiceField(choices=reports.heads(version), required=False)


@access.analyst
@require_GET
def version_detail(request: HttpRequest, number: int) -> HttpResponse:
    version = _version(number)
    if request.htmx and "poll" in request.GET:  # type: ignore[attr-defined]
        return _training_fragment(request, version)
    if version.current_state != ModelVersion.State.READY:
        return render(request, "labeling/version_training.html", _progress(request, version))
    if "samples" not in version.report:
        return render(request, "labeling/version_training.html", _progress(request, version))
    form = ChoiceForm(request.GET, version)
    if not form.is_valid():
        raise BadRequest("This version has no such sample or output.")
    sample = form.cleaned_data["sample"] or "test"
    head = form.cleaned_data["curves"] or versions.DA_HEAD
    context = _detail(version, sample, head) | {"may_train": access.has_role(request.user, "reviewer")}
    return render(request, "labeling/version_detail.html", context)


def _training_fragment(request: HttpRequest, version: ModelVersion) -> HttpResponse:
    job = version.job
    answer = render(request, "labeling/_training.html", _progress(request, version))
    if job is None or not job.is_active:
        answer.status_code = STOP_POLLING
        answer["HX-Refresh"] = "true"
    return answer


def _progress(request: HttpRequest, version: ModelVersion) -> dict[str, Any]:
    curve = version.job.detail.get("curve", []) if version.job else []
    return {
        "version": version,
        "job": version.job,
        "curve": json.dumps(curve),
        "last": next((point for point in reversed(curve) if point[1] is not None), None),
        "last_validation": next((point[2] for point in reversed(curve) if point[2] is not None), None),
        "may_train": access.has_role(request.user, "reviewer"),
    }


def _detail(version: ModelVersion, sample: str, head: str) -> dict[str, Any]:
    report = version.report
    figures = report["samples"][sample]
    verdict = figures["network"]["verdict"]
    models = reports.head_figures(version, sample, head)
    flagged, drawn = versions.count_flagged_negatives(version)
    return {
        "version": version,
        "report": report,
        "headline": reports.headline(version),
        "losses": reports.losses(version),
        "belief": reports.belief(version),
        "cascade_loss": reports.cascade_loss(version),
        "faithfulness": reports.faithfulness(version),
        "expected_in_corpus": reports.expected_in_corpus(version),
        "samples": reports.sample_names(report),
        "sample": sample,
        "sample_title": reports.SAMPLE_TITLES[sample],
        "sample_words": reports.SAMPLE_WORDS[sample],
        "figures": figures,
        "verdict": verdict,
        "verdict_row": reports.Row(settings.VERDICT_DA, verdict, figures["baseline"]["verdict"]),
        "prevalence": verdict["positives"] / verdict["n"] if verdict else None,
        "verdict_reason": reports.missing_reason(verdict),
        "verdict_matrix": reports.verdict_matrix(verdict, sample) if verdict else None,
        "tag_rows": reports.tag_rows(version, sample),
        "mean_rows": reports.mean_rows(version, sample),
        "tag_matrix": reports.tag_matrix(version, sample),
        "heads": reports.heads(version),
        "head": head,
        "head_name": dict(reports.heads(version))[head],
        "models": models,
        "chart_data": reports.chart_data(models),
        "curve_table": reports.curve_table(models),
        "snapshot": reports.snapshot_table(version),
        "threshold_rows": reports.threshold_rows(version),
        "goal_words": reports.goal_words(version),
        "flagged_drawn": flagged,
        "drawn": drawn,
        "scored_general": version.score_summary.get("sources", {}).get("2"),
        "scoring_job": scoring.unfinished_job(version),
        "previous": ModelVersion.objects.ready().filter(number__lt=version.number).first(),
        "activation": versions.last_activation(version) if version.is_active else None,
    }


@access.reviewer
@require_POST
def version_activate(request: HttpRequest, number: int) -> HttpResponse:
    """Asks first where tweets would be lost that people have judged."""
    version = _version(number)
    losses = flips.losses(version) if request.POST.get("sure") != "yes" else []
    if losses:
        return render(request, "labeling/version_activate.html", _losses(version, losses))
    try:
        versions.activate(version, user=_user(request))
        messages.success(request, f"{version} is active: pages now show its scores.")
    except versions.NotReady as error:
        messages.error(request, str(error))
    return redirect("labeling:version-detail", number)


def _losses(version: ModelVersion, losses: list[flips.Judged]) -> dict[str, Any]:
    """And the newest lost tweets of the first output that has any: DA before the tags."""
    active = ModelVersion.objects.get(is_active=True)
    flip = flips.Flip(active, version, losses[0].tag.pk if losses[0].tag else None)
    return {
        "before": active,
        "after": version,
        "judged": losses,
        "flip": flip,
        "rows": flips.judged_page(flip, size=LOST_SHOWN).rows,
        "tags": Tag.objects.in_bulk(),
    }


@access.reviewer
@require_POST
def version_score(request: HttpRequest, number: int) -> HttpResponse:
    version = ready_version(number)
    try:
        run = scoring.start_run(version, user=_user(request), activates="activate" in request.POST)
        tasks.enqueue_scoring(run)
        messages.info(request, f"Scoring with {version} has started.")
    except AlreadyRunning as error:
        messages.warning(request, str(error))
    return redirect("labeling:version-detail", number)


# Tweets of a cell ----------------------------------------------------------------------------------------


class CellForm(forms.Form):
    """A matrix cell, checked against the version."""

    sample = forms.ChoiceField(choices=[(name, name) for name in versions.SAMPLES])
    head = forms.CharField()
    truth = forms.CharField()
    predicted = forms.CharField()
    after = forms.CharField(required=False)

    def __init__(self, data: Any, version: ModelVersion) -> None:
        super().__init__(data)
        self.version = version

    def clean_after(self) -> tuple[float, int] | None:
        """Where the page before ended: (probability, tweet), or None for the first page."""
        token = self.cleaned_data["after"]
        if not token:
            return None
        try:
            probability, tweet_id = json.loads(base64.urlsafe_b64decode(token))
            return float(probability), int(tweet_id)
        except (ValueError, TypeError) as error:
            raise forms.ValidationError("not a place in this list") from error

    def clean(self) -> dict[str, Any]:
        """Adds `cell`."""
        data = super().clean() or {}
        head = data.get("head")
        keys = {str(tag_id): tag_id for tag_id in self.version.tag_ids}
        sides: dict[str, int | None]
        if head == versions.TAGS_HEAD:
            sides = {**keys, "none": None}
        elif head == versions.DA_HEAD or head in keys:
            sides = {"1": 1, "0": 0}
        else:
            raise forms.ValidationError("no such output")
        if data.get("truth") not in sides or data.get("predicted") not in sides or "sample" not in data:
            raise forms.ValidationError("no such cell")
        return data | {
            "cell": versions.Cell(
                sample=data["sample"],
                head=keys.get(str(head), str(head)),
                truth=sides[data["truth"]],
                predicted=sides[data["predicted"]],
            )
        }


@access.analyst
@require_GET
def version_tweets(request: HttpRequest, number: int) -> HttpResponse:
    version = ready_version(number)
    form = CellForm(request.GET, version)
    if not form.is_valid():
        raise BadRequest("This version has no such cell.")
    cell: versions.Cell = form.cleaned_data["cell"]
    rows = versions.cell_tweets(version, cell)
    if form.cleaned_data["after"] is not None:
        probability, tweet_id = form.cleaned_data["after"]
        rows = rows.filter(Q(probability__lt=probability) | Q(probability=probability, tweet_id__lt=tweet_id))
    page = list(rows.select_related("tweet", "tweet__label")[: PAGE + 1])
    tags = Tag.objects.in_bulk()
    context = {
        "version": version,
        "cell": cell,
        "cell_words": _cell_words(version, cell),
        "sample_title": reports.SAMPLE_TITLES[cell.sample],
        "sample_words": reports.SAMPLE_WORDS[cell.sample],
        "count": _cell_count(version, cell),
        "rows": [_tweet_row(version, cell, example, tags) for example in page[:PAGE]],
        "is_first": form.cleaned_data["after"] is None,
        "next": _token(page[PAGE - 1]) if len(page) > PAGE else None,
        "query": _cell_query(request),
    }
    return render(request, "labeling/version_tweets.html", context)


def _token(example: Any) -> str:
    place = json.dumps([example.probability, example.tweet_id])
    return base64.urlsafe_b64encode(place.encode()).decode()


def _cell_query(request: HttpRequest) -> str:
    query = request.GET.copy()
    query.pop("after", None)
    return query.urlencode()


def _cell_count(version: ModelVersion, cell: versions.Cell) -> int:
    """As the report has it."""
    network = version.report["samples"][cell.sample]["network"]
    if cell.head == versions.TAGS_HEAD:
        row, column = (
            len(version.tag_ids) if side is None else version.tag_ids.index(side)
            for side in (cell.truth, cell.predicted)
        )
        return cast(int, network["tag_against_tag"][row][column])
    if cell.head == versions.DA_HEAD:
        binary = network["verdict"] or {}
    else:
        binary = network["tags"][version.report["tags"][version.tag_ids.index(int(cell.head))]]
    name = {(1, 1): "tp", (0, 1): "fp", (1, 0): "fn", (0, 0): "tn"}[bool(cell.truth), bool(cell.predicted)]
    return cast(int, binary.get(name, 0))


def _cell_words(version: ModelVersion, cell: versions.Cell) -> str:
    names = dict(zip(version.tag_ids, version.report["tags"], strict=True))
    if cell.head == versions.TAGS_HEAD:
        truth, predicted = (
            f"“{names[side]}”" if side is not None else "no tag" for side in (cell.truth, cell.predicted)
        )
        return f"Have {truth}, predicted {predicted}"
    if cell.head == versions.DA_HEAD:
        sides = (settings.VERDICT_NDA, settings.VERDICT_DA)
    else:
        name = names[int(cell.head)]
        sides = (f"not “{name}”", f"“{name}”")
    return f"Truly {sides[bool(cell.truth)]}, predicted {sides[bool(cell.predicted)]}"


def _tweet_row(
    version: ModelVersion, cell: versions.Cell, example: Example, tags: dict[int, Tag]
) -> dict[str, Any]:
    """A held-out tweet with what the model said, and what has become of its label since."""
    p = (example.masked_probabilities if cell.sample == "masked" else example.probabilities) or []
    predicted = [
        {"tag": tags.get(tag_id), "probability": probability}
        for tag_id, probability in zip(version.tag_ids, p[1:], strict=False)
        if (threshold := versions.threshold_of(version, tag_id)) is not None and probability >= threshold
    ]
    label = getattr(example.tweet, "label", None)
    return {
        "example": example,
        "tweet": example.tweet,
        "p_da": p[0] if p else None,
        "probability": example.probability,  # type: ignore[attr-defined]  # an annotation
        "predicted": [entry for entry in predicted if entry["tag"]],
        "tags": [tags[tag_id] for tag_id in example.tag_ids or () if tag_id in tags],
        "label": label,
        "has_changed": _has_changed(example, label),
    }


def _has_changed(example: Example, label: Label | None) -> bool:
    """The label is another one than the version was measured by."""
    if label is None:
        return False
    verdict_changed = label.verdict is not None and label.verdict != example.verdict
    tags_changed = label.tag_ids is not None and set(label.tag_ids) != set(example.tag_ids or ())
    return verdict_changed or tags_changed
