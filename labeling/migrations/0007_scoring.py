"""Scoring runs by ranges of ids, counts with each chunk, model files in the database, whose connection is whose.

Published scores stay. A run that was under way starts anew.
"""

from django.db import migrations, models

import labeling.models.versions


def settle_runs(apps, schema_editor):
    """From now on a run says up to which id it scores: for scores that are published, up to the first gap."""
    runs = apps.get_model("labeling", "ScoringRun").objects
    cursor = schema_editor.connection.cursor()
    cursor.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'labeling_score'::regclass"
    )
    published = {int(name.rpartition("_v")[2]) for (name,) in cursor.fetchall()}
    for version in (
        apps.get_model("labeling", "ModelVersion").objects.filter(scoring_runs__isnull=False).distinct()
    ):
        score, tag = f"labeling_score_v{version.pk}", f"labeling_scoretag_v{version.pk}"
        latest = runs.filter(version=version).order_by("-id").first()
        runs.filter(version=version).exclude(job__state="done").delete()
        if version.pk not in published:
            runs.filter(version=version).delete()
            cursor.execute(f"DROP TABLE IF EXISTS {score}, {tag}")
            continue
        cursor.execute(
            f"SELECT coalesce((SELECT min(id) FROM labeling_tweet t WHERE NOT EXISTS (SELECT 1 FROM {score} s"
            " WHERE s.tweet_id = t.id)) - 1, (SELECT max(id) FROM labeling_tweet), 0)"
        )
        (last_id,) = cursor.fetchone()
        cursor.execute(f"DELETE FROM {tag} WHERE tweet_id > %s", [last_id])
        cursor.execute(f"DELETE FROM {score} WHERE tweet_id > %s", [last_id])
        runs.create(
            version=version,
            job=None,
            activates=False,
            created_by=latest.created_by,
            after_id=0,
            last_id=last_id,
        )
    cursor.close()


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0006_page_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Backend",
            fields=[
                ("pid", models.IntegerField(primary_key=True, serialize=False)),
            ],
            options={
                "db_table": "pg_stat_activity",
                "managed": False,
            },
        ),
        migrations.AddField(
            model_name="job",
            name="backend_pid",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="scoringchunk",
            name="backend_pid",
            field=models.IntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="scoringchunk",
            name="counts",
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="scoringrun",
            name="after_id",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="scoringrun",
            name="last_id",
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name="modelversion",
            name="artefact",
            field=models.FileField(
                blank=True,
                max_length=255,
                storage=labeling.models.versions.model_storage,
                upload_to="models/",
            ),
        ),
        migrations.CreateModel(
            name="ModelFilePiece",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("number", models.PositiveIntegerField()),
                ("content", models.BinaryField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("name", "number"), name="model_file_piece_unique")
                ],
            },
        ),
        migrations.RunPython(settle_runs, migrations.RunPython.noop),
    ]
