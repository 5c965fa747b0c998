"""Marks of what was erased, so that imports leave it out."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0014_listed"),
    ]

    operations = [
        migrations.CreateModel(
            name="ErasedAuthor",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("author_hash", models.UUIDField(unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="ErasedTweet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("mark", models.BigIntegerField(unique=True)),
                ("tweet_id", models.BigIntegerField(blank=True, null=True)),
            ],
        ),
        migrations.AddField(
            model_name="import",
            name="erased",
            field=models.BigIntegerField(default=0),
        ),
        migrations.AlterField(
            model_name="auditevent",
            name="action",
            field=models.CharField(
                choices=[
                    ("export", "Exported"),
                    ("bulk", "Bulk action"),
                    ("undo", "Undone"),
                    ("review", "Reviewed"),
                    ("activate", "Activated a model version"),
                    ("delete", "Deleted"),
                    ("erase", "Erased"),
                ],
                max_length=16,
            ),
        ),
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
                    ("erase", "Erase tweets"),
                    ("wrong_labels", "Look for wrong labels"),
                ],
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="erasedtweet",
            name="job",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                to="labeling.job",
            ),
        ),
    ]
