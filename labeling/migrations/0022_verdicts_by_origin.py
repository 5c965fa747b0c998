"""How many labels have a verdict of some origin, for the planner: most have none of either, and it took the two to be
independent. So it took the labels by people for one in twenty of what they are, and looked each of them up in the list."""

from django.db import migrations

CREATE = [
    "CREATE STATISTICS label_verdicts (mcv) ON verdict, verdict_origin FROM labeling_label",
    "ANALYZE labeling_label",
]


class Migration(migrations.Migration):
    dependencies = [("labeling", "0021_labels_by_rules")]
    operations = [migrations.RunSQL(CREATE, "DROP STATISTICS label_verdicts")]
