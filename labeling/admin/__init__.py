"""Django admin: accounts, tags, and the review queue."""

from labeling.admin import review

__all__ = ["review"]
