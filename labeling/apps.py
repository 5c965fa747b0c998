"""Application configuration."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.backends.signals import connection_created


class LabelingConfig(AppConfig):
    name = "labeling"
    verbose_name = "Labeling"

    def ready(self) -> None:
        if settings.DATABASE_IS_EMBEDDED:
            connection_created.connect(give_way_too)


def give_way_too(connection: Any, **_: Any) -> None:
    """PostgreSQL's process for a worker that gives way to people (nice) gives way as much: half of the work is its."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > 0:
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, connection.connection.info.backend_pid, niceness)
