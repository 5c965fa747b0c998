"""Audits: how the tweets of a queue were drawn, so that the whole corpus can be estimated from their labels."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0012_wrong_labels")]

    operations = [
        migrations.AlterField(
            model_name="queue",
            name="strategy",
            field=models.CharField(
                choices=[
                    ("uncertain", "Most uncertain"),
                    ("risk", "Highest risk"),
                    ("diverse", "Risky and varied"),
                    ("rare_tag", "A tag too rare to learn"),
                    ("random", "Random"),
                    ("remainder", "Check of a search"),
                    ("selected", "Selected by hand"),
                    ("audit", "Audit"),
                ],
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="Audit",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_id", models.BigIntegerField()),
                ("last_id", models.BigIntegerField()),
                ("tweets", models.BigIntegerField()),
                ("strata", models.JSONField()),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "queue",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="audit", to="labeling.queue"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, to="labeling.modelversion"
                    ),
                ),
            ],
            options={"ordering": ["-id"]},
        ),
    ]
