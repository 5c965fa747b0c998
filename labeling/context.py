"""What every page's template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def page(request: HttpRequest) -> dict[str, Any]:
    """Names of the verdicts, and the colour theme from its cookie (light, dark or auto)."""
    theme = request.COOKIES.get("theme", "auto")
    return {
        "DA": settings.VERDICT_DA,
        "NDA": settings.VERDICT_NDA,
        "theme": theme if theme in ("light", "dark") else "auto",
    }
