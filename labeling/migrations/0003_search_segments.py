"""Full-text search leaves the way of COPY: tweets get a search segment, and jobs build an index for each.

What is in the table already becomes segment 1, whose index a job builds after the migration: so that the
migration takes no longer for many tweets, and search says how far it is. New rows are in segment 0.
"""

import django.contrib.postgres.indexes
import django.contrib.postgres.search
import django.db.models.deletion
from django.db import migrations, models

# Every word as it is, but no links: each is a word that no other tweet has, a fifth of an index for nothing. What a
# link leads to (its host) stays.
WORDS = """
CREATE TEXT SEARCH CONFIGURATION tweet_text (COPY = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION tweet_text DROP MAPPING FOR url, url_path, file;
"""


def index_what_is_there(apps, schema_editor):
    if not apps.get_model("labeling", "Tweet").objects.exists():
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(max(id) - min(id) + 1, 0) FROM labeling_tweet"
        )  # about: ids have gaps
        (tweets,) = cursor.fetchone()
    apps.get_model("labeling", "SearchIndex").objects.create(first_segment=1, last_segment=1, tweets=tweets)
    jobs = apps.get_model("labeling", "Job").objects
    if not jobs.filter(state__in=["queued", "running"], exclusive_key="search").exists():
        jobs.create(kind="search", exclusive_key="search")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0002_scores_and_roles")]

    operations = [
        migrations.CreateModel(
            name="SearchIndex",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_segment", models.SmallIntegerField()),
                ("last_segment", models.SmallIntegerField()),
                ("tweets", models.BigIntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[("waiting", "Waiting"), ("building", "Building"), ("ready", "Ready")],
                        default="waiting",
                        max_length=8,
                    ),
                ),
                ("built", models.FloatField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "import_row",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="labeling.import",
                    ),
                ),
            ],
            options={
                "ordering": ["first_segment"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("first_segment", "last_segment"), name="search_index_unique"
                    )
                ],
            },
        ),
        migrations.RunSQL(WORDS, "DROP TEXT SEARCH CONFIGURATION tweet_text"),
        migrations.AlterField(
            model_name="tweet", name="author_hash", field=models.UUIDField(blank=True, null=True)
        ),
        migrations.AddField(
            model_name="import",
            name="deleted_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="import",
            name="deletion",
            field=models.OneToOneField(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deleted_import",
                to="labeling.job",
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
                    ("export", "Export"),
                    ("delete", "Delete an import"),
                ],
                max_length=16,
            ),
        ),
        migrations.RemoveIndex(model_name="tweet", name="tweet_text_search"),
        migrations.RemoveIndex(model_name="tweet", name="tweet_posted_at"),
        migrations.AlterField(model_name="tweet", name="group_hash", field=models.BigIntegerField(null=True)),
        # A constant default is filled in without rewriting the table. Changing it after leaves the old rows at 1.
        migrations.AddField(
            model_name="tweet", name="search_segment", field=models.SmallIntegerField(db_default=1)
        ),
        migrations.AlterField(
            model_name="tweet", name="search_segment", field=models.SmallIntegerField(db_default=0)
        ),
        migrations.AddIndex(
            model_name="tweet",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.search.SearchVector("text", config="tweet_text"),
                condition=models.Q(("search_segment", 0)),
                fastupdate=True,
                gin_pending_list_limit=4096,
                name="tweet_search_0",
            ),
        ),
        migrations.RunPython(index_what_is_there, migrations.RunPython.noop),
    ]
