"""The message ids of clients whose updates were counted, an hour a partition, dropped whole.

Not a model: Django knows no partitioned tables, and nobody but the tick reads it. `seen_tidy` is run
by every bridge every ten minutes. Rows of an hour whose partition does not exist (no bridge ran in the
hours before) go to `seen_rest`, so no tick ever fails for want of a partition.
"""

from django.db import migrations

SEEN = """
CREATE TABLE seen (at timestamptz NOT NULL, app uuid NOT NULL, message uuid NOT NULL)
PARTITION BY RANGE (at);
CREATE INDEX seen_message ON seen (app, message);
CREATE TABLE seen_rest PARTITION OF seen DEFAULT;

CREATE FUNCTION seen_tidy(hours int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    starts timestamptz;
    old text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('notify.seen'));
    FOR starts IN
        SELECT date_trunc('hour', now(), 'UTC') + n * interval '1 hour' FROM generate_series(0, 2) AS n
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE TABLE IF NOT EXISTS %I PARTITION OF seen FOR VALUES FROM (%L) TO (%L)',
                'seen_' || to_char(starts AT TIME ZONE 'UTC', 'YYYYMMDDHH24'),
                starts, starts + interval '1 hour'
            );
        EXCEPTION WHEN check_violation THEN
            NULL; -- rows of this hour are in seen_rest already: they stay there
        END;
    END LOOP;
    FOR old IN
        SELECT child.relname FROM pg_inherits
        JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
        WHERE pg_inherits.inhparent = 'seen'::regclass AND child.relname <> 'seen_rest'
            AND to_timestamp(right(child.relname, 10) || '+00', 'YYYYMMDDHH24TZH')
                <= now() - (hours + 1) * interval '1 hour'
    LOOP
        EXECUTE format('DROP TABLE %I', old);
    END LOOP;
    DELETE FROM seen_rest WHERE at <= now() - hours * interval '1 hour';
END
$$;
"""
NOT_SEEN = "DROP FUNCTION seen_tidy(int); DROP TABLE seen;"


class Migration(migrations.Migration):
    dependencies = [("notify", "0003_identity")]
    operations = [migrations.RunSQL(SEEN, reverse_sql=NOT_SEEN)]
