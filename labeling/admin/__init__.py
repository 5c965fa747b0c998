"""Django admin: accounts, tags, and the review queue."""
