"""Labels: what the project holds true of a tweet, derived from its annotations in one set-based statement.

Review beats analysts, analysts beat import, import beats rules; separately for the verdict and for the tags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection, transaction

from labeling.models import Origin, Verdict

# Two writers that derive the same tweet at once would each miss the other's annotation and the later one
# would overwrite the label with its own half. So the tweets are locked first, in order of id, and the
# statement below starts with a snapshot that is younger than the locks.
LOCK = """
SELECT set_config('labeling.locked', count(*)::text, true) FROM (
    SELECT 1 FROM labeling_tweet WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
) AS locked;
"""

# No part joins what it has counted with what else it has counted: of a table that was empty a moment ago the planner
# expects a row or two, and a nested loop over 25,000 takes a minute. Parts meet in `derived`, which only groups.
DERIVE = """
WITH given AS (
    SELECT DISTINCT unnest(%(ids)s::bigint[]) AS tweet_id
),
live AS MATERIALIZED (  -- neither a retraction nor retracted
    SELECT a.tweet_id, a.id, a.origin, a.annotator_id, a.verdict, a.tag_ids,
           CASE WHEN a.origin = %(analyst)s THEN a.annotator_id END AS voter
    FROM given JOIN labeling_annotation a USING (tweet_id)
    WHERE a.retracts_id IS NULL
      AND NOT EXISTS (SELECT FROM labeling_annotation r WHERE r.retracts_id = a.id)
),
-- Verdict: the latest of each analyst, the latest of every other origin; then the votes of the best origin.
verdict_votes AS (
    SELECT DISTINCT ON (tweet_id, origin, voter) tweet_id, origin, verdict
    FROM live WHERE verdict IS NOT NULL
    ORDER BY tweet_id, origin, voter, id DESC
),
verdicts AS (
    SELECT DISTINCT ON (tweet_id)
           tweet_id, origin AS verdict_origin,
           CASE WHEN da > greatest(nda, unsure) THEN %(da)s
                WHEN nda > greatest(da, unsure) THEN %(nda)s
                ELSE %(unsure)s END AS verdict,
           greatest(da, nda, unsure) < da + nda + unsure AS differ
    FROM (
        SELECT tweet_id, origin,
               count(*) FILTER (WHERE verdict = %(da)s) AS da,
               count(*) FILTER (WHERE verdict = %(nda)s) AS nda,
               count(*) FILTER (WHERE verdict = %(unsure)s) AS unsure
        FROM verdict_votes GROUP BY tweet_id, origin
    ) AS counted
    ORDER BY tweet_id, origin DESC
),
-- Tags: the same, tag by tag, by more than half of those who judged tags.
tag_votes AS (
    SELECT DISTINCT ON (tweet_id, origin, voter) tweet_id, origin, tag_ids
    FROM live WHERE tag_ids IS NOT NULL
    ORDER BY tweet_id, origin, voter, id DESC
),
ranked AS (
    SELECT tweet_id, origin, tag_ids,
           max(origin) OVER (PARTITION BY tweet_id) AS best,
           count(*) OVER peers AS voters,
           min(tag_ids) OVER peers <> max(tag_ids) OVER peers AS differ
    FROM tag_votes
    WINDOW peers AS (PARTITION BY tweet_id, origin)
),
tags AS (
    SELECT tweet_id, origin AS tags_origin, differ,
           coalesce(array_agg(tag_id ORDER BY tag_id) FILTER (WHERE tag_id IS NOT NULL AND 2 * votes > voters), '{}') AS tag_ids
    FROM (
        SELECT tweet_id, origin, voters, differ, tag_id, count(*) AS votes
        FROM ranked LEFT JOIN LATERAL unnest(tag_ids) AS tag_id ON true
        WHERE origin = best
        GROUP BY tweet_id, origin, voters, differ, tag_id
    ) AS counted
    GROUP BY tweet_id, origin, differ
    -- Rules that vote for nothing have not judged the tweet.
    HAVING origin <> %(rule)s OR bool_or(tag_id IS NOT NULL AND 2 * votes > voters)
),
people AS (
    SELECT tweet_id, count(DISTINCT annotator_id) AS annotators
    FROM live
    WHERE origin >= %(analyst)s AND (verdict IS NOT NULL OR tag_ids IS NOT NULL)
    GROUP BY tweet_id
),
derived AS MATERIALIZED (  -- a row of every tweet given, with neither verdict nor tags where nothing is left
    SELECT tweet_id, max(verdict) AS verdict, max(verdict_origin) AS verdict_origin,
           max(tag_ids) AS tag_ids, max(tags_origin) AS tags_origin,
           -- Only analysts are several of one origin; where a review decides, its one vote cannot differ.
           bool_or(differ) AS is_disputed, max(annotators) AS annotators
    FROM (
        SELECT tweet_id, verdict, verdict_origin, NULL::int[] AS tag_ids, NULL::smallint AS tags_origin, differ,
               0::bigint AS annotators
        FROM verdicts
        UNION ALL SELECT tweet_id, NULL, NULL, tag_ids, tags_origin, differ, 0 FROM tags
        UNION ALL SELECT tweet_id, NULL, NULL, NULL, NULL, false, annotators FROM people
        UNION ALL SELECT tweet_id, NULL, NULL, NULL, NULL, false, 0 FROM given
    ) AS parts
    GROUP BY tweet_id
),
labelled AS MATERIALIZED (
    SELECT l.tweet_id FROM given JOIN labeling_label l USING (tweet_id)
),
removed AS (
    DELETE FROM labeling_label l USING derived d
    WHERE l.tweet_id = d.tweet_id AND d.verdict_origin IS NULL AND d.tags_origin IS NULL
    RETURNING 1
),
written AS (
    INSERT INTO labeling_label AS l
        (tweet_id, verdict, verdict_origin, tag_ids, tags_origin, is_disputed, annotators, updated_at, words)
    SELECT tweet_id, verdict, verdict_origin, tag_ids, tags_origin, is_disputed, annotators, now(),
           -- Some 40 µs a tweet, and a tweet's words never change: of a new label only.
           CASE WHEN tweet_id NOT IN (SELECT tweet_id FROM labelled)
                THEN (SELECT to_tsvector('tweet_text'::regconfig, t.text) FROM labeling_tweet t WHERE t.id = derived.tweet_id)
           END
    FROM derived
    WHERE verdict_origin IS NOT NULL OR tags_origin IS NOT NULL
    ON CONFLICT (tweet_id) DO UPDATE SET
        verdict = excluded.verdict, verdict_origin = excluded.verdict_origin,
        tag_ids = excluded.tag_ids, tags_origin = excluded.tags_origin,
        is_disputed = excluded.is_disputed, annotators = excluded.annotators, updated_at = excluded.updated_at
    WHERE (l.verdict, l.verdict_origin, l.tag_ids, l.tags_origin, l.is_disputed, l.annotators)
        IS DISTINCT FROM (excluded.verdict, excluded.verdict_origin, excluded.tag_ids, excluded.tags_origin,
                          excluded.is_disputed, excluded.annotators)
    RETURNING 1
)
SELECT (SELECT count(*) FROM removed) + (SELECT count(*) FROM written), current_setting('labeling.locked')::int
"""


def parameters_of(tweet_ids: Sequence[int]) -> dict[str, Any]:
    """Of the two statements above."""
    return {
        "ids": list(tweet_ids),
        "rule": int(Origin.RULE),
        "analyst": int(Origin.ANALYST),
        "da": int(Verdict.DA),
        "nda": int(Verdict.NDA),
        "unsure": int(Verdict.UNSURE),
    }


class TweetsGone(Exception):
    """Some of the tweets were erased a moment ago. Nothing may be kept of what was to be said of them."""

    def __init__(self) -> None:
        super().__init__("The tweet was erased a moment ago, so nothing was saved.")


def hold_tweets(tweet_ids: Sequence[int]) -> set[int]:
    """Those of the tweets that there are; none of them can go before the transaction ends.

    For whoever writes of tweets that were read a while ago: of an erased one nothing may appear any more.
    """
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM labeling_tweet WHERE id = ANY(%s::bigint[]) ORDER BY id FOR KEY SHARE",
            [list(tweet_ids)],
        )
        return {tweet_id for (tweet_id,) in cursor.fetchall()}


def derive_labels(tweet_ids: Sequence[int]) -> int:
    """Bring the labels of these tweets up to date; returns how many changed. Batch by about 50,000.

    - Priority, for the verdict and for the tags separately: review, analysts, import, rule.
    - Of each analyst the latest judgement counts, of every other origin the latest.
    - Verdict of analysts: the one with the most votes; a tie gives unsure. Tags: by more than half.
    - Disputed: the latest judgements of the analysts differ, and no review decided that part.
    - A tweet with nothing left loses its row. Rules that vote for no tag count as nothing.

    Raises TweetsGone where there is no such tweet: roll back what was written of it. While it goes on, none can go.
    """
    if not tweet_ids:
        return 0
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(LOCK + DERIVE, parameters_of(tweet_ids))  # each of the two has a snapshot of its own
        changed, there = cursor.fetchone()
    if there < len(set(tweet_ids)):
        raise TweetsGone
    return int(changed)
