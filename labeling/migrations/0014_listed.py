"""Listed scores in a table of their own, with their words; the partial indexes on risk and date that it replaces go,
and so does the date of all the others, which nothing reads.

For every version that has scores: some 50 µs for each score at the version's floor or above. Cannot be reversed.
"""

from django.db import migrations

CREATE = """
CREATE TABLE labeling_listed (
    tweet_id bigint NOT NULL,
    posted_at timestamptz,
    version_id integer NOT NULL,
    risk real NOT NULL,
    source smallint NOT NULL,
    words tsvector NOT NULL
) PARTITION BY LIST (version_id)
"""
INDEXES = """
CREATE INDEX {listed}_risk ON {listed} (risk DESC, tweet_id DESC) INCLUDE (source, posted_at);
CREATE INDEX {listed}_date ON {listed} (posted_at) INCLUDE (risk, tweet_id, source);
CREATE UNIQUE INDEX {listed}_tweet ON {listed} (tweet_id);
CREATE INDEX {listed}_words ON {listed} USING gin (words) WITH (fastupdate = off);
"""
MAX_FLOOR = 0.1
DEFAULT_THRESHOLD = 0.5


def list_scores(apps, schema_editor):
    cursor = schema_editor.connection.cursor()
    cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
    for version in apps.get_model("labeling", "ModelVersion").objects.all():
        score, listed = f"labeling_score_v{version.pk}", f"labeling_listed_v{version.pk}"
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid) FROM pg_class c"
            " WHERE c.oid = to_regclass(%s)",
            [score],
        )
        found = cursor.fetchone()
        if found is None:
            continue
        threshold = DEFAULT_THRESHOLD if version.threshold is None else version.threshold
        floor = float(version.score_summary.get("floor", min(MAX_FLOOR, threshold / 2)))
        # Not the settings of tables made by a run, which its job vacuums: of these, autovacuum does.
        cursor.execute(f"CREATE TABLE {listed} (LIKE labeling_listed, CHECK (version_id = {version.pk}))")
        cursor.execute(
            f"INSERT INTO {listed} SELECT s.tweet_id, s.posted_at, s.version_id, s.risk, s.source,"
            " to_tsvector('tweet_text'::regconfig, COALESCE(t.text, ''))"
            f" FROM {score} s JOIN labeling_tweet t ON t.id = s.tweet_id WHERE s.risk >= {floor!r}::real"
        )
        if found[0]:  # published
            cursor.execute(INDEXES.format(listed=listed))
            cursor.execute(
                f"ALTER TABLE labeling_listed ATTACH PARTITION {listed} FOR VALUES IN ({version.pk})"
            )
        cursor.execute(f"ANALYZE {listed}; DROP INDEX IF EXISTS {score}_risk, {score}_date")
        if not found[0]:
            cursor.execute(f"ALTER TABLE {score} DROP COLUMN posted_at")


class Migration(migrations.Migration):
    dependencies = [("labeling", "0013_audit")]
    operations = [
        migrations.RunSQL(CREATE),
        migrations.RunPython(list_scores),
        migrations.RunSQL("ALTER TABLE labeling_score DROP COLUMN posted_at"),
        migrations.RemoveField("score", "posted_at"),
    ]
