"""A queue may hold tweets that are risky and unlike each other."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0009_cascade")]

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
                    ("selected", "Selected by hand"),
                ],
                max_length=16,
            ),
        ),
    ]
