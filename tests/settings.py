"""The product's settings, on servers of the tests' own: embedded ones, unless DATABASE_URL and REDIS_URL name others."""

import os

from tagger_site import embedded

os.environ.setdefault(
    "TAGGER_VAR_DIR", str(embedded.var_dir() / "test")
)  # never the data of a real installation
_needed = embedded.needed()
_share = embedded.use(durable=False)
# As addresses, so that worker processes of the tests find the same servers whichever they are.
if "postgres" in _needed:
    os.environ["DATABASE_URL"] = embedded.database_url(embedded.var_dir())
if "valkey" in _needed:
    os.environ["REDIS_URL"] = embedded.broker_url(embedded.var_dir())

from tagger_site.settings import *  # noqa: E402, F403

MODEL_CACHE = embedded.var_dir() / "test-models"

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher"
]  # thousands of log-ins, none of them real
