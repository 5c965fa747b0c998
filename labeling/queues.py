"""Queues: making them, handing their tweets out one by one, and taking the judgements back in.

A claim is a row's state with a time at which it runs out. Whoever holds a claim may submit even after that
time, as long as nobody else has taken the tweet over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from labeling import annotation as annotating
from labeling.labels import hold_tweets
from labeling.models import Annotation, ModelVersion, Origin, Queue, QueueItem, Source, Tag
from labeling.sampling import STRATEGIES, CannotDraw, Drawn, Order, Remainder, remainder_of
from labeling.suggestions import published_version

MAX_SIZE = 5_000  # tweets; keeps every count over one queue cheap
MAX_ANNOTATORS = 5
UNDO_STEPS = 20
State = QueueItem.State
OPEN = (State.WAITING, State.CLAIMED)
FINISHED = (State.DONE, State.SKIPPED)


class ClaimLost(Exception):
    """The tweet is in other hands now. The message is for the user."""


class NothingToUndo(Exception):
    """The message is for the user."""


# Making a queue -------------------------------------------------------------------------------------------


def create_queue(
    *,
    name: str,
    strategy: str,
    size: int,
    user: User | None,
    tag: Tag | None = None,
    version: ModelVersion | None = None,
    shows_suggestion: bool = False,
    annotators_per_tweet: int = 1,
    source: Source | None = None,
    tweet_ids: Sequence[int] = (),
) -> Queue:
    """A queue of up to `size` tweets. Raises CannotDraw, with words for the user. Seconds at most.

    `version` is by default the active one. `source` narrows a random draw. `tweet_ids` is for SELECTED.
    """
    if not 1 <= size <= MAX_SIZE:
        raise CannotDraw(f"A queue holds from 1 to {MAX_SIZE:,} tweets. Make several for more.")
    if not 1 <= annotators_per_tweet <= MAX_ANNOTATORS:
        raise CannotDraw(f"From 1 to {MAX_ANNOTATORS} analysts can judge a tweet.")
    version = version or published_version()
    is_check = strategy == Queue.Strategy.REMAINDER
    order = Order(
        size=size, tag=tag, version=version, source=source, tweet_ids=tweet_ids,
        remainder=remainder_of(version, source) if is_check else None,
    )  # fmt: skip
    with transaction.atomic():
        try:
            with transaction.atomic():
                queue = Queue.objects.create(
                    name=name,
                    strategy=strategy,
                    tag=tag,
                    version=version,
                    shows_suggestion=shows_suggestion and not is_check,  # a hint would sway the figure
                    remainder=asdict(order.remainder) if order.remainder else None,
                    annotators_per_tweet=annotators_per_tweet,
                    created_by=user,
                )
        except IntegrityError as error:
            raise CannotDraw(f"There is a queue named “{name}” already. Choose another name.") from error
        drawn = STRATEGIES[strategy](order)
        if not drawn:
            raise CannotDraw(
                "No tweet fits: every one that this strategy finds has been judged by a person or waits in an"
                " open queue. Choose another strategy, or close a queue that nobody works on."
            )
        _add_items(queue, drawn, after=0)
        # What the planner does not know, it takes for empty, and then reads all of it for each tweet handed out.
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE (SKIP_LOCKED) labeling_queueitem")
    return queue


def _add_items(queue: Queue, drawn: Sequence[Drawn], *, after: int) -> None:
    """Behind the position `after`. Call it in a transaction."""
    there = hold_tweets(
        [one.tweet_id for one in drawn]
    )  # a draw takes seconds; a tweet may be erased in the meantime
    drawn = [one for one in drawn if one.tweet_id in there]
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                queue=queue,
                tweet_id=one.tweet_id,
                seat=seat,
                position=position,
                stratum=one.stratum,
                inclusion_probability=one.inclusion_probability,
            )
            for position, one in enumerate(drawn, after + 1)
            for seat in range(1, queue.annotators_per_tweet + 1)
        ],
        batch_size=2_000,
    )


def enlarge_check(queue: Queue, size: int) -> int:
    """Add up to `size` tweets to the random sample of a check, from what it was drawn from. How many were added."""
    with transaction.atomic():
        Queue.objects.select_for_update().get(pk=queue.pk)
        items = list(queue.items.filter(seat=1).order_by("position").values_list("position", "tweet_id"))
        room = MAX_SIZE - len(items)
        if room < 1 or queue.remainder is None:
            raise CannotDraw(f"This check holds {len(items):,} tweets, and a queue at most {MAX_SIZE:,}.")
        order = Order(
            size=min(size, room),
            tweet_ids=[tweet_id for _, tweet_id in items],
            remainder=Remainder(**queue.remainder),
        )
        drawn = STRATEGIES[Queue.Strategy.REMAINDER](order)
        _add_items(queue, drawn, after=items[-1][0] if items else 0)
    return len(drawn)


def set_open(queue: Queue, *, is_open: bool) -> None:
    """A closed queue hands out nothing; what was judged stays. Claims in it end."""
    with transaction.atomic():
        Queue.objects.filter(pk=queue.pk).update(is_open=is_open)
        if not is_open:
            queue.items.filter(state=State.CLAIMED).update(
                state=State.WAITING, claimed_by=None, claimed_until=None
            )


# Claims ---------------------------------------------------------------------------------------------------

# The same user in two tabs must get one tweet, not two: claims of a user in a queue come one after the other.
# And the items are walked in the order of their index: a planner that does not know a new queue yet takes it for
# small, and would check and sort all of it for the first tweet.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(%(queue)s, %(user)s), set_config('enable_sort', 'off', true);"

# A claim that a crash of the server forgets is made again: nobody waits for the disk.
FORGETTABLE = "SELECT set_config('synchronous_commit', 'off', true);"

OWN = """
UPDATE labeling_queueitem SET claimed_until = %(until)s
WHERE queue_id = %(queue)s AND claimed_by_id = %(user)s AND state = 'claimed' AND finished_at IS NULL
RETURNING id, position
"""

# The first free item whose tweet this user has not judged, does not hold and has not skipped in any seat. OFFSET 0
# keeps the planner from joining: each item is checked by index, and mostly the first one is taken.
FREE = """
SELECT i.id FROM labeling_queueitem i
WHERE i.queue_id = %(queue)s AND i.state IN ('waiting', 'claimed')
  AND (i.state = 'waiting' OR i.claimed_until < %(now)s)
  AND NOT EXISTS (
      SELECT FROM labeling_queueitem o
      WHERE o.queue_id = i.queue_id AND o.tweet_id = i.tweet_id AND o.id <> i.id
        AND o.state <> 'waiting' AND o.claimed_by_id IS NOT DISTINCT FROM %(user)s
      OFFSET 0
  )
  AND NOT EXISTS (
      SELECT FROM labeling_annotation a
      WHERE a.tweet_id = i.tweet_id AND a.origin >= %(analyst)s AND a.annotator_id = %(user)s
        AND a.retracts_id IS NULL
        AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
      OFFSET 0
  )
ORDER BY i.position
LIMIT 1
"""

NEXT = f"""
UPDATE labeling_queueitem SET state = 'claimed', claimed_by_id = %(user)s, claimed_until = %(until)s
WHERE id = ({FREE} FOR UPDATE OF i SKIP LOCKED)
RETURNING id
"""  # noqa: S608 - both are constants


def claim_next(queue: Queue, user: User) -> QueueItem | None:
    """The user's own claimed item, renewed; else the next free one; None when there is none for this user."""
    if not queue.is_open:
        return None
    parameters = _claiming(queue, user)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(FORGETTABLE + ONE_AT_A_TIME + OWN, parameters)
        own = cursor.fetchall()
        if own:
            item_id = min(own, key=lambda row: (row[1], row[0]))[0]
        else:
            cursor.execute(NEXT, parameters)
            row = cursor.fetchone()
            if row is None:
                return None
            item_id = row[0]
    item = QueueItem.objects.select_related("tweet").filter(pk=item_id).first()
    if item is None:  # erased in this moment
        return claim_next(queue, user)
    item.is_renewed = bool(own)
    return item


def _claiming(queue: Queue, user: User) -> dict[str, int | datetime]:
    now = timezone.now()
    return {
        "queue": queue.pk,
        "user": user.pk,
        "now": now,
        "until": now + claim_time(),
        "analyst": Origin.ANALYST.value,
    }


def has_next(queue: Queue, user: User) -> bool:
    """Whether claim_next() would find a tweet for this user that they do not hold already."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute(FREE, _claiming(queue, user))
        found = cursor.fetchone() is not None
        cursor.execute("SET LOCAL enable_sort = on")  # for what follows in an outer transaction
    return found


def claim_time() -> timedelta:
    return timedelta(minutes=settings.CLAIM_MINUTES)


def renew(item_id: int, user: User) -> datetime | None:
    """Prolong the claim while the tweet is on the screen, with the user's others in the queue. None: lost."""
    until = timezone.now() + claim_time()
    mine = QueueItem.objects.filter(claimed_by=user, state=State.CLAIMED, finished_at__isnull=True)
    queue_id = mine.filter(pk=item_id).values_list("queue_id", flat=True).first()
    if queue_id is None or not mine.filter(queue_id=queue_id).update(claimed_until=until):
        return None
    return until


def release(item_id: int, user: User, *, shown_until: datetime) -> bool:
    """The page was closed: give back what the user holds in the queue, after a moment's grace.

    A reload closes the page too. Its request comes within the grace and renews the claim, or came before:
    then the claim runs longer than the closed page knew (`shown_until`), and this does nothing.
    """
    grace = timezone.now() + timedelta(seconds=settings.RELEASE_GRACE_SECONDS)
    mine = QueueItem.objects.filter(claimed_by=user, state=State.CLAIMED, finished_at__isnull=True)
    queue_id = mine.filter(pk=item_id).values_list("queue_id", flat=True).first()
    if queue_id is None:
        return False
    return bool(
        mine.filter(queue_id=queue_id, claimed_until__lte=shown_until, claimed_until__gt=grace).update(
            claimed_until=grace
        )
    )


def _hold(item_id: int, user: User) -> tuple[QueueItem, bool]:
    """Lock the item for `user`; True when the user has finished it already. Raises ClaimLost.

    Call it in a transaction. A claim that ran out, or was given back, is taken again if the item is free.
    """
    item = QueueItem.objects.select_for_update().filter(pk=item_id).first()
    if item is None:
        raise ClaimLost("This tweet is no longer in the queue.")
    if item.claimed_by_id == user.pk and item.state in FINISHED:
        return item, True
    if item.state in FINISHED or (item.state == State.CLAIMED and item.claimed_by_id != user.pk):
        raise ClaimLost(
            "The time for this tweet ran out and a colleague has it now, so it was not saved to the queue."
        )
    if item.state == State.WAITING and not Queue.objects.filter(pk=item.queue_id, is_open=True).exists():
        raise ClaimLost("The queue was closed meanwhile, so this tweet was not saved to it.")
    other = QueueItem.objects.filter(queue_id=item.queue_id, tweet_id=item.tweet_id, claimed_by=user)
    if item.state == State.WAITING and other.exclude(pk=item.pk).exclude(state=State.WAITING).exists():
        raise ClaimLost("You have judged this tweet in the queue already.")
    return item, False


def submit(
    item_id: int,
    user: User,
    *,
    verdict: int,
    tag_ids: Sequence[int],
    note: str = "",
    suggested_by: int | None = None,
    seconds: float | None = None,
) -> Annotation | None:
    """Judge the item's tweet. The second submit of the same item changes nothing and returns None.

    Raises ClaimLost when a colleague has the tweet.
    """
    with transaction.atomic():
        item, is_finished = _hold(item_id, user)
        if is_finished:
            return None
        _finish(item, user, State.DONE)
        return annotating.annotate(
            tweet_id=item.tweet_id,
            annotator=user,
            verdict=verdict,
            tag_ids=tag_ids,
            note=note,
            queue_item=item,
            suggested_by=suggested_by,
            seconds=seconds,
        )


def skip(item_id: int, user: User) -> None:
    """Pass the tweet over. It is offered again after offer_skipped() alone. Raises ClaimLost."""
    with transaction.atomic():
        item, is_finished = _hold(item_id, user)
        if not is_finished:
            _finish(item, user, State.SKIPPED)


def offer_skipped(queue: Queue) -> int:
    """Let what was skipped wait again, for everybody, those who skipped it included. How many tweets came back."""
    skipped = queue.items.filter(state=State.SKIPPED)
    return skipped.update(state=State.WAITING, claimed_by=None, claimed_until=None, finished_at=None)


def _finish(item: QueueItem, user: User, state: str) -> None:
    item.state, item.claimed_by, item.claimed_until, item.finished_at = state, user, None, timezone.now()
    item.save(update_fields=["state", "claimed_by", "claimed_until", "finished_at"])


def undo(queue: Queue, user: User) -> QueueItem:
    """Bring back the last tweet that the user submitted or skipped here, claimed again. Raises NothingToUndo.

    Repeated, it goes back further; the judgements are retracted and remain in the history.
    """
    if not queue.is_open:
        raise NothingToUndo("The queue is closed. Correct the tweet on its own page instead.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(ONE_AT_A_TIME, {"queue": queue.pk, "user": user.pk})
        held = queue.items.filter(claimed_by=user, finished_at__isnull=True, state=State.CLAIMED)
        if held.count() > UNDO_STEPS:
            raise NothingToUndo(f"You can go back {UNDO_STEPS} tweets. Submit these first.")
        finished = queue.items.filter(claimed_by=user, finished_at__isnull=False, state__in=FINISHED)
        item = finished.select_for_update().order_by("-finished_at", "-id").first()
        if item is None:
            raise NothingToUndo("There is nothing to undo in this queue.")
        for annotation in live_annotations(item, user):
            annotating.retract(annotation, by=user)
        item.state, item.finished_at, item.claimed_until = (
            State.CLAIMED,
            None,
            timezone.now() + claim_time(),
        )
        item.save(update_fields=["state", "finished_at", "claimed_until"])
    return item


def live_annotations(item: QueueItem, user: User) -> list[Annotation]:
    """What the user judged here and has not taken back."""
    own = Annotation.objects.filter(tweet_id=item.tweet_id, origin=Origin.ANALYST, annotator=user)
    return list(own.filter(queue_item=item, retracts__isnull=True, retracted_by__isnull=True))


def earlier_choice(item: QueueItem, user: User) -> Annotation | None:
    """What the user chose here before an undo."""
    if not item.is_renewed:
        return None
    own = Annotation.objects.filter(tweet_id=item.tweet_id, origin=Origin.ANALYST, annotator=user)
    return own.filter(queue_item=item, retracts__isnull=True).order_by("-id").first()


# Progress -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """`seats` is how many judgements the queue asks for: tweets times analysts for each."""

    today: int  # tweets the user judged today, in any queue
    median_seconds: float | None
    seats: int
    finished: int  # judged or skipped
    skipped: int
    claimed: int
    mine: int  # finished by the user in this queue

    @property
    def judged(self) -> int:
        return self.finished - self.skipped

    @property
    def waiting(self) -> int:
        return self.seats - self.finished - self.claimed


PROGRESS = """
SELECT *
FROM (
    SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY a.seconds)
    FROM labeling_annotation a
    WHERE a.annotator_id = %(user)s AND a.created_at >= %(midnight)s AND a.origin = %(analyst)s
      AND a.queue_item_id IS NOT NULL AND a.retracts_id IS NULL
      AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
) today, (
    SELECT count(*), count(*) FILTER (WHERE state IN ('done', 'skipped')), count(*) FILTER (WHERE state = 'skipped'),
           count(*) FILTER (WHERE state = 'claimed'),
           count(*) FILTER (WHERE state IN ('done', 'skipped') AND claimed_by_id = %(user)s)
    FROM labeling_queueitem WHERE queue_id = %(queue)s
) items
"""


def progress(queue: Queue, user: User) -> Progress:
    """One query: the user's day, and one queue's items."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    parameters: dict[str, int | datetime] = {
        "user": user.pk,
        "midnight": midnight,
        "analyst": Origin.ANALYST.value,
        "queue": queue.pk,
    }
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS, parameters)
        return Progress(*cursor.fetchone())
