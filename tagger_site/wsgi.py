"""WSGI entry point for gunicorn."""

import gc
import os
from importlib import import_module

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tagger_site.settings")

application = get_wsgi_application()

# What is loaded now stays for good: the garbage collector need not look through it, in the middle of somebody's page.
import_module("tagger_site.urls")
gc.collect()
gc.freeze()
