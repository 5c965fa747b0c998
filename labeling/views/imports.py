"""Imports: the list, the upload, the mapping of its columns, the result."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django import forms
from django.contrib import messages
from django.core.files import File
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling import access, deleting, tasks
from labeling.imports import importing, reader_process
from labeling.imports.mapping import SEPARATORS, UNKNOWN_TAGS, Mapping
from labeling.imports.sheets import UnreadableFileError
from labeling.jobs import AlreadyRunning
from labeling.models import AuditEvent, Import, Job, Source

PAGE = 50
SHOWN_COLUMNS = 300  # of a file; the others are left out
SHOWN_ROWS = 8
SHOWN_REJECTED = 100
MEANINGS = [
    ("", "leave out"),
    ("text", "text"),
    ("id", "id"),
    ("author", "author (kept as a keyed hash)"),
    ("date", "date"),
    ("tags", "tags"),
    ("verdict", "verdict"),
    ("flag", "0/1 for the tag of this name"),
]
UNKNOWN_TAG_CHOICES = {
    "reject": "Reject the row",
    "create": "Create the tag",
    "ignore": "Ignore the tag",
}


class UploadForm(forms.Form):
    source = forms.TypedChoiceField(
        label="Kind of tweets",
        coerce=int,
        choices=[
            (Source.SPECIFIC.value, "Specific: collected around the subject, usually with tags"),
            (Source.GENERAL.value, "General: the stream to search in"),
        ],
        widget=forms.RadioSelect,
    )
    file = forms.FileField(
        label="File", widget=forms.ClearableFileInput(attrs={"class": "form-control"}), max_length=255
    )


class MappingForm(forms.Form):
    """One choice for each column of the file, and how tags are written."""

    separator = forms.ChoiceField(label="Tags in one cell are separated by", choices=list(SEPARATORS.items()))
    unknown_tags = forms.ChoiceField(
        label="Tags that the project does not have",
        choices=[(policy, UNKNOWN_TAG_CHOICES[policy]) for policy in UNKNOWN_TAGS],
        widget=forms.RadioSelect,
    )

    def __init__(self, data: Any, *, sample: dict[str, Any], guess: Mapping) -> None:
        columns = sample["columns"][:SHOWN_COLUMNS]
        self.names = {f"column-{number}": name for number, name in enumerate(columns)}
        initial: dict[str, Any] = {field: _meaning(guess, name) for field, name in self.names.items()}
        super().__init__(
            data, initial={**initial, "separator": guess.separator, "unknown_tags": guess.unknown_tags}
        )
        select = {"class": "form-select form-select-sm"}
        for field, name in self.names.items():
            self.fields[field] = forms.ChoiceField(
                label=name, choices=MEANINGS, required=False, widget=forms.Select(attrs=select)
            )
        self.fields["separator"].widget.attrs["class"] = "form-select"
        self.rows = sample["rows"]

    def columns(self) -> list[tuple[forms.BoundField, list[str]]]:
        """Each column's field, with its first few values."""
        shown = []
        for number, field in enumerate(self.names):
            values = [str(row[number]) for row in self.rows[:50] if row[number] not in (None, "")]
            shown.append((self[field], values[:2]))
        return shown

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        given = [cleaned.get(field) for field in self.names]
        for meaning, label in MEANINGS[1:-1]:
            if given.count(meaning) > 1:
                raise forms.ValidationError(
                    f"More than one column is the {label.split(' (')[0]}. Choose one."
                )
        return cleaned

    def mapping(self) -> Mapping:
        mapping = Mapping(
            separator=self.cleaned_data["separator"], unknown_tags=self.cleaned_data["unknown_tags"]
        )
        for field, name in self.names.items():
            meaning = self.cleaned_data[field]
            if meaning == "flag":
                mapping.tag_columns.append(name)
            elif meaning:
                setattr(mapping, meaning, name)
        return mapping


def _meaning(mapping: Mapping, column: str) -> str:
    for part in ("text", "id", "author", "date", "tags", "verdict"):
        if getattr(mapping, part) == column:
            return part
    return "flag" if column in mapping.tag_columns else ""


@access.reviewer
@require_GET
def import_list(request: HttpRequest) -> HttpResponse:
    imports = Import.objects.select_related("job", "created_by").defer("mapping").order_by("-id")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdigit():
        imports = imports.filter(pk__lt=min(int(before), 2**31))
    rows = list(imports[: PAGE + 1])
    page = {"imports": rows[:PAGE], "next": rows[PAGE - 1].pk if len(rows) > PAGE else None}
    return render(request, "labeling/import_list.html", page)


@access.reviewer
@require_http_methods(["GET", "POST"])
def import_new(request: HttpRequest) -> HttpResponseBase:
    form = UploadForm(request.POST or None, request.FILES or None, initial={"source": Source.GENERAL.value})
    reader_process.get_ready()  # a file comes soon
    if request.method == "POST" and form.is_valid():
        upload: File[bytes] = form.cleaned_data["file"]
        row = importing.store_upload(upload, source=Source(form.cleaned_data["source"]), user=request.user)  # type: ignore[arg-type]
        try:
            importing.read_sample(row)
            reader_process.get_ready()  # files often come one after the other
            return redirect("labeling:import-mapping", pk=row.pk)
        except UnreadableFileError as error:
            importing.discard(row)
            form.add_error("file", str(error))
    status = 400 if request.method == "POST" else 200
    return render(request, "labeling/import_new.html", {"form": form}, status=status)


@access.reviewer
@require_http_methods(["GET", "POST"])
def import_mapping(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The mapping page; a POST by htmx shows what the choices lead to, one by the button starts the job."""
    row = get_object_or_404(Import, pk=pk)
    if row.job_id or "sample" not in row.mapping:
        return redirect("labeling:import-detail", pk=pk)
    form = MappingForm(
        request.POST or None, sample=row.mapping["sample"], guess=Mapping.from_json(row.mapping)
    )
    mapping = Mapping.from_json(row.mapping)
    if form.is_bound:
        mapping = form.mapping() if form.is_valid() else Mapping()
    trial = importing.try_mapping(row, mapping)
    context = {"row": row, "form": form, "trial": trial, "shown": trial.rows[:SHOWN_ROWS]}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "labeling/import_mapping.html#reading", context)
    if form.is_bound and form.is_valid() and not trial.problems:
        with suppress(AlreadyRunning):
            job = importing.start(row, mapping, user=request.user)  # type: ignore[arg-type]
            tasks.run_job.delay_on_commit(job.pk)  # type: ignore[attr-defined]
        return redirect("labeling:import-detail", pk=pk)
    return render(request, "labeling/import_mapping.html", context, status=400 if form.is_bound else 200)


@access.reviewer
@require_GET
def import_detail(request: HttpRequest, pk: int) -> HttpResponseBase:
    row = get_object_or_404(Import.objects.select_related("job", "created_by", "deletion__created_by"), pk=pk)
    if row.job is None and "sample" in row.mapping:
        return redirect("labeling:import-mapping", pk=pk)
    context = {
        "row": row,
        "job": row.deletion or row.job,
        "may_delete": access.has_role(request.user, "admin") and not deleting.why_not(row),
        "mapping": Mapping.from_json(row.mapping),
        "rejected": importing.first_rejected(row, SHOWN_REJECTED),
        "can_resume": _can_resume(row),
    }
    return render(request, "labeling/import_detail.html", context)


def _can_resume(row: Import) -> bool:
    has_stopped = row.job is not None and row.job.state in (Job.State.FAILED, Job.State.CANCELLED)
    return has_stopped and bool(row.file) and row.deletion is None


@access.reviewer
@require_POST
def import_resume(request: HttpRequest, pk: int) -> HttpResponseBase:
    row = get_object_or_404(Import.objects.select_related("job"), pk=pk)
    if _can_resume(row):
        with suppress(AlreadyRunning):
            job = importing.resume(row, user=request.user)  # type: ignore[arg-type]
            tasks.run_job.delay_on_commit(job.pk)  # type: ignore[attr-defined]
    else:
        messages.warning(request, "There is nothing to go on with. Upload the file again.")
    return redirect("labeling:import-detail", pk=pk)


@access.reviewer
@require_POST
def import_discard(request: HttpRequest, pk: int) -> HttpResponseBase:
    row = get_object_or_404(Import, pk=pk)
    if row.job_id:
        messages.warning(request, "The import has been started already.")
        return redirect("labeling:import-detail", pk=pk)
    importing.discard(row)
    messages.info(request, f"The upload {row.file_name} is deleted.")
    return redirect("labeling:import-list")


@access.admin
@require_http_methods(["GET", "POST"])
def import_delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What would go; and, once the box is ticked, the job that deletes it."""
    row = get_object_or_404(Import.objects.select_related("job", "deletion"), pk=pk)
    problem = deleting.why_not(row)
    is_sure = request.POST.get("sure") == "yes"
    if request.method == "POST" and is_sure and not problem:
        try:
            tasks.enqueue(deleting.start(row, user=request.user))  # type: ignore[arg-type]
            return redirect("labeling:import-detail", pk=pk)
        except deleting.CannotDelete as error:
            problem = str(error)
    context = {
        "row": row,
        "problem": problem,
        "loss": None if problem else deleting.loss_of(row),
        "unsure": request.method == "POST" and not is_sure,
    }
    status = 400 if request.method == "POST" else 200
    return render(request, "labeling/import_delete.html", context, status=status)


@access.reviewer
@require_GET
def import_rejected(request: HttpRequest, pk: int) -> HttpResponseBase:
    """All rejected rows as a CSV file."""
    row = get_object_or_404(Import.objects.exclude(rejected_file=""), pk=pk)
    AuditEvent.objects.create(
        action=AuditEvent.Action.EXPORT,
        user=request.user,  # type: ignore[misc]
        detail={"what": "rejected rows", "import": pk},
        tweets=row.rejected,
    )
    return FileResponse(
        row.rejected_file.open("rb"),
        as_attachment=True,
        filename=f"rejected-{pk}.csv",
        content_type="text/csv; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff"},
    )
