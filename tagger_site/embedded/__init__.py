"""The private PostgreSQL and Valkey that a checkout runs when no DATABASE_URL or REDIS_URL is given.

Nothing here imports Django: settings.py asks this package for addresses and keys.
"""

from tagger_site.embedded.layout import (
    EmbeddedError,
    broker_url,
    database,
    database_url,
    describe,
    secret,
    var_dir,
)
from tagger_site.embedded.use import Use, needed, use

__all__ = [
    "EmbeddedError",
    "Use",
    "broker_url",
    "database",
    "database_url",
    "describe",
    "needed",
    "secret",
    "use",
    "var_dir",
]
