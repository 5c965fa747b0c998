"""Progress of a job: a page of its own, and the fragment that other pages embed and that polls itself."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST

from labeling import access, jobs
from labeling.models import Import, Job, ModelVersion

STOP_POLLING: Final = 286  # htmx: swap this answer in and ask no more


@access.analyst
@require_GET
def job_detail(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(Job.objects.select_related("created_by"), pk=pk)
    if not request.htmx:  # type: ignore[attr-defined]
        return render(request, "labeling/job_detail.html", {"job": job, "about": _about(job)})
    if job.is_active:
        return render(request, "labeling/_job.html", {"job": job})
    answer = render(request, "labeling/_job.html", {"job": job}, status=STOP_POLLING)
    answer["HX-Refresh"] = "true"  # the page around the fragment has news of its own
    return answer


def _about(job: Job) -> tuple[str, str] | None:
    """Words and address of the page of what the job was for."""
    if job.kind in (Job.Kind.IMPORT, Job.Kind.DELETE):
        row = Import.objects.filter(Q(job=job) | Q(deletion=job)).first()
        return ("The import", reverse("labeling:import-detail", args=[row.pk])) if row else None
    version = ModelVersion.objects.filter(Q(job=job) | Q(scoring_runs__job=job)).first()
    if version:
        return f"Version {version.number}", reverse("labeling:version-detail", args=[version.number])
    return ("Tags and rules", reverse("labeling:tag-list")) if job.kind == Job.Kind.RULES else None


@access.reviewer
@require_POST
def job_cancel(request: HttpRequest, pk: int) -> HttpResponseBase:
    job = get_object_or_404(Job, pk=pk)
    if job.needs_admin and not access.has_role(request.user, "admin"):
        raise PermissionDenied("An admin began this. Ask one to cancel it.")
    if job.is_active:
        jobs.request_cancel(job)
        messages.info(request, f"{job} will stop at its next step. What it has finished is kept.")
    else:
        messages.info(request, f"{job} had already ended.")
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, request.is_secure()):
        back = reverse("labeling:job-detail", args=[pk])
    return redirect(back)
