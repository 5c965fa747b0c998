"""Which tweets each search index holds, so that a search can ask the newest first and stop there."""

from __future__ import annotations

from django.db import migrations, models

# One pass over all tweets: seconds at 20 million. Without indexes that are ready there is nothing to read for.
BOUNDS = """
UPDATE labeling_searchindex AS i SET first_id = b.first_id, last_id = b.last_id
FROM (
    SELECT s.id, min(t.first_id) AS first_id, max(t.last_id) AS last_id
    FROM labeling_searchindex AS s
    JOIN (
        SELECT search_segment, min(id) AS first_id, max(id) AS last_id FROM labeling_tweet
        WHERE search_segment > 0 AND EXISTS (SELECT FROM labeling_searchindex WHERE state = 'ready')
        GROUP BY search_segment
    ) AS t ON t.search_segment BETWEEN s.first_segment AND s.last_segment
    WHERE s.state = 'ready'
    GROUP BY s.id
) AS b
WHERE b.id = i.id
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0015_erased")]

    operations = [
        migrations.AddField("searchindex", "first_id", models.BigIntegerField(default=0)),
        migrations.AddField("searchindex", "last_id", models.BigIntegerField(default=2**63 - 1)),
        migrations.RunSQL(BOUNDS, migrations.RunSQL.noop),
    ]
