-- :known
-- Those of the ids that anything is known of in the app: a row, links, or updates that came for it.
-- By indexes: EXISTS among ORs is planned as a hash of the whole table, and LIMIT 1 as a scan that finds
-- its row at the start; bool_or is neither, and is asked only of what has no row and no links.
SELECT wanted.id::text, record.kind, record.deleted
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
LEFT JOIN record ON record.app = %(app)s AND record.id = wanted.id
WHERE record.id IS NOT NULL
    OR (SELECT true FROM link WHERE app = %(app)s AND child = wanted.id LIMIT 1)
    OR (SELECT true FROM link_count WHERE app = %(app)s AND parent = wanted.id AND n > 0 LIMIT 1)
    OR (SELECT true FROM skip_rule WHERE app_id = %(app)s AND skip_rule.record = wanted.id LIMIT 1)
    OR (SELECT bool_or(app = %(app)s) FROM hot WHERE hot.record = wanted.id)
    OR (SELECT bool_or(app = %(app)s) FROM skipped WHERE skipped.record = wanted.id)
    OR (SELECT bool_or(app = %(app)s) FROM dead_letter WHERE dead_letter.record = wanted.id)

-- :row
SELECT
    kind, identifier, tags, properties, session_count, session_time_s, purchase_count, spent_micros,
    mirrored_updates, created_at, updated_at, deleted
FROM record WHERE app = %(app)s AND id = %(record)s

-- :own_links
-- The record's links, each with whether it counts: a link of an older generation is to nobody.
SELECT link.label, link.parent, link.parent_gen = coalesce(parent.gen, 0)
FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
WHERE link.app = %(app)s AND link.child = %(record)s AND link.label <> 'login'
ORDER BY link.label
LIMIT %(most)s

-- :children
-- How many children it has in its generation.
SELECT counted.label, counted.n
FROM link_count AS counted
WHERE counted.app = %(app)s AND counted.parent = %(record)s AND counted.n > 0
    AND counted.gen = coalesce((SELECT gen FROM parent WHERE app = %(app)s AND id = %(record)s), 0)
ORDER BY counted.n DESC

-- :lane
-- The partition's stream with the lane's own row and its last sample.
SELECT
    stream.planned, stream.frontier, stream.halted, lane.last, lane.tries, sample.writes,
    sample.oldest_s, sample.attempt, extract(epoch FROM clock_timestamp() - sample.at)::float8
FROM stream
LEFT JOIN lane ON lane.stream = stream.id AND lane.lane = %(lane)s
LEFT JOIN lane_sample AS sample ON sample.stream = stream.id AND sample.lane = %(lane)s
WHERE stream.id = %(stream)s

-- :changes
-- Its updates by slot of a day (0 is the oldest), in the buckets in which it was among the hot ones.
SELECT
    floor(extract(epoch FROM bucket - %(since)s) / %(slot_s)s)::int AS slot,
    sum(direct)::bigint, sum(mirrored)::bigint
FROM hot
WHERE record = %(record)s AND app = %(app)s AND bucket >= %(since)s AND bucket < %(until)s
GROUP BY slot

-- :skipped
SELECT at, reason, rule, first, last, n
FROM skipped
WHERE record = %(record)s AND app = %(app)s
ORDER BY id DESC
LIMIT %(most)s

-- :dead
SELECT id, at, "offset", error
FROM dead_letter
WHERE record = %(record)s AND app = %(app)s
ORDER BY id DESC
LIMIT %(most)s
