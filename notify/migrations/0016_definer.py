"""`seen_tidy` runs with its owner's rights: from now on with a fixed search_path, and for who is granted it.

With the caller's search_path it would find a table, function or operator of the caller's in the place of
ours, and act on that as the owner. pg_temp stands last, or it would be searched first.
`manage.py database roles` grants the function to bridges.
"""

from django.db import migrations

FIXED = """
DO $$ BEGIN
    EXECUTE format(
        'ALTER FUNCTION %I.seen_tidy(int) SET search_path = %I, pg_temp', current_schema(), current_schema()
    );
END $$;
REVOKE EXECUTE ON FUNCTION seen_tidy(int) FROM PUBLIC;
"""
AS_BEFORE = """
GRANT EXECUTE ON FUNCTION seen_tidy(int) TO PUBLIC;
ALTER FUNCTION seen_tidy(int) RESET search_path;
"""


class Migration(migrations.Migration):
    dependencies = [("notify", "0015_recorded_times")]
    operations = [migrations.RunSQL(FIXED, reverse_sql=AS_BEFORE)]
