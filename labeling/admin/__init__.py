"""Django admin: accounts, tags, and the review queue."""

from labeling.admin import accounts, records, review

__all__ = ["accounts", "records", "review"]
