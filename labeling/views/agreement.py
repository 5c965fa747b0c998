"""How far analysts agree."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from labeling import access
from labeling.agreement import NEWEST, TOO_FEW, measure


@access.analyst
@require_safe
def agreement(request: HttpRequest) -> HttpResponse:
    context = {"report": measure(), "too_few": TOO_FEW, "newest": NEWEST}
    return render(request, "labeling/agreement.html", context)
