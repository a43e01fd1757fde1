-- :peek
SELECT
    stream.id, stream.topic_id::text, stream.partition, stream.lanes, stream.lanes_wanted, stream.token,
    stream.planned, stream.frontier, stream.halted, stream.last_offset,
    stream.last_digest, stream.last_planned, topic.partitions
FROM topic
JOIN stream ON stream.topic_id = topic.id
WHERE topic.active AND stream.partition = %(partition)s

-- :halt
UPDATE stream
SET halted = %(reason)s
WHERE id = %(stream)s AND planned = %(planned)s AND frontier = %(frontier)s AND halted IS NULL

-- :resume
UPDATE stream SET halted = NULL WHERE id = %(stream)s AND halted = %(reason)s

-- :lock_streams
-- In id order, so that two ticks never wait for each other in a circle.
SELECT
    id, topic_id::text, partition, lanes, lanes_wanted, token, planned, frontier, halted,
    last_offset, last_digest, last_planned,
    (extract(epoch FROM now()) * 1000)::bigint
FROM stream
WHERE id = ANY(%(streams)s)
ORDER BY id
FOR NO KEY UPDATE

-- :end_stopped_ticks
-- The state and the wait are those of a pipeline that stopped before its Sync: no time limit of PostgreSQL
-- before 17 ends it, and its locks stay.
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = %(of)s
    AND state = 'active' AND wait_event = 'ClientRead'
    AND state_change < now() - %(ms)s * interval '1 millisecond'

-- :set_token
UPDATE stream SET token = %(token)s WHERE id = %(stream)s

-- :lanes
SELECT stream, lane, last, isolate, tries FROM lane WHERE stream = ANY(%(streams)s)

-- :plan
SELECT first, next, decisions, digests FROM plan WHERE stream = %(stream)s AND next > %(frontier)s ORDER BY first

-- :drop_lanes
DELETE FROM lane WHERE stream = %(stream)s

-- :make_lanes
-- A drained stream's lanes all stand just before the next offset to be planned.
INSERT INTO lane (stream, lane, last)
SELECT id, number, planned - 1 FROM stream, generate_series(0, lanes_wanted - 1) AS number
WHERE id = %(stream)s

-- :set_lanes
UPDATE stream SET lanes = lanes_wanted WHERE id = %(stream)s

-- :policy_version
SELECT version FROM policy_head WHERE id = 1

-- :skip_rules
SELECT app::text, record::text, rule, scope, (extract(epoch FROM expires_at) * 1000)::bigint
FROM (
    SELECT DISTINCT ON (app_id, record) app_id AS app, record, rule, scope, expires_at, active
    FROM skip_rule
    WHERE version <= %(version)s
    ORDER BY app_id, record, version DESC
) AS newest
WHERE active

-- :link_limits
SELECT app::text, label, children, (extract(epoch FROM expires_at) * 1000)::bigint
FROM (
    SELECT DISTINCT ON (app_id, label) app_id AS app, label, children, expires_at
    FROM link_limit
    WHERE version <= %(version)s
    ORDER BY app_id, label, version DESC
) AS newest
WHERE children IS NOT NULL

-- :links
-- Three kinds of rows in one answer: links have a child; generations neither child nor label; counts n.
WITH linked AS MATERIALIZED (
    SELECT link.app, link.child, link.label, link.parent, link.parent_gen
    FROM unnest(%(child_apps)s::uuid[], %(children)s::uuid[]) AS wanted (app, child)
    JOIN link ON link.app = wanted.app AND link.child = wanted.child
),
asked AS MATERIALIZED (
    SELECT app, id, parent.gen
    FROM (
        SELECT app, parent AS id FROM linked
        UNION
        SELECT * FROM unnest(%(parent_apps)s::uuid[], %(parents)s::uuid[])
    ) AS wanted
    LEFT JOIN parent USING (app, id)
)
SELECT app::text, child::text, label, parent::text, parent_gen, NULL::bigint FROM linked
UNION ALL
SELECT app::text, NULL, NULL, id::text, gen, NULL FROM asked WHERE gen IS NOT NULL
UNION ALL
SELECT counted.app::text, NULL, counted.label, counted.parent::text, counted.gen, counted.n
FROM asked
JOIN link_count AS counted
    ON counted.app = asked.app AND counted.parent = asked.id AND counted.gen = COALESCE(asked.gen, 0)

-- :seen
SELECT seen.app::text, seen.message::text
FROM unnest(%(apps)s::uuid[], %(digests)s::uuid[]) AS wanted (app, message)
JOIN seen ON seen.app = wanted.app AND seen.message = wanted.message
WHERE seen.at > now() - %(hours)s * interval '1 hour'

-- :dead_letters
SELECT count(*) FROM dead_letter WHERE stream = %(stream)s AND "offset" >= %(frontier)s

-- :progress
-- Each of these three writes what a tick changes of all its streams.
UPDATE stream
SET frontier = new.frontier, planned = new.planned, ticked_at = now(),
    last_offset = new.last_offset, last_digest = new.last_digest, last_planned = new.last_planned,
    waiting_since = CASE
        WHEN new.frontier >= new.planned THEN NULL
        WHEN waiting_at = new.frontier THEN waiting_since
        ELSE now()
    END,
    waiting_at = CASE WHEN new.frontier < new.planned THEN new.frontier END
FROM unnest(
    %(stream)s::bigint[], %(frontier)s::bigint[], %(planned)s::bigint[],
    %(last_offset)s::bigint[], %(last_digest)s::bigint[], %(last_planned)s::bigint[]
) AS new (stream, frontier, planned, last_offset, last_digest, last_planned)
WHERE id = new.stream

-- :drop_plan
DELETE FROM plan
USING unnest(%(streams)s::bigint[], %(frontiers)s::bigint[]) AS passed (stream, frontier)
WHERE plan.stream = passed.stream AND plan.next <= passed.frontier

-- :write_plan
WITH planned AS (
    SELECT * FROM unnest(
        %(streams)s::bigint[], %(firsts)s::bigint[], %(nexts)s::bigint[],
        %(decisions)s::bytea[], %(digests)s::bytea[], %(policy_versions)s::bigint[]
    ) AS chunk (stream, first, next, decisions, digests, policy_version)
),
logged AS (
    INSERT INTO plan_log (stream, first, next, policy_version, at)
    SELECT stream, first, next, policy_version, now() FROM planned
)
INSERT INTO plan (stream, first, next, decisions, digests)
SELECT stream, first, next, decisions, digests FROM planned

-- :write_links
INSERT INTO link (app, child, label, parent, parent_gen)
SELECT * FROM unnest(
    %(apps)s::uuid[], %(children)s::uuid[], %(labels)s::text[], %(parents)s::uuid[], %(gens)s::bigint[]
)
ON CONFLICT (app, child, label) DO UPDATE SET
    parent = excluded.parent, parent_gen = excluded.parent_gen, linked_at = excluded.linked_at

-- :drop_links
DELETE FROM link
USING unnest(%(apps)s::uuid[], %(children)s::uuid[], %(labels)s::text[]) AS gone (app, child, label)
WHERE link.app = gone.app AND link.child = gone.child AND link.label = gone.label

-- :write_parents
INSERT INTO parent (app, id, gen)
SELECT * FROM unnest(%(apps)s::uuid[], %(parents)s::uuid[], %(gens)s::bigint[])
ON CONFLICT (app, id) DO UPDATE SET gen = excluded.gen

-- :write_link_counts
INSERT INTO link_count (app, parent, label, gen, n)
SELECT * FROM unnest(
    %(apps)s::uuid[], %(parents)s::uuid[], %(labels)s::text[], %(gens)s::bigint[], %(ns)s::bigint[]
)
ON CONFLICT (app, parent, label, gen) DO UPDATE SET n = excluded.n

-- :write_skipped
-- What a rule dropped has a row each, since replays count rows; what was refused one for ten seconds.
INSERT INTO skipped (stream, app, record, reason, rule, first, last, n, bucket)
SELECT %(stream)s, app, record, reason, rule, first, last, n,
    CASE WHEN reason <> 'skip_rule'
        THEN to_timestamp(floor(extract(epoch FROM now()) / 10) * 10) END
FROM unnest(
    %(apps)s::uuid[], %(records)s::uuid[], %(reasons)s::text[], %(rules)s::bigint[],
    %(firsts)s::bigint[], %(lasts)s::bigint[], %(ns)s::bigint[]
) AS new (app, record, reason, rule, first, last, n)
ON CONFLICT (
    stream, app, reason, bucket, coalesce(record, '00000000-0000-0000-0000-000000000000'::uuid)
) WHERE bucket IS NOT NULL
DO UPDATE SET last = excluded.last, n = skipped.n + excluded.n, at = excluded.at

-- :write_skip_counts
INSERT INTO skip_count (stream, rule, hits, last_at)
SELECT %(stream)s, rule, n, now() FROM unnest(%(rules)s::bigint[], %(ns)s::bigint[]) AS hit (rule, n)
ON CONFLICT (stream, rule) DO UPDATE SET hits = skip_count.hits + excluded.hits, last_at = excluded.last_at

-- :write_dead
INSERT INTO dead_letter (stream, "offset", app, record, error, message)
SELECT %(stream)s, * FROM unnest(
    %(offsets)s::bigint[], %(apps)s::uuid[], %(records)s::uuid[], %(errors)s::text[], %(messages)s::bytea[]
)

-- :write_seen
INSERT INTO seen (at, app, message)
SELECT now(), * FROM unnest(%(apps)s::uuid[], %(digests)s::uuid[])

-- :write_hot
INSERT INTO hot (bucket, stream, app, record, direct, mirrored, error)
SELECT to_timestamp(bucket / 1000.0), stream, app, record, direct, mirrored, error
FROM unnest(
    %(bucket)s::bigint[], %(stream)s::bigint[], %(app)s::uuid[], %(record)s::uuid[],
    %(direct)s::bigint[], %(mirrored)s::bigint[], %(error)s::bigint[]
) AS new (bucket, stream, app, record, direct, mirrored, error)
ON CONFLICT (bucket, stream, app, record) DO UPDATE SET
    direct = hot.direct + excluded.direct,
    mirrored = hot.mirrored + excluded.mirrored,
    error = GREATEST(hot.error, excluded.error)

-- :write_app_samples
INSERT INTO app_sample (bucket, stream, app, updates, mirrored, error)
SELECT to_timestamp(bucket / 1000.0), stream, app, updates, mirrored, error
FROM unnest(
    %(bucket)s::bigint[], %(stream)s::bigint[], %(app)s::uuid[],
    %(updates)s::bigint[], %(mirrored)s::bigint[], %(error)s::bigint[]
) AS new (bucket, stream, app, updates, mirrored, error)
ON CONFLICT (bucket, stream, app) DO UPDATE SET
    updates = app_sample.updates + excluded.updates,
    mirrored = app_sample.mirrored + excluded.mirrored,
    error = GREATEST(app_sample.error, excluded.error)

-- :write_stream_samples
INSERT INTO stream_sample (
    bucket, stream, at, bridge, log_end, planned, frontier, lag_s, lag_s_max, unread_s, unheard_s,
    held_bytes, held_writes, paused, messages, accepted_s, writes, mirrored, skipped, dead
)
SELECT
    to_timestamp(bucket / 1000.0), stream, now(), %(bridge)s, log_end, planned, frontier, lag_s, lag_s,
    unread_s, unheard_s, held_bytes, held_writes, paused, messages, accepted_s, writes, mirrored,
    skipped, dead
FROM unnest(
    %(bucket)s::bigint[], %(stream)s::bigint[], %(log_end)s::bigint[], %(planned)s::bigint[],
    %(frontier)s::bigint[], %(lag_s)s::float8[], %(unread_s)s::float8[], %(unheard_s)s::float8[],
    %(held_bytes)s::bigint[], %(held_writes)s::bigint[], %(paused)s::boolean[], %(messages)s::bigint[],
    %(accepted_s)s::float8[], %(writes)s::bigint[], %(mirrored)s::bigint[], %(skipped)s::bigint[], %(dead)s::bigint[]
) AS new (
    bucket, stream, log_end, planned, frontier, lag_s, unread_s, unheard_s, held_bytes, held_writes,
    paused, messages, accepted_s, writes, mirrored, skipped, dead
)
ON CONFLICT (bucket, stream) DO UPDATE SET
    at = excluded.at,
    bridge = excluded.bridge,
    log_end = excluded.log_end,
    planned = excluded.planned,
    frontier = excluded.frontier,
    lag_s = excluded.lag_s,
    lag_s_max = GREATEST(stream_sample.lag_s_max, excluded.lag_s),
    unread_s = excluded.unread_s,
    unheard_s = excluded.unheard_s,
    held_bytes = excluded.held_bytes,
    held_writes = excluded.held_writes,
    paused = excluded.paused,
    messages = stream_sample.messages + excluded.messages,
    accepted_s = stream_sample.accepted_s + excluded.accepted_s,
    writes = stream_sample.writes + excluded.writes,
    mirrored = stream_sample.mirrored + excluded.mirrored,
    skipped = stream_sample.skipped + excluded.skipped,
    dead = stream_sample.dead + excluded.dead

-- :write_lane_samples
INSERT INTO lane_sample (stream, lane, at, writes, oldest_s, attempt)
SELECT stream, lane, now(), writes, oldest_s, attempt
FROM unnest(
    %(stream)s::bigint[], %(lane)s::int[], %(writes)s::bigint[], %(oldest_s)s::float8[], %(attempt)s::int[]
) AS new (stream, lane, writes, oldest_s, attempt)
ON CONFLICT (stream, lane) DO UPDATE SET
    at = excluded.at, writes = excluded.writes, oldest_s = excluded.oldest_s, attempt = excluded.attempt

-- :write_start
INSERT INTO bridge_start (name) VALUES (%(bridge)s)

-- :tidy_starts
DELETE FROM bridge_start WHERE at < now() - %(hours)s * interval '1 hour'

-- :tidy_plan_log
DELETE FROM plan_log WHERE at < now() - %(days)s * interval '1 day'

-- :tidy_skipped
-- The oldest, so many at a time: the bridge waits for it.
DELETE FROM skipped WHERE id IN (
    SELECT id FROM skipped WHERE at < now() - %(days)s * interval '1 day' ORDER BY at LIMIT %(most)s
)

-- :tidy_dead_letters
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter WHERE at < now() - %(days)s * interval '1 day' ORDER BY at LIMIT %(most)s
)

-- :tidy_seen
SELECT seen_tidy(%(hours)s)

-- :tidy_hot
DELETE FROM hot WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_app_samples
DELETE FROM app_sample WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_refused_samples
-- What web wrote.
DELETE FROM refused_sample WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_unavailable_samples
DELETE FROM unavailable_sample WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_left_out_samples
-- What web wrote.
DELETE FROM left_out_sample WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_stream_samples
DELETE FROM stream_sample WHERE bucket < now() - %(hours)s * interval '1 hour'

-- :tidy_lane_samples
-- Of streams and lanes that are no more.
DELETE FROM lane_sample WHERE at < now() - %(hours)s * interval '1 hour'
