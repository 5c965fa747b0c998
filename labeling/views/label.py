"""The label page: one tweet after the other out of a queue, by keyboard, by touch or by plain forms."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import BadRequest
from django.db.models import F, Max, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from labeling import access, queues
from labeling.marking import Piece, marked
from labeling.models import Queue, QueueItem, Tag
from labeling.queues import ClaimLost, NothingToUndo
from labeling.suggestions import Suggestion, suggestion_for
from labeling.views.judgement import JudgementForm, chosen_in, tag_choices, verdict_choices

SALT = "labeling.label.shown"
LOST, INVALID = 409, 422  # label.js swaps these answers in as well
ERASED = "That tweet is gone: it was erased meanwhile, so nothing was saved. Here is the next one."
# What keys do; label.js has the keys themselves.
ACTIONS = [
    ("da", settings.VERDICT_DA),
    ("nda", settings.VERDICT_NDA),
    ("unsure", "Unsure"),
    ("submit", "Submit"),
    ("skip", "Skip"),
    ("undo", "Undo the last"),
    ("filter", "Filter the tags"),
    ("guideline", "Guideline of the tag last touched"),
    ("note", "Write a note"),
    ("help", "These keys"),
]


@dataclass(frozen=True)
class Shown:
    """What was on the screen, signed: so that a browser cannot claim another suggestion or another time."""

    item_id: int
    version_id: int | None  # whose suggestion was shown; None: blind
    shown_at: datetime
    until: datetime  # when the claim runs out

    def signed(self, user: User) -> str:
        value = [user.pk, self.item_id, self.version_id, self.shown_at.timestamp(), self.until.timestamp()]
        return signing.dumps(value, salt=SALT)

    @classmethod
    def read(cls, request: HttpRequest) -> Shown:
        """From the posted form; BadRequest when it is not ours or another user's."""
        try:
            user_id, item_id, version_id, shown_at, until = signing.loads(
                request.POST.get("shown", ""), salt=SALT
            )
        except (signing.BadSignature, ValueError) as error:
            raise BadRequest("The form is damaged. Load the page again.") from error
        if user_id != request.user.pk:
            raise BadRequest("Another user is logged in now. Load the page again.")
        return cls(item_id, version_id, _time(shown_at), _time(until))

    @property
    def seconds(self) -> float | None:
        """From shown to now; None when it lay about for longer than a claim lasts."""
        spent = timezone.now() - self.shown_at
        return spent.total_seconds() if spent <= queues.claim_time() else None


def _time(stamp: float) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


# Pages ----------------------------------------------------------------------------------------------------


@access.analyst
@require_GET
def label(request: HttpRequest, queue_id: int) -> HttpResponse:
    return _next(request, _queue(queue_id), Tag.objects.in_bulk())


@access.analyst
@require_GET
def label_next(request: HttpRequest) -> HttpResponseBase:
    """The queue with a tweet in hand; else the one last worked in that has tweets for this user; else the newest that has;
    else the list."""
    mine = Q(items__claimed_by=request.user.pk)
    open_queues = Queue.objects.filter(is_open=True)
    holding = open_queues.filter(mine, items__state="claimed").order_by("-id").first()
    used = open_queues.annotate(used=Max("items__finished_at", filter=mine))
    recent_first = used.order_by(F("used").desc(nulls_last=True), "-id")
    with_tweets = (queue for queue in recent_first if queues.has_next(queue, _user(request)))
    queue = holding or next(with_tweets, None)
    if queue is None:
        may_make = access.has_role(request.user, "reviewer")
        go_on = "Make a new queue to go on." if may_make else "Ask a reviewer for a new queue."
        messages.info(request, f"No tweet waits for you in an open queue. {go_on}")
        return redirect("labeling:queue-list")
    return redirect("labeling:label", queue_id=queue.pk)


@access.analyst
@require_POST
def label_submit(request: HttpRequest, queue_id: int) -> HttpResponseBase:
    """Judge or skip what was shown, then the next tweet. A lost claim keeps the choice on the screen."""
    queue, user = _queue(queue_id), _user(request)
    shown, tags = Shown.read(request), Tag.objects.in_bulk()
    form = JudgementForm(request.POST, tags=tags.values())
    skips = request.POST.get("action") == "skip"
    if not skips and not form.is_valid():
        return _same(request, queue, tags, shown, form, problem=form.problem, status=INVALID)
    try:
        if skips:
            queues.skip(shown.item_id, user)
        else:
            queues.submit(
                shown.item_id,
                user,
                verdict=form.cleaned_data["verdict"],
                tag_ids=form.cleaned_data["tags"],
                note=form.cleaned_data["note"],
                suggested_by=shown.version_id,
                seconds=shown.seconds,
            )
    except ClaimLost as problem:
        if not QueueItem.objects.filter(pk=shown.item_id, queue=queue).exists():
            return _next(request, queue, tags, problem=ERASED, status=LOST)
        return _same(request, queue, tags, shown, form, problem=str(problem), status=LOST)
    if not _is_htmx(request):
        return redirect("labeling:label", queue_id=queue.pk)
    return _next(request, queue, tags, said="Skipped." if skips else "Saved.")


@access.analyst
@require_POST
def label_undo(request: HttpRequest, queue_id: int) -> HttpResponseBase:
    """Bring back the last tweet that was submitted or skipped, with what was chosen."""
    queue = _queue(queue_id)
    try:
        queues.undo(queue, _user(request))
    except NothingToUndo as problem:
        if _is_htmx(request):  # leave what is on the screen alone
            notice = json.dumps({"label:notice": {"text": str(problem)}})
            return HttpResponse(status=204, headers={"HX-Trigger": notice})
        messages.info(request, str(problem))
        return redirect("labeling:label", queue_id=queue_id)
    if not _is_htmx(request):
        return redirect("labeling:label", queue_id=queue_id)
    return _next(request, queue, Tag.objects.in_bulk(), said="Taken back: judge it again.")


@access.analyst
@require_POST
def label_release(request: HttpRequest, queue_id: int) -> HttpResponseBase:
    """The page was closed (a beacon), or its reader pauses (a form)."""
    shown = Shown.read(request)
    queues.release(shown.item_id, _user(request), shown_until=shown.until + timedelta(milliseconds=1))
    if "pause" in request.POST:
        messages.info(request, "The tweet went back to the queue.")
        return redirect("labeling:queue-list")
    return HttpResponse(status=204)


@access.analyst
@require_POST
def label_renew(request: HttpRequest, queue_id: int) -> HttpResponseBase:
    """The tweet is still on the screen: prolong the claim."""
    shown = Shown.read(request)
    until = queues.renew(shown.item_id, _user(request))
    if until is None:
        return JsonResponse({"problem": "The claim ran out."}, status=LOST)
    renewed = Shown(shown.item_id, shown.version_id, shown.shown_at, until)
    return JsonResponse({"shown": renewed.signed(_user(request))})


# Rendering ------------------------------------------------------------------------------------------------


def _next(
    request: HttpRequest,
    queue: Queue,
    tags: dict[int, Tag],
    *,
    said: str = "",
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """The user's next tweet of the queue, or the words for an empty one."""
    user = _user(request)
    item = queues.claim_next(queue, user)
    context: dict[str, Any] = {"said": said, "problem": problem}
    if item is not None:
        suggestion = suggestion_for(item.tweet_id, queue.version, tags) if queue.shows_suggestion else None
        earlier = queues.earlier_choice(item, user)
        verdict, chosen = chosen_in(None, earlier)
        until = item.claimed_until or timezone.now()
        version_id = suggestion.version.pk if suggestion else None
        shown = Shown(item.pk, version_id, timezone.now(), until)
        context |= _task(item, tags, suggestion, verdict, chosen)
        context |= {"shown": shown.signed(user), "note": earlier.note if earlier else ""}
    return _render(request, queue, context, status=status)


def _same(
    request: HttpRequest,
    queue: Queue,
    tags: dict[int, Tag],
    shown: Shown,
    form: JudgementForm,
    *,
    problem: str,
    status: int,
) -> HttpResponse:
    """The tweet that was on the screen, with all that was chosen, and what is wrong."""
    item = get_object_or_404(QueueItem.objects.select_related("tweet"), pk=shown.item_id, queue=queue)
    version = queue.version if shown.version_id else None
    suggestion = suggestion_for(item.tweet_id, version, tags)
    context = _task(item, tags, suggestion, *chosen_in(form, None)) | {
        "shown": request.POST.get("shown", ""),
        "note": request.POST.get("note", ""),
        "problem": problem,
        "is_lost": status == LOST,
    }
    return _render(request, queue, context, status=status)


def _task(
    item: QueueItem,
    tags: dict[int, Tag],
    suggestion: Suggestion | None,
    verdict: int | None,
    chosen: set[int],
) -> dict[str, Any]:
    offered = sorted((t for t in tags.values() if not t.is_archived), key=lambda t: (t.position, t.pk))
    return {
        "item": item,
        "pieces": marked(item.tweet.text, tags),
        "verdicts": verdict_choices(verdict),
        "tag_choices": tag_choices(offered, chosen, suggestion=suggestion),
        "suggestion": suggestion,
    }


def _render(
    request: HttpRequest, queue: Queue, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    context |= {"queue": queue, "progress": queues.progress(queue, _user(request))}
    is_sample = queue.strategy in (Queue.Strategy.AUDIT, Queue.Strategy.REMAINDER)
    if is_sample and "item" in context:  # judged blind: without the rules' marks too
        context["pieces"] = [Piece(context["item"].tweet.text)]
    # A tweet's page shows what colleagues and the model say.
    context["links_to_page"] = not is_sample and queue.annotators_per_tweet == 1
    if _is_htmx(request):
        return render(request, "labeling/_label_task.html", context, status=status)
    context |= {"actions": ACTIONS, "guidelines": Tag.objects.in_use().exclude(guideline="")}
    return render(request, "labeling/label.html", context, status=status)


def _queue(queue_id: int) -> Queue:
    return get_object_or_404(Queue.objects.with_version(), pk=queue_id)


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _is_htmx(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]
