"""Tweets, judgements and audit events: to look at, never to change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from labeling.admin.base import ReadOnlyAdmin
from labeling.models import Annotation, AuditEvent, Tweet
from labeling.templatetags.labeling_tags import verdict_name


@admin.register(Tweet)
class TweetAdmin(ReadOnlyAdmin):
    list_display = ("id", "excerpt", "source", "external_id", "posted_at")
    list_filter = ("source",)
    ordering = ("-id",)
    search_fields = ("external_id",)
    search_help_text = "The tweet's number, or the id that it was imported with. To search words, use Tweets."

    @admin.display(description="text")
    def excerpt(self, tweet: Tweet) -> str:
        return Truncator(tweet.text).chars(140)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By exact ids only: anything else would read the whole table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        number = int(term) if term.isascii() and term.isdigit() and len(term) < 19 else 0
        named = Tweet.objects.with_external_id(term).values_list("pk", flat=True)
        return queryset.filter(pk__in=[number, *named]), False


@admin.register(Annotation)
class AnnotationAdmin(ReadOnlyAdmin):
    list_display = ("id", "tweet_id", "origin", "annotator", "judged", "tag_ids", "created_at")
    list_select_related = ("annotator",)
    list_filter = ("origin",)
    ordering = ("-id",)
    raw_id_fields = ("tweet",)

    @admin.display(description="verdict")
    def judged(self, annotation: Annotation) -> str:
        return "retraction" if annotation.retracts_id else verdict_name(annotation.verdict)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("id", "action", "user", "tweets", "created_at")
    list_select_related = ("user",)
    list_filter = ("action",)
    ordering = ("-id",)
