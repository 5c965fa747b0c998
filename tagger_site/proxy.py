"""Whose request it is, when proxies stand in front."""

from django.conf import settings
from django.http import HttpRequest


def client_address(request: HttpRequest) -> str:
    """The address that the outermost of our own proxies saw. What a client writes into the header is ignored."""
    own: int = settings.TRUSTED_PROXIES
    seen = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    if own and len(seen) >= own and seen[-own]:
        return seen[-own]
    return str(request.META.get("REMOTE_ADDR", ""))  # absent when a session is made without a request
