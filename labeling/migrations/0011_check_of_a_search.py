"""A queue may be the check of a search: a random sample of what nobody had judged."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0010_more_strategies")]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="remainder",
            field=models.JSONField(blank=True, null=True),
        ),
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
                ],
                max_length=16,
            ),
        ),
    ]
