"""How common each word is, for the planner: it takes no such statistics from the search indexes, which are partial.

ANALYZE gathers them; the job that builds the indexes runs it.
"""

from django.db import migrations

CREATE = """
CREATE STATISTICS tweet_words ON (to_tsvector('tweet_text'::regconfig, COALESCE(text, ''::text))) FROM labeling_tweet
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0007_scoring")]
    operations = [migrations.RunSQL(CREATE, "DROP STATISTICS tweet_words")]
