"""Queues: the list with progress, a new one, closing and reopening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import access, queues, stopping, tasks, wrong_labels
from labeling.jobs import AlreadyRunning
from labeling.models import Queue, QueueItem, Source, Tag
from labeling.sampling import CannotDraw
from labeling.suggestions import published_version

CLOSED_SHOWN = 10
EXPLAINED = {
    Queue.Strategy.RISK: "What the model holds most likely to be DA and nobody has judged yet. Finds the most DA"
    " tweets for the time that it takes.",
    Queue.Strategy.UNCERTAIN: "Tweets on which the model is undecided, about DA or about a tag. Its next version learns"
    " most from these.",
    Queue.Strategy.DIVERSE: "Risky or undecided tweets that are about different things. Good for a first queue, or when"
    " the others bring much of the same.",
    Queue.Strategy.RARE_TAG: "Tweets that resemble the few examples of a tag, by their words. Finds more examples of a"
    " tag that the model cannot learn yet.",
    Queue.Strategy.RANDOM: "Every tweet has the same chance. To find what the model does not know that it misses. For"
    " estimates of the whole, an audit says more with as many labels: see Models, Estimates for the corpus.",
    Queue.Strategy.REMAINDER: "Have we found enough? A random sample of what nobody has judged, judged blind. Says which"
    " share of the DA tweets is found, with 95 % confidence. Make it when the riskiest tweets are judged.",
}
NEED_SCORES = {
    Queue.Strategy.RISK,
    Queue.Strategy.UNCERTAIN,
    Queue.Strategy.DIVERSE,
    Queue.Strategy.REMAINDER,
}
CHECK_SIZE = 500  # tweets that a check begins with


@dataclass(frozen=True)
class Row:
    queue: Queue
    by_state: dict[str, tuple[int, int]]  # items, and those in the hands of the reader

    def _items(self, *states: str) -> int:
        return sum(self.by_state.get(state, (0, 0))[0] for state in states)

    @property
    def seats(self) -> int:
        return self._items(*self.by_state)

    @property
    def finished(self) -> int:
        return self._items(*queues.FINISHED)

    @property
    def judged(self) -> int:
        return self._items(QueueItem.State.DONE)

    @property
    def skipped(self) -> int:
        return self._items(QueueItem.State.SKIPPED)

    @property
    def claimed(self) -> int:
        return self._items(QueueItem.State.CLAIMED)

    @property
    def waiting(self) -> int:
        return self._items(QueueItem.State.WAITING)

    @property
    def mine(self) -> int:
        """Finished by the reader."""
        return sum(self.by_state.get(state, (0, 0))[1] for state in queues.FINISHED)


@access.analyst
@require_GET
def queue_list(request: HttpRequest) -> HttpResponse:
    """Open queues, and the last closed ones. The counts are bounded: a queue holds a few thousand items."""
    all_queues = Queue.objects.with_version().select_related("tag", "created_by").order_by("-id")
    shown = [*all_queues.filter(is_open=True), *all_queues.filter(is_open=False)[:CLOSED_SHOWN]]
    counts = _counts(shown, request.user.pk or 0)
    context = {
        "rows": [Row(queue, counts[queue.pk]) for queue in shown],
        "may_manage": access.has_role(request.user, "reviewer"),
    }
    return render(request, "labeling/queue_list.html", context)


def _counts(shown: Sequence[Queue], user_id: int) -> dict[int, dict[str, tuple[int, int]]]:
    """Of each queue, by state. Read off the index item_counts in its order, and nothing else."""
    grouped = QueueItem.objects.filter(queue__in=shown).order_by().values_list("queue_id", "state")
    counts: dict[int, dict[str, tuple[int, int]]] = {queue.pk: {} for queue in shown}
    for queue_id, state, items, mine in grouped.annotate(
        Count("state"), mine=Count("state", filter=Q(claimed_by=user_id))
    ):
        counts[queue_id][state] = items, mine
    return counts


class QueueForm(forms.Form):
    name = forms.CharField(max_length=80)
    strategy = forms.ChoiceField(
        choices=[(value, Queue.Strategy(value).label) for value in EXPLAINED], initial=Queue.Strategy.RANDOM
    )
    size = forms.IntegerField(label="Tweets", min_value=1, max_value=queues.MAX_SIZE, initial=100)
    tag = forms.ModelChoiceField(
        queryset=Tag.objects.in_use(),
        required=False,
        empty_label="the one with the fewest examples",
        help_text="For “A tag too rare to learn”.",
    )
    source = forms.ChoiceField(
        choices=[("", "all tweets"), *[(source.label, f"{source.label} tweets") for source in Source]],
        required=False,
        initial=Source.GENERAL.label,
        help_text="For “Random” and “Check of a search”.",
    )
    annotators_per_tweet = forms.IntegerField(
        label="Analysts for each tweet",
        min_value=1,
        max_value=queues.MAX_ANNOTATORS,
        initial=1,
        help_text="Two show where people disagree. They are never the same person.",
    )
    shows_suggestion = forms.BooleanField(
        label="Show what the model suggests",
        required=False,
        help_text="Quicker, but people lean towards it. Off: judged blind, as a test sample should be.",
    )


@access.reviewer
@require_http_methods(["GET", "POST"])
def queue_new(request: HttpRequest) -> HttpResponseBase:
    day = timezone.localdate()
    asked = request.GET.get("strategy", "")
    strategy = Queue.Strategy(asked) if asked in EXPLAINED else Queue.Strategy.RANDOM
    initial: dict[str, Any] = {"name": f"{strategy.label}, {day.day} {day:%B}", "strategy": strategy}
    if strategy == Queue.Strategy.REMAINDER:
        initial["size"] = CHECK_SIZE
    form = QueueForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            queue = queues.create_queue(
                name=given["name"],
                strategy=given["strategy"],
                size=given["size"],
                user=request.user,  # type: ignore[arg-type]
                tag=given["tag"],
                source=next((s for s in Source if s.label == given["source"]), None),
                annotators_per_tweet=given["annotators_per_tweet"],
                shows_suggestion=given["shows_suggestion"],
            )
        except CannotDraw as problem:
            form.add_error(None, str(problem))
        else:
            tweets = queue.items.filter(seat=1).count()
            fewer = (
                "" if tweets == given["size"] else f" No more fit than these, of {given['size']:,} asked for."
            )
            messages.success(request, f"The queue “{queue.name}” holds {tweets:,} tweets.{fewer}")
            if queue.remainder is not None:
                return redirect("labeling:queue-check", queue.pk)
            return redirect("labeling:queue-list")
    context = {
        "form": form,
        "strategies": [
            (
                value,
                Queue.Strategy(value).label,
                words,
                form["strategy"].value() == value,
                value in NEED_SCORES,
            )
            for value, words in EXPLAINED.items()
        ],
        "version": published_version(),
    }
    return render(request, "labeling/queue_new.html", context, status=400 if form.errors else 200)


@access.reviewer
@require_POST
def wrong_labels_start(request: HttpRequest) -> HttpResponseBase:
    """The job whose finds go to review."""
    try:
        job = wrong_labels.request(user=request.user)  # type: ignore[arg-type]
        tasks.enqueue(job)
    except AlreadyRunning as running:
        messages.warning(request, str(running))
        if running.job is None:
            return redirect("labeling:queue-list")
        job = running.job
    return redirect("labeling:job-detail", job.pk)


@access.reviewer
@require_POST
def queue_open(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Close the queue, or open it again."""
    queue = get_object_or_404(Queue, pk=pk)
    is_open = request.POST.get("open") == "1"
    queues.set_open(queue, is_open=is_open)
    verb = "open again" if is_open else "closed. What was judged stays, and it can be opened again"
    messages.success(request, f"The queue “{queue.name}” is {verb}.")
    return redirect("labeling:queue-list")


@access.reviewer
@require_POST
def queue_skipped(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Offer again what was skipped."""
    queue = get_object_or_404(Queue, pk=pk)
    back = queues.offer_skipped(queue)
    if back:
        messages.success(request, f"{back:,} skipped in “{queue.name}” wait again, for everybody.")
    else:
        messages.info(request, f"Nothing is skipped in “{queue.name}”.")
    return redirect("labeling:queue-list")


# Have we found enough? ------------------------------------------------------------------------------------


@access.analyst
@require_GET
def queue_check_latest(request: HttpRequest) -> HttpResponseBase:
    """The newest check; without one, what a check is."""
    if (queue := stopping.latest_check()) is not None:
        return redirect("labeling:queue-check", queue.pk)
    context = {"may_manage": access.has_role(request.user, "reviewer"), "version": published_version()}
    return render(request, "labeling/queue_check_none.html", context)


@access.analyst
@require_GET
def queue_check(request: HttpRequest, pk: int) -> HttpResponse:
    """Which share of the DA tweets is found, and what would certify more."""
    queue = get_object_or_404(Queue, pk=pk, remainder__isnull=False)
    certificate = stopping.certificate_of(queue)
    source = certificate.remainder.source
    context = {
        "queue": queue,
        "certificate": certificate,
        "steps": stopping.steps_of(certificate),
        "tweets": "tweets" if source is None else f"{Source(source).label} tweets",
        "room": queues.MAX_SIZE - certificate.sample.drawn,
        "may_manage": access.has_role(request.user, "reviewer"),
    }
    return render(request, "labeling/queue_check.html", context)


class MoreForm(forms.Form):
    size = forms.IntegerField(min_value=1, max_value=queues.MAX_SIZE)


@access.reviewer
@require_POST
def queue_check_more(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Make the check's sample larger."""
    queue = get_object_or_404(Queue, pk=pk, remainder__isnull=False)
    form = MoreForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Say how many tweets to add, from 1 to {queues.MAX_SIZE:,}.")
        return redirect("labeling:queue-check", queue.pk)
    try:
        added = queues.enlarge_check(queue, form.cleaned_data["size"])
    except CannotDraw as problem:
        messages.error(request, str(problem))
    else:
        messages.success(request, f"{added:,} tweets more wait in the check.")
    return redirect("labeling:queue-check", queue.pk)
