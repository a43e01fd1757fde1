-- :topic
-- The active topic: one row, or none before `manage.py topic create`.
SELECT name, partitions FROM topic WHERE active

-- :apps
-- Every app with the digests of its keys and with its public keys, those that are not revoked.
SELECT app.id::text, app.enabled, app.requires_key, coalesce(secret.digests, '{}'),
       app.requires_identity, coalesce(public.pems, '{}'), app.requests_per_s, app.nobody_names
FROM app
LEFT JOIN (
    SELECT app_id, array_agg(digest) AS digests FROM app_key WHERE revoked_at IS NULL GROUP BY app_id
) AS secret ON secret.app_id = app.id
LEFT JOIN (
    SELECT app_id, array_agg(pem ORDER BY created_at DESC, id DESC) AS pems
    FROM identity_key WHERE revoked_at IS NULL GROUP BY app_id
) AS public ON public.app_id = app.id

-- :dropping
-- Records that a rule skips now, and those of which something was refused lately; each also by the ids
-- of the aliases that lead to it.
WITH dropped AS (
    SELECT app_id AS app, record, 'skip_rule' AS reason FROM skip_rule_in_force
    UNION
    SELECT app, record, reason FROM skipped
    WHERE at > now() - %(minutes)s * interval '1 minute' AND reason <> 'skip_rule'
        AND app IS NOT NULL AND record IS NOT NULL
    LIMIT %(most)s
)
SELECT app::text, record::text, reason FROM dropped
UNION
SELECT link.app::text, link.child::text, dropped.reason
FROM dropped JOIN link ON link.app = dropped.app AND link.parent = dropped.record AND link.label = 'alias'

-- :record
-- One record that is not deleted, with at most so many tags; times in whole seconds.
SELECT kind, identifier,
       (SELECT coalesce(jsonb_object_agg(key, value), '{}')
        FROM (SELECT key, value FROM jsonb_each(tags) ORDER BY key COLLATE "C" LIMIT %(tags)s) AS shown),
       properties, session_count, session_time_s, purchase_count,
       spent_micros, floor(extract(epoch FROM created_at))::bigint
FROM record WHERE app = %(app)s AND id = %(id)s AND NOT deleted

-- :is_deleted
SELECT 1 FROM record WHERE app = %(app)s AND id = %(id)s AND deleted

-- :deleted
-- The first 4 bytes of the id of each deleted record, joined in ascending order, and how many there are: not
-- of ids that follow from a name (UUID versions 5 and 8), which are never looked up. An index has the ids in
-- this order.
SELECT string_agg(prefix, ''), count(*) FROM (
    SELECT substr(uuid_send(id), 1, 4) AS prefix
    FROM record
    WHERE deleted AND get_byte(uuid_send(id), 6) >> 4 NOT IN (5, 8)
    ORDER BY id
    LIMIT %(most)s
) AS listed

-- :parent
-- The parent that the child's link by this label counts for.
SELECT link.parent::text
FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
WHERE link.app = %(app)s AND link.child = %(child)s AND link.label = %(label)s
    AND link.parent_gen = coalesce(parent.gen, 0)

-- :logged_in_as
-- The user that the anonymous user is logged in as: its login is of the present generation of logins, of the
-- one before, or of none (notify/domain/records/logins.py).
SELECT link.parent::text
FROM link
LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
LEFT JOIN link AS login
    ON login.app = link.app AND login.child = link.child AND login.label = 'login'
LEFT JOIN parent AS logins ON logins.app = login.app AND logins.id = login.parent
WHERE link.app = %(app)s AND link.child = %(child)s AND link.label = 'merged'
    AND link.parent_gen = coalesce(parent.gen, 0)
    AND coalesce(login.parent_gen >= coalesce(logins.gen, 0) - 1, true)

-- :holder
-- The record that took the address, whether the one whose id is made of it has another or none, and the
-- generation of the address.
SELECT
    (SELECT link.parent::text
     FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
     WHERE link.app = %(app)s AND link.child = %(alias)s AND link.label = 'alias'
         AND link.parent_gen = coalesce(parent.gen, 0)),
    EXISTS
    (SELECT 1
     FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
     WHERE link.app = %(app)s AND link.child = %(home)s
         AND link.label = 'is:' || coalesce(
             (SELECT gen FROM parent WHERE app = %(app)s AND id = %(home)s), 0) || ':token'
         AND link.parent_gen = coalesce(parent.gen, 0)),
    coalesce((SELECT gen FROM parent WHERE app = %(app)s AND id = %(alias)s), 0)

-- :generation
SELECT gen FROM parent WHERE app = %(app)s AND id = %(id)s

-- :logins
-- The newest anonymous users that logged in as the user, each with whether it still is logged in.
SELECT newest.child::text, coalesce(
    (SELECT login.parent_gen >= coalesce(logins.gen, 0) - 1
     FROM link AS login
     LEFT JOIN parent AS logins ON logins.app = login.app AND logins.id = login.parent
     WHERE login.app = %(app)s AND login.child = newest.child AND login.label = 'login'),
    true
)
FROM (
    SELECT link.child, link.linked_at
    FROM link
    WHERE link.app = %(app)s AND link.parent = %(id)s AND link.label = 'merged'
        AND link.parent_gen
            = coalesce((SELECT gen FROM parent WHERE app = %(app)s AND id = %(id)s), 0)
    ORDER BY link.linked_at DESC, link.child
    LIMIT %(most)s
) AS newest
ORDER BY newest.linked_at DESC, newest.child

-- :subscriptions
-- The newest links to these users, the newest first: each with its record, or NULLs if it has no row. By the
-- index, which has them in this order: a user may have millions of links.
WITH newest AS (
    SELECT linked.child, linked.linked_at
    FROM unnest(%(ids)s::uuid[]) AS user_ids (id)
    CROSS JOIN LATERAL (
        SELECT link.child, link.linked_at
        FROM link
        WHERE link.app = %(app)s AND link.parent = user_ids.id AND link.label = 'user'
            AND link.parent_gen
                = coalesce((SELECT gen FROM parent WHERE app = %(app)s AND id = user_ids.id), 0)
        ORDER BY link.linked_at DESC, link.child
        LIMIT %(most)s
    ) AS linked
    ORDER BY linked.linked_at DESC, linked.child
    LIMIT %(most)s
)
SELECT record.id::text, record.kind, record.identifier, record.properties
FROM newest
LEFT JOIN record ON record.app = %(app)s AND record.id = newest.child AND NOT record.deleted
ORDER BY newest.linked_at DESC, newest.child

-- :write_left_out
-- Adds to the ten seconds of now.
INSERT INTO left_out_sample (bucket, app, what, n)
SELECT to_timestamp(floor(extract(epoch FROM clock_timestamp()) / 10) * 10), app, name, n
FROM unnest(%(apps)s::uuid[], %(limits)s::text[], %(counts)s::bigint[]) AS told (app, name, n)
ON CONFLICT (bucket, app, what) DO UPDATE SET n = left_out_sample.n + excluded.n

-- :write_refused
-- Adds to the ten seconds of now.
INSERT INTO refused_sample (bucket, app, "limit", n)
SELECT to_timestamp(floor(extract(epoch FROM clock_timestamp()) / 10) * 10), app, name, n
FROM unnest(%(apps)s::uuid[], %(limits)s::text[], %(counts)s::bigint[]) AS told (app, name, n)
ON CONFLICT (bucket, app, "limit") DO UPDATE SET n = refused_sample.n + excluded.n

-- :write_unavailable
-- The same of requests that were answered 503.
INSERT INTO unavailable_sample (bucket, reason, n, first_at, last_at)
SELECT to_timestamp(floor(extract(epoch FROM at.now) / 10) * 10), reason, n, at.now, at.now
FROM unnest(%(reasons)s::text[], %(counts)s::bigint[]) AS told (reason, n)
CROSS JOIN (SELECT clock_timestamp() AS now) AS at
ON CONFLICT (bucket, reason) DO UPDATE SET n = unavailable_sample.n + excluded.n, last_at = excluded.last_at
