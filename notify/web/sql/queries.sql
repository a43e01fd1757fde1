-- :topic
-- The active topic: one row, or none before `manage.py topic create`.
SELECT name, partitions FROM topic WHERE active

-- :apps
-- Every app with the digests of its keys that are not revoked.
SELECT app.id::text, app.enabled, app.requires_key,
       coalesce(array_agg(app_key.digest) FILTER (WHERE app_key.revoked_at IS NULL
                                                    AND app_key.id IS NOT NULL), '{}')
FROM app LEFT JOIN app_key ON app_key.app_id = app.id
GROUP BY app.id

-- :record
-- One record that is not deleted; times in whole seconds.
SELECT kind, identifier, tags, properties, session_count, session_time_s, purchase_count,
       spent_micros, floor(extract(epoch FROM created_at))::bigint
FROM record WHERE app = %(app)s AND id = %(id)s AND NOT deleted

-- :streams
-- Every stream of the active topic; the age of its last tick by PostgreSQL's own clock.
SELECT stream.partition, stream.planned, stream.frontier, stream.halted,
       extract(epoch FROM clock_timestamp() - stream.ticked_at)::float8
FROM stream JOIN topic ON topic.id = stream.topic_id
WHERE topic.active
ORDER BY stream.partition
