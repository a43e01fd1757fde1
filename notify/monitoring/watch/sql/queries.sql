-- :try_lock
-- Whether this session has the leader's lock now; only one session of the database can have it.
SELECT pg_try_advisory_lock(%(lock)s)

-- :release
SELECT pg_advisory_unlock(%(lock)s)

-- :set_idle_timeout
-- A watcher that sends nothing for this long loses its session, and with it the lock.
SELECT set_config('idle_session_timeout', %(ms)s, false)

-- :name_itself
INSERT INTO watcher (id, name, at, redis_away_since)
VALUES (1, %(name)s, clock_timestamp(), clock_timestamp() - make_interval(secs => %(redis_away_s)s))
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, at = excluded.at, redis_away_since = excluded.redis_away_since

-- :lanes
-- How many lanes the active topic has.
SELECT coalesce(max(stream.lanes), 0)
FROM stream JOIN topic ON topic.id = stream.topic_id
WHERE topic.active

-- :queues
INSERT INTO queue_sample (lane, at, tasks, workers)
SELECT lane, clock_timestamp() - make_interval(secs => %(ago_s)s), tasks, workers
FROM unnest(%(lanes)s::int[], %(tasks)s::bigint[], %(workers)s::int[]) AS seen (lane, tasks, workers)
ON CONFLICT (lane) DO UPDATE SET at = excluded.at, tasks = excluded.tasks, workers = excluded.workers

-- :forget_queues
DELETE FROM queue_sample WHERE lane >= %(lanes)s

-- :workers
-- Progress: a task has ended since, or there is none. A count that fell is of a worker that began anew.
INSERT INTO worker_sample (name, seen_at, progressed_at, active, processed, offline)
SELECT name, seen_at, seen_at, active, processed, offline
FROM (
    SELECT name, clock_timestamp() - make_interval(secs => ago_s) AS seen_at, active, processed, offline
    FROM unnest(
        %(names)s::text[], %(ago_s)s::float8[], %(active)s::int[], %(processed)s::bigint[],
        %(offline)s::bool[]
    ) AS heard (name, ago_s, active, processed, offline)
) AS seen
ON CONFLICT (name) DO UPDATE SET
    seen_at = excluded.seen_at,
    progressed_at = CASE
        WHEN excluded.active = 0 OR excluded.processed <> worker_sample.processed
        THEN excluded.seen_at ELSE worker_sample.progressed_at
    END,
    active = excluded.active, processed = excluded.processed, offline = excluded.offline

-- :forget_workers
DELETE FROM worker_sample WHERE seen_at < clock_timestamp() - make_interval(secs => %(after_s)s)

-- :open_alerts
SELECT id, key, kind FROM alert WHERE closed_at IS NULL

-- :open
INSERT INTO alert (key, kind, level, app, record, text, path)
VALUES (%(key)s, %(kind)s, %(level)s, %(app)s, %(record)s, %(text)s, %(path)s)
ON CONFLICT (key) WHERE closed_at IS NULL DO NOTHING
RETURNING id

-- :refresh
UPDATE alert SET level = %(level)s, text = %(text)s, path = %(path)s, seen_at = clock_timestamp()
WHERE id = %(id)s AND closed_at IS NULL

-- :close
UPDATE alert SET closed_at = clock_timestamp() WHERE id = %(id)s AND closed_at IS NULL
RETURNING kind, app, record, text, extract(epoch FROM closed_at - opened_at)::float8

-- :forget_alerts
DELETE FROM alert WHERE closed_at < clock_timestamp() - make_interval(days => %(days)s)

-- :due_posts
-- Alerts of which the webhook does not know yet that they opened, or that they closed.
SELECT
    alert.id, alert.key, alert.kind, alert.level, alert.text, alert.app, app.name, alert.record,
    alert.path, alert.opened_at, alert.closed_at, alert.posted_at IS NOT NULL, clock_timestamp()
FROM alert LEFT JOIN app ON app.id = alert.app
WHERE (alert.posted_at IS NULL OR alert.posted_at < alert.closed_at)
    AND (alert.closed_at IS NULL OR alert.closed_at >= clock_timestamp() - make_interval(hours => %(hours)s))
ORDER BY alert.id
LIMIT 200

-- :due_mails
-- The same for e-mail.
SELECT
    alert.id, alert.key, alert.kind, alert.level, alert.text, alert.app, app.name, alert.record,
    alert.path, alert.opened_at, alert.closed_at, alert.mailed_at IS NOT NULL, clock_timestamp()
FROM alert LEFT JOIN app ON app.id = alert.app
WHERE (alert.mailed_at IS NULL OR alert.mailed_at < alert.closed_at)
    AND (alert.closed_at IS NULL OR alert.closed_at >= clock_timestamp() - make_interval(hours => %(hours)s))
ORDER BY alert.id
LIMIT 200

-- :posted
-- As of when it was read: what happened since is still to be sent.
UPDATE alert SET posted_at = %(at)s, error = %(error)s WHERE id = %(id)s

-- :mailed
UPDATE alert SET mailed_at = %(at)s, error = %(error)s WHERE id = %(id)s

-- :failed
UPDATE alert SET tries = tries + 1, error = %(error)s WHERE id = %(id)s
