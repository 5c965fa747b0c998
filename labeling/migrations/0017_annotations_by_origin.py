"""Judgements by origin, newest first, without a walk past those that rules have made."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0016_search_bounds")]

    operations = [
        migrations.AddIndex(
            "annotation",
            models.Index(
                fields=["origin", "id"], condition=models.Q(origin__gt=1), name="annotation_not_rule"
            ),
        ),
    ]
