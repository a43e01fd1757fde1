"""Storage parameters of the tables that are updated thousands of times a second.

Room on every page keeps their updates HOT (no index changes), and they are vacuumed by count, not
by share.
"""

from django.db import migrations

HOT = "fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000"
ROWS = "fillfactor = 85"


class Migration(migrations.Migration):
    dependencies = [("notify", "0001_initial")]
    operations = [
        migrations.RunSQL(
            f"ALTER TABLE {table} SET ({parameters})", reverse_sql=migrations.RunSQL.noop
        )
        for table, parameters in (
            ("stream", HOT),
            ("lane", HOT),
            ("link_count", HOT),
            ("record", ROWS),
        )
    ]
