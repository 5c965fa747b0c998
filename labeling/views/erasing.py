"""Erasing a tweet, or all tweets of its author."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods

from labeling import access, erasing, near_copies, tasks
from labeling.models import Tweet


@access.admin
@require_http_methods(["GET", "POST"])
def tweet_erase(request: HttpRequest, pk: int) -> HttpResponseBase:
    """What would go; and, once the box is ticked, the job that erases it."""
    tweet = get_object_or_404(Tweet, pk=pk)
    is_sure = request.POST.get("sure") == "yes"
    if request.method == "POST" and is_sure:
        author = tweet.author_hash if request.POST.get("author") == "yes" else None
        job = erasing.start(tweet_ids=[pk], author=author, user=request.user)  # type: ignore[arg-type]
        tasks.enqueue(job)
        what = "All tweets of the author of tweet" if author else "Tweet"
        verb = "are" if author else "is"
        messages.success(
            request,
            format_html(
                '{} {} {} being erased. <a href="{}">Job {}</a> says when it is done.',
                what, pk, verb, reverse("labeling:job-detail", args=[job.pk]), job.pk,
            ),
        )  # fmt: skip
        return redirect("labeling:tweet-list")
    context = {
        "tweet": tweet,
        "loss": erasing.loss_of(tweet),
        "copies_cap": near_copies.COUNT_CAP,
        "unread_files": erasing.unread_files(),
        "unsure": request.method == "POST",
    }
    status = 400 if request.method == "POST" else 200
    return render(request, "labeling/tweet_erase.html", context, status=status)
