"""Labels that may be wrong are looked for by a job, and go to review."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("labeling", "0011_check_of_a_search")]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("import", "Import"),
                    ("rules", "Apply rules"),
                    ("train", "Train"),
                    ("score", "Score"),
                    ("search", "Build search"),
                    ("near_copies", "Find near copies"),
                    ("export", "Export"),
                    ("delete", "Delete an import"),
                    ("wrong_labels", "Look for wrong labels"),
                ],
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="reviewitem",
            name="reason",
            field=models.CharField(
                choices=[
                    ("disagreement", "Analysts disagree"),
                    ("unsure", "An analyst was unsure"),
                    ("model", "Contradicts the model"),
                    ("sent", "Sent by a colleague"),
                    ("wrong", "The label may be wrong"),
                ],
                max_length=16,
            ),
        ),
    ]
