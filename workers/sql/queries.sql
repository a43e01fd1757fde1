-- :apply
-- Batches of one lane or several, of one stream or several: each moves its lane from prev to last and
-- writes its rows, or does neither. Returns the lanes that were moved. The rows are
-- notify/domain/records/task_rows.py's; a row without l is of the first batch's lane.
-- Reading `old` at the statement's snapshot is right: whoever changed these rows since has moved
-- lane.last away from prev, and then f, which looks at the newest lane row, does not have that lane.
WITH segment AS (
    SELECT *
    FROM unnest(
        %(streams)s::bigint[], %(lanes)s::int[], %(tokens)s::bigint[], %(prevs)s::bigint[], %(lasts)s::bigint[]
    ) AS s (stream, lane, token, prev, last)
),
f AS (
    UPDATE lane
    SET
        last = segment.last,
        tries = CASE WHEN lane.tries < 0 AND segment.last < lane.isolate THEN -1 ELSE 0 END
    FROM segment
    JOIN stream ON stream.id = segment.stream
    WHERE lane.stream = segment.stream
      AND lane.lane = segment.lane
      AND lane.last = segment.prev
      AND stream.token = segment.token
      AND stream.planned > segment.last
    RETURNING lane.stream, lane.lane
),
w AS (
    SELECT rows.*
    FROM json_to_recordset(%(rows)s::json) AS rows (
        s bigint, l int, a uuid, r uuid, z boolean, kind text, identifier text, ir boolean, ip boolean, iu text[],
        ts jsonb, tr text[], td jsonb, ps jsonb, pr text[], pd jsonb,
        session_count bigint, session_time_s bigint, purchase_count bigint, spent_micros bigint,
        mirrored_updates bigint, created_at bigint, updated_at bigint, deleted boolean
    )
    WHERE (rows.s, COALESCE(rows.l, (%(lanes)s::int[])[1])) IN (SELECT stream, lane FROM f)
),
written AS (
    INSERT INTO record (
        app, id, kind, identifier, tags, properties,
        session_count, session_time_s, purchase_count, spent_micros, mirrored_updates,
        created_at, updated_at, deleted
    )
    SELECT
        w.a,
        w.r,
        COALESCE(old.kind, w.kind),
        CASE
            WHEN w.ip AND COALESCE(old.kind, w.kind) IS DISTINCT FROM 'push'
            THEN CASE WHEN w.iu IS NULL THEN old.identifier ELSE w.iu[1] END
            WHEN w.ir THEN NULL
            ELSE COALESCE(w.identifier, old.identifier)
        END,
        COALESCE(w.td, '{}') || (COALESCE(old.tags, '{}') - COALESCE(w.tr, '{}')) || COALESCE(w.ts, '{}'),
        COALESCE(w.pd, '{}') || (COALESCE(old.properties, '{}') - COALESCE(w.pr, '{}')) || COALESCE(w.ps, '{}'),
        COALESCE(old.session_count, 0) + COALESCE(w.session_count, 0),
        COALESCE(old.session_time_s, 0) + COALESCE(w.session_time_s, 0),
        COALESCE(old.purchase_count, 0) + COALESCE(w.purchase_count, 0),
        COALESCE(old.spent_micros, 0) + COALESCE(w.spent_micros, 0),
        COALESCE(old.mirrored_updates, 0) + COALESCE(w.mirrored_updates, 0),
        COALESCE(old.created_at, timestamptz 'epoch' + w.created_at * interval '1 millisecond'),
        timestamptz 'epoch' + w.updated_at * interval '1 millisecond',
        COALESCE(w.deleted, old.deleted, false)
    FROM w
    LEFT JOIN record AS old ON old.app = w.a AND old.id = w.r AND w.z IS NOT TRUE
    ON CONFLICT (app, id) DO UPDATE SET
        kind = excluded.kind,
        identifier = excluded.identifier,
        tags = excluded.tags,
        properties = excluded.properties,
        session_count = excluded.session_count,
        session_time_s = excluded.session_time_s,
        purchase_count = excluded.purchase_count,
        spent_micros = excluded.spent_micros,
        mirrored_updates = excluded.mirrored_updates,
        created_at = excluded.created_at,
        updated_at = excluded.updated_at,
        deleted = excluded.deleted
)
SELECT stream, lane FROM f

-- :try
-- Count a send that may kill this worker. Returns the tries so far, this one included; no row if the
-- batch would be refused. Below zero the lane is sent one offset at a time, and counts from -1 down.
UPDATE lane
SET tries = CASE WHEN lane.tries < 0 THEN lane.tries - 1 ELSE lane.tries + 1 END
FROM stream
WHERE stream.id = %(stream)s
  AND lane.stream = stream.id
  AND lane.lane = %(lane)s
  AND lane.last = %(prev)s
  AND stream.token = %(token)s
  AND stream.planned > %(last)s
RETURNING CASE WHEN lane.tries < 0 THEN -1 - lane.tries ELSE lane.tries END

-- :survived
-- The worker is alive after a failure that is not the payload's: the tries start again.
UPDATE lane
SET tries = CASE WHEN lane.tries < 0 THEN -1 ELSE 0 END
FROM stream
WHERE stream.id = %(stream)s
  AND lane.stream = stream.id
  AND lane.lane = %(lane)s
  AND lane.last = %(prev)s
  AND stream.token = %(token)s
  AND stream.planned > %(last)s
  AND lane.tries NOT IN (0, -1)

-- :isolate
-- Up to `last` the lane's writes are to be sent unmerged; `tries` -1: one offset at a time.
UPDATE lane
SET isolate = GREATEST(lane.isolate, %(last)s), tries = %(tries)s
FROM stream
WHERE stream.id = %(stream)s
  AND lane.stream = stream.id
  AND lane.lane = %(lane)s
  AND lane.last = %(prev)s
  AND stream.token = %(token)s
  AND stream.planned > %(last)s

-- :dead_letter
-- Returns how many dead letters the stream has at or after its frontier, this one included.
WITH new AS (
    INSERT INTO dead_letter (stream, "offset", app, record, error, message)
    VALUES (%(stream)s, %(offset)s, %(app)s, %(record)s, %(error)s, %(message)s)
)
SELECT 1 + count(*)
FROM dead_letter
JOIN stream ON stream.id = dead_letter.stream AND dead_letter."offset" >= stream.frontier
WHERE stream.id = %(stream)s

-- :halt
-- Stop planning and loading the stream until `stream resume`; only the stream's present owner may.
UPDATE stream
SET halted = %(reason)s
WHERE id = %(stream)s AND token = %(token)s AND halted IS NULL
