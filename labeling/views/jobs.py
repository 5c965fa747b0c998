"""Progress of a job: a page of its own, and the fragment that other pages embed and that polls itself."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from labeling import access, jobs
from labeling.models import Job

STOP_POLLING: Final = 286  # htmx: swap this answer in and ask no more


@access.analyst
@require_GET
def job_detail(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(Job.objects.select_related("created_by"), pk=pk)
    if not request.htmx:  # type: ignore[attr-defined]
        return render(request, "labeling/job_detail.html", {"job": job})
    if job.is_active:
        return render(request, "labeling/_job.html", {"job": job})
    answer = render(request, "labeling/_job.html", {"job": job}, status=STOP_POLLING)
    answer["HX-Refresh"] = "true"  # the page around the fragment has news of its own
    return answer


@access.reviewer
@require_POST
def job_cancel(request: HttpRequest, pk: int) -> HttpResponseBase:
    job = get_object_or_404(Job, pk=pk)
    if job.is_active:
        jobs.request_cancel(job)
        messages.info(request, f"{job} will stop at its next step. What it has finished is kept.")
    else:
        messages.info(request, f"{job} had already ended.")
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
        back = reverse("labeling:job-detail", args=[pk])
    return redirect(back)
