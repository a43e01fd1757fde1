"""Rows that exist before the first update, in the tables of Notify and of the other contenders."""

from typing import Final

from psycopg import sql

from tests.qa.benchmarks.contenders.shapes import ROW_ID, Shape, app_ids, rows_name
from tests.running import Running

#: When the rows were created, in milliseconds since 1970.
CREATED_AT: Final = 1_700_000_000_000
_FILL: Final = f"""
    INSERT INTO {{}} (app, id, tags, session_count, mirrored_updates, created_at, updated_at)
    SELECT (%(apps)s::uuid[])[n %% %(count)s + 1], {ROW_ID}, '{{{{}}}}', 0, 0,
        to_timestamp(%(at)s / 1000.0), to_timestamp(%(at)s / 1000.0)
    FROM generate_series(0, %(rows)s - 1) AS n
    ON CONFLICT DO NOTHING
"""
_RESET: Final = """
    UPDATE {} SET tags = '{{}}', session_count = 0, updated_at = created_at
    WHERE app = ANY(%(apps)s::uuid[]) AND session_count > 0
"""


def fill(run: Running, shape: Shape, table: str) -> None:
    """Makes the rows as if no update had come: the first time, it inserts them."""
    names = rows_name(shape, 0)
    values = {
        "apps": app_ids(names),
        "count": len(app_ids(names)),
        "names": names,
        "rows": shape.records,
        "at": CREATED_AT,
    }
    filled = "SELECT 1 FROM {} WHERE app = ANY(%(apps)s::uuid[]) LIMIT 1"
    exists = run.sql.execute(sql.SQL(filled).format(sql.Identifier(table)), values).fetchall()
    run.sql.execute(sql.SQL(_RESET if exists else _FILL).format(sql.Identifier(table)), values)
    run.sql.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))
