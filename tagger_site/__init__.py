"""Configuration only: settings, URLs, Celery and the launcher of local services."""

from tagger_site.celery import app as celery_app

__all__ = ["celery_app"]
