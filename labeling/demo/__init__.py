"""A first-time demo: invented tweets, imported, tagged by rules and judged as a team would have done it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from labeling import lexicon, queues, review, rules
from labeling.demo.corpus import Files, read_truth, write_files
from labeling.jobs import run_job
from labeling.labels import derive_labels
from labeling.models import Annotation, Import, Job, Origin, Queue, Source, Tag, Tweet, Verdict
from labeling.sampling import CannotDraw

SPECIFIC_JUDGED = 1_200
GENERAL_JUDGED = 300
JUDGED_TWICE = 40
DAYS_OF_WORK = 10

RIGHT, UNSURE = 0.945, 0.025  # of the verdicts of the demo analysts; the rest are wrong
TAG_SLIP = 0.08  # of their tag sets: one too many or too few

Say = Callable[[str], None]


class NotEmpty(Exception):
    """There are tweets that the demo did not bring."""


def is_safe() -> bool:
    """Whether the database holds no tweets but those of a demo that was begun."""
    ours = Import.objects.filter(file_name__in=[path.name for path in (_files().specific, _files().general)])
    return not Tweet.objects.exclude(import_id__in=ours.values("id")).exists()


def _files(folder: Path = Path()) -> Files:
    return Files.under(folder)


def make(folder: Path, *, specific: int, general: int, seed: int, force: bool, say: Say) -> dict[str, Any]:
    """Everything, in steps that each may run again after a crash. Raises NotEmpty before anything is written."""
    if not force and not is_safe():
        raise NotEmpty
    say("writing invented tweets")
    files = write_files(folder, specific=specific, general=general, seed=seed)
    say("loading the starter lexicon")
    lexicon.load_starter()
    for source, path in ((Source.SPECIFIC, files.specific), (Source.GENERAL, files.general)):
        say(f"importing {path.name}")
        call_command("import_tweets", str(path), source=source.label, tag_separator=";")
    say("applying the rules")
    apply_rules()
    say("writing the judgements of the demo analysts")
    judged = judge(files, seed=seed)
    say("opening queues")
    opened = open_queues()
    return {"tweets": Tweet.objects.count(), "judged": judged, "queues": opened}


def apply_rules() -> None:
    job = run_job(rules.start_apply().pk, rules.apply_rules)
    if job is None or job.state != Job.State.DONE:
        raise RuntimeError(f"Applying the rules failed: {job.error if job else 'taken over'}")


# Judgements --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    tweet_id: int
    annotator_id: int
    verdict: Verdict
    tag_ids: Sequence[int]
    seconds: float


def judge(files: Files, *, seed: int) -> int:
    """Annotations as two analysts would have written them, mostly right. Does nothing where people have judged."""
    if Annotation.objects.filter(origin__gte=Origin.ANALYST).exists():
        return 0
    rng = random.Random(seed)  # noqa: S311 - invented judgements
    truth = read_truth(files.truth)
    chosen = _choose(truth, rng)
    pks = dict(Tweet.objects.filter(external_id__in=chosen).values_list("external_id", "id"))
    tag_ids = dict(Tag.objects.in_use().values_list("name", "id"))
    analysts = [analyst.pk for analyst in demo_analysts()]
    judgements = []
    for place, tweet in enumerate(t for t in chosen if t in pks):
        both = place < JUDGED_TWICE
        for annotator_id in analysts if both else [rng.choice(analysts)]:
            true = [tag_ids[name] for name in truth[tweet]["tags"] if name in tag_ids]
            # Those who judged the same tweet differ more often than chance: it was a hard one.
            judgements.append(
                _judgement(
                    pks[tweet],
                    annotator_id,
                    str(truth[tweet]["verdict"]),
                    true,
                    rng,
                    hard=both,
                    all_ids=list(tag_ids.values()),
                )
            )
    _write(judgements, rng)
    return len(judgements)


def _choose(truth: dict[str, dict[str, Any]], rng: random.Random) -> list[str]:
    """Specific tweets at random; general ones at random too, and some that an analyst found by searching."""
    specific = [tweet for tweet, row in truth.items() if row["source"] == "specific"]
    general = [tweet for tweet, row in truth.items() if row["source"] == "general"]
    hidden = [tweet for tweet in general if truth[tweet]["verdict"] == "DA"]
    found = rng.sample(hidden, min(GENERAL_JUDGED // 5, len(hidden) // 4))
    chosen = [
        *rng.sample(specific, min(SPECIFIC_JUDGED, len(specific) // 2)),
        *rng.sample(general, min(GENERAL_JUDGED - len(found), len(general) // 2)),
        *found,
    ]
    chosen = list(dict.fromkeys(chosen))
    rng.shuffle(chosen)
    return chosen


def _judgement(
    tweet_id: int,
    annotator_id: int,
    truth: str,
    true_tags: list[int],
    rng: random.Random,
    *,
    hard: bool,
    all_ids: list[int],
) -> Judgement:
    right = Verdict.DA if truth == "DA" else Verdict.NDA
    wrong = Verdict.NDA if truth == "DA" else Verdict.DA
    luck = rng.random() * (1.15 if hard else 1.0)
    verdict = right if luck < RIGHT else Verdict.UNSURE if luck < RIGHT + UNSURE else wrong
    tags = set(true_tags)
    if rng.random() < TAG_SLIP:
        tags ^= {rng.choice(sorted(tags) if tags and rng.random() < 0.6 else all_ids)}
    return Judgement(tweet_id, annotator_id, verdict, sorted(tags), round(rng.lognormvariate(1.9, 0.6), 1))


COPY = "COPY labeling_annotation (tweet_id, origin, annotator_id, verdict, tag_ids, note, seconds, created_at) FROM STDIN"


@transaction.atomic
def _write(judgements: Sequence[Judgement], rng: random.Random) -> None:
    times = _times(len(judgements), rng)
    lines = (
        f"{j.tweet_id}\t{Origin.ANALYST:d}\t{j.annotator_id}\t{j.verdict:d}\t{{{','.join(map(str, j.tag_ids))}}}\t\t"
        f"{j.seconds}\t{when.isoformat()}\n"
        for j, when in zip(judgements, times, strict=True)
    )
    with connection.cursor() as cursor:
        cursor.copy_expert(COPY, io.StringIO("".join(lines)))
    ids = sorted({j.tweet_id for j in judgements})
    derive_labels(ids)
    review.consider_many(ids)


def _times(count: int, rng: random.Random) -> list[datetime]:
    """Moments of the last days, in order; none of today, which belongs to whoever tries the demo."""
    end = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    return sorted(end - timedelta(seconds=rng.uniform(1, DAYS_OF_WORK * 86_400)) for _ in range(count))


def demo_analysts() -> list[User]:
    """The two analysts of the installation; where there are none, two accounts that nobody can log in to."""
    found = list(User.objects.filter(groups__name="analyst", is_active=True).order_by("id")[:2])
    for name in ("demo-analyst", "demo-second-analyst")[len(found) :]:
        user, is_new = User.objects.get_or_create(username=name)
        if is_new:
            user.set_unusable_password()
            user.save()
        user.groups.add(Group.objects.get_or_create(name="analyst")[0])
        found.append(user)
    return found


# Queues --------------------------------------------------------------------------------------------------------


def open_queues() -> int:
    """Queues to begin with; “Most uncertain” as soon as there are scores. Safe to call again."""
    wanted = (
        ("Random sample", Queue.Strategy.RANDOM, {"source": Source.GENERAL}),
        ("Most uncertain", Queue.Strategy.UNCERTAIN, {"shows_suggestion": True}),
    )
    opened = 0
    for name, strategy, options in wanted:
        if Queue.objects.filter(name=name).exists():
            continue
        try:
            queues.create_queue(name=name, strategy=strategy, size=200, user=None, **options)
            opened += 1
        except CannotDraw:
            continue
    return opened
