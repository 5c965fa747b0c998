"""What the home page says: what there is, what is running, what waits, what the active model claims, what next.

A fixed number of queries, each by index or capped, whatever the size of the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.utils import timezone

from labeling.models import Job, ModelVersion, Origin, Queue, QueueItem, Source

EXACT_UP_TO = 10_000  # larger tables are estimated
ENOUGH_LABELS = 100  # judged by people, before "label" stops being the advice
RETRAIN_AFTER = 100  # judgements since the active version was trained

# The last one goes from user to user: those of rules, which may be a million and are nobody's, it does not pass.
COUNTS = """
SELECT
  (SELECT count(*) FROM (SELECT FROM labeling_tweet LIMIT %(cap)s + 1) t),
  (SELECT reltuples::bigint FROM pg_class WHERE oid = 'labeling_tweet'::regclass),
  (SELECT EXISTS (SELECT FROM labeling_import WHERE source = %(specific)s AND imported > 0)),
  (SELECT EXISTS (SELECT FROM labeling_import WHERE source = %(general)s AND imported > 0)),
  (SELECT count(*) FROM labeling_tag WHERE NOT is_archived),
  (SELECT count(*) FROM labeling_rule r JOIN labeling_tag t ON t.id = r.tag_id
   WHERE r.is_active AND NOT t.is_archived),
  (SELECT count(*) FROM (SELECT FROM labeling_label
   WHERE verdict IN (0, 1, 2) AND verdict_origin IN (%(analyst)s, %(review)s) LIMIT %(cap)s + 1) l),
  (SELECT count(*) FROM (SELECT FROM labeling_reviewitem WHERE state = 'open' LIMIT 1001) i),
  (SELECT count(*) FROM labeling_annotation WHERE annotator_id = %(user)s AND created_at >= %(today)s
   AND origin >= %(analyst)s AND retracts_id IS NULL),
  (SELECT count(*) FROM (SELECT FROM auth_user u, LATERAL (SELECT FROM labeling_annotation a
   WHERE a.annotator_id = u.id AND a.created_at > %(trained)s AND a.origin >= %(analyst)s
   AND a.retracts_id IS NULL LIMIT 1001) own LIMIT 1001) a)
"""


@dataclass(frozen=True)
class Tally:
    """A number, and how it was found."""

    n: int
    kind: str = "exact"  # exact, estimate, or "or more": the counting stopped there

    @property
    def note(self) -> str:
        return {"exact": "counted", "estimate": "about, by an estimate", "or more": "counting stops here"}[
            self.kind
        ]


@dataclass(frozen=True)
class Claim:
    """What the active version achieves on one sample of tweets that it was not trained on."""

    name: str
    description: str
    n: int
    network: dict[str, Any]
    baseline: dict[str, Any] | None


@dataclass(frozen=True)
class Step:
    """One step of the loop."""

    key: str
    title: str
    words: str
    url_name: str
    action: str
    is_done: bool = False
    is_next: bool = False


@dataclass
class Overview:
    tweets: Tally
    tags: int
    rules: int
    judged: Tally  # tweets with a person's verdict
    open_reviews: Tally
    mine_today: int
    since_training: Tally
    active: ModelVersion | None
    latest: ModelVersion | None
    has_specific: bool
    has_general: bool
    jobs: list[Job] = field(default_factory=list)
    my_item: QueueItem | None = None
    queues: list[Queue] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return self.tweets.n == 0

    @property
    def next_step(self) -> Step | None:
        return next((step for step in self.steps if step.is_next), None)


def overview(user: User) -> Overview:
    """Everything that the home page of this user shows. Six queries."""
    active, latest = _versions()
    counts = _counts(user, active)
    now = timezone.now()
    found = Overview(**counts, active=active, latest=latest)
    recent = Q(state=Job.State.FAILED, finished_at__gt=now - timedelta(days=1))
    found.jobs = list(Job.objects.filter(recent | Q(state__in=Job.ACTIVE))[:5])
    soon = now + timedelta(
        minutes=1
    )  # the grace of a page that was closed is shorter: its tweet is not open any more
    mine = QueueItem.objects.filter(
        claimed_by=user, state=QueueItem.State.CLAIMED, claimed_until__gt=soon, queue__is_open=True
    )
    found.my_item = mine.select_related("queue").order_by("-claimed_until").first()
    found.queues = _waiting_queues()
    found.claims = _claims(active)
    found.steps = steps(found)
    return found


def _waiting_queues() -> list[Queue]:
    """The newest open queues with tweets that wait, each with their number; only these are counted."""
    waiting = QueueItem.objects.filter(queue=OuterRef("pk"), state=QueueItem.State.WAITING)
    count = waiting.order_by().values("queue").annotate(n=Count("pk")).values("n")
    queues = Queue.objects.filter(Exists(waiting), is_open=True).order_by("-id")
    return list(queues.annotate(waiting=Subquery(count))[:4])


def _versions() -> tuple[ModelVersion | None, ModelVersion | None]:
    """The active version, and the newest that finished its training. One query, without whole reports."""
    wanted = ModelVersion.objects.filter(state=ModelVersion.State.READY).order_by("-is_active", "-number")
    versions = list(wanted.defer("report", "config")[:2])
    active = versions[0] if versions and versions[0].is_active else None
    return active, max(versions, key=lambda version: version.number, default=None)


def _counts(user: User, active: ModelVersion | None) -> dict[str, Any]:
    parameters: dict[str, int | datetime] = {
        "cap": EXACT_UP_TO,
        "specific": Source.SPECIFIC.value,
        "general": Source.GENERAL.value,
        "analyst": Origin.ANALYST.value,
        "review": Origin.REVIEW.value,
        "user": user.pk,
        "today": timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0),
        "trained": (active and active.trained_at) or timezone.now(),
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNTS, parameters)
        (tweets, estimate, specific, general, tags, rules, judged, reviews, mine, since) = cursor.fetchone()
    if tweets > EXACT_UP_TO:  # not analysed yet: an estimate below the cap would be absurd
        size = Tally(estimate, "estimate") if estimate > EXACT_UP_TO else Tally(EXACT_UP_TO, "or more")
    else:
        size = Tally(tweets)
    return {
        "tweets": size,
        "tags": tags,
        "rules": rules,
        "judged": _capped(judged, EXACT_UP_TO),
        "open_reviews": _capped(reviews, 1000),
        "mine_today": mine,
        "since_training": _capped(since, 1000),
        "has_specific": specific,
        "has_general": general,
    }


def _capped(n: int, cap: int) -> Tally:
    return Tally(cap, "or more") if n > cap else Tally(n)


# In the order in which they deserve belief.
SAMPLES = (
    ("people", "Judged by people"),
    ("no_rule", "Beyond the keywords"),
    ("test", "All held-out tweets"),
)
DESCRIPTIONS = {  # of versions whose key figures do not say it
    "people": "held-out tweets that a person has judged",
    "no_rule": "held-out tweets that no rule matches",
    "test": "all held-out tweets, those included whose verdict is only assumed from their source",
}


def _claims(active: ModelVersion | None) -> list[Claim]:
    if active is None:
        return []
    claims = []
    for name, title in SAMPLES:
        sample = active.figures.get(name)
        network = sample and sample["network"].get("verdict")
        if not sample or not network:
            continue
        described = sample.get("description", DESCRIPTIONS[name])
        claims.append(Claim(title, described, sample["n"], network, sample["baseline"].get("verdict")))
    return claims


def steps(state: Overview) -> list[Step]:
    """The loop, what of it is done, and the one thing to do next."""
    training = any(job.kind == Job.Kind.TRAIN and job.is_active for job in state.jobs)
    scored = state.active is not None
    unscored = (
        state.latest
        if state.latest
        and not state.latest.is_active
        and (state.active is None or state.latest.number > state.active.number)
        else None
    )
    fresh = state.since_training
    listed = [
        Step(
            "import",
            "Import tweets",
            "Bring in the specific tweets that you have collected, then the general ones to search through.",
            "labeling:import-new",
            "Import a file",
            is_done=not state.is_empty and state.has_specific and state.has_general,
        ),
        Step(
            "rules",
            "Tags and rules",
            "Name what you look for. Rules give every tweet provisional tags, so that training has a start.",
            "labeling:tag-list",
            "Tags & rules",
            is_done=state.tags > 0 and state.rules > 0,
        ),
        Step(
            "train",
            "Train a model",
            "It is training now: watch it below."
            if training
            else "One button. It learns from the labels of this moment and is judged on tweets it never saw.",
            "labeling:version-list" if training else "labeling:retrain",
            "Models" if training else "Train",
            is_done=state.latest is not None,
        ),
        Step(
            "score",
            "Score every tweet",
            f"Version {unscored.number} is trained. Score all tweets with it and make it the active one."
            if unscored
            else "The model gives every tweet its probabilities, all made visible at once.",
            "labeling:version-list",
            "Models",
            is_done=scored and unscored is None,
        ),
        Step(
            "label",
            "Label",
            f"People have judged {state.judged.n:,} tweets. Each one makes the next model, and what is "
            "claimed of it, more trustworthy.",
            "labeling:label-next" if state.queues else "labeling:queue-new",
            "Label" if state.queues else "Make a queue",
            is_done=state.judged.n >= ENOUGH_LABELS,
        ),
        Step(
            "review",
            "Review",
            f"{state.open_reviews.n:,} tweets wait for a reviewer: analysts disagree, were unsure, or "
            "contradict the model."
            if state.open_reviews.n
            else "Where analysts disagree or were unsure, a reviewer decides.",
            "admin:labeling_reviewitem_changelist",
            "Review queue",
            is_done=state.open_reviews.n == 0 and state.judged.n > 0,
        ),
        Step(
            "retrain",
            "Retrain",
            f"{fresh.n:,} judgements are newer than the active model. Let it learn from them."
            if fresh.n
            else "When people have judged more, train again: that closes the loop.",
            "labeling:retrain",
            "Retrain",
            is_done=scored and fresh.n < RETRAIN_AFTER,
        ),
    ]
    following = next((step.key for step in listed if not step.is_done), "label")
    return [Step(**{**vars(step), "is_next": step.key == following}) for step in listed]
