"""The tags of listed tweets stand among their words, and the rows in the order of risk.

Half a minute for 500,000 listed tweets. Not in one transaction, in which the old rows would be written anew with the
others; cut off, it can be run again.
"""

from django.db import migrations


def add_tags(apps, schema_editor):
    cursor = schema_editor.connection.cursor()
    cursor.execute("SET maintenance_work_mem = '512MB'")
    for version in apps.get_model("labeling", "ModelVersion").objects.all():
        listed, tag = f"labeling_listed_v{version.pk}", f"labeling_scoretag_v{version.pk}"
        cursor.execute("SELECT to_regclass(%s), to_regclass(%s)", [listed, f"{listed}_risk"])
        exists, is_indexed = cursor.fetchone()
        if not exists:
            continue
        cursor.execute(f"DROP INDEX IF EXISTS {listed}_words")  # quicker built anew than kept up
        cursor.execute(
            f"UPDATE {listed} l SET words = l.words || t.tags FROM ("  # noqa: S608 - names of our own
            f"SELECT g.tweet_id, array_to_tsvector(array_agg(DISTINCT 'tag ' || g.tag_id)) AS tags"
            f" FROM {tag} g JOIN {listed} USING (tweet_id) GROUP BY 1) t WHERE t.tweet_id = l.tweet_id"
        )
        if is_indexed:
            cursor.execute(f"CLUSTER {listed} USING {listed}_risk")
            cursor.execute(
                f"CREATE INDEX {listed}_words ON {listed} USING gin (words) WITH (fastupdate = off)"
            )
        cursor.execute(f"ANALYZE {listed}")
    cursor.execute("RESET maintenance_work_mem")


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("labeling", "0018_no_index_twice")]
    operations = [migrations.RunPython(add_tags)]
