"""What the ORM cannot say: the partitioned score tables, and the groups of the three roles."""

from django.db import migrations

CREATE = """
CREATE TABLE labeling_score (
    tweet_id bigint NOT NULL,
    posted_at timestamptz,
    version_id integer NOT NULL,
    risk real NOT NULL,
    source smallint NOT NULL,
    tag_bytes bytea NOT NULL
) PARTITION BY LIST (version_id);

CREATE TABLE labeling_scoretag (
    tweet_id bigint NOT NULL,
    version_id integer NOT NULL,
    tag_id integer NOT NULL,
    probability real NOT NULL,
    risk real NOT NULL
) PARTITION BY LIST (version_id);

-- Bulk loads append to the index's pending list; a job of its own files it afterwards (labeling/search_index.py).
-- Autovacuum and auto-analyze would file it, too, in the middle of an import and at twice the import's cost, so
-- new rows alone do not call them: that job vacuums and analyses. Dead rows still do.
ALTER INDEX tweet_text_search SET (fastupdate = on, gin_pending_list_limit = 1048576);
ALTER TABLE labeling_tweet SET (
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 2000000000
);
"""
DROP = "DROP TABLE labeling_score; DROP TABLE labeling_scoretag;"


def create_groups(apps, schema_editor):
    for name in ("analyst", "reviewer", "admin"):
        apps.get_model("auth", "Group").objects.get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [("labeling", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]
    operations = [
        migrations.RunSQL(CREATE, DROP),
        migrations.RunPython(create_groups, migrations.RunPython.noop),
    ]
