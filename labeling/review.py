"""Review: which tweets need a reviewer's decision."""

from __future__ import annotations

from collections.abc import Sequence


def consider(tweet_id: int) -> None:
    """Open, keep or close the review item of a tweet, after its annotations changed."""
    consider_many([tweet_id])


def consider_many(tweet_ids: Sequence[int]) -> None:
    """The same for many tweets, set-based."""
