"""The review queue."""

from django.contrib import admin

from labeling.models import ReviewItem


@admin.register(ReviewItem)
class ReviewItemAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    pass
