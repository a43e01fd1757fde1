-- :now
-- PostgreSQL's clock, and when the window begins: whole ten-second buckets, and the one of now, that
-- cover the seconds; that of now counts alone once it is three seconds old.
SELECT
    clock_timestamp(),
    to_timestamp(floor((extract(epoch FROM clock_timestamp()) - 3) / 10) * 10 - %(seconds)s + 10)

-- :totals
-- Counts of the window, its length up to the newest sample (one second at least), and the rate of its
-- updates when web accepted them: what a bridge that catches up decides in a second came in many.
WITH of_stream AS (
    SELECT
        stream, sum(messages) AS messages, sum(writes) AS writes, sum(mirrored) AS mirrored,
        sum(skipped) AS skipped, sum(dead) AS dead, sum(accepted_s) AS accepted_s, max(at) AS newest
    FROM stream_sample
    WHERE bucket >= %(since)s
    GROUP BY stream
), length AS (
    SELECT greatest(1, extract(epoch FROM coalesce(max(newest), %(now)s) - %(since)s))::float8 AS seconds
    FROM of_stream
)
SELECT
    coalesce(sum(messages), 0)::bigint, coalesce(sum(writes), 0)::bigint,
    coalesce(sum(mirrored), 0)::bigint, coalesce(sum(skipped), 0)::bigint,
    coalesce(sum(dead), 0)::bigint, length.seconds,
    coalesce(sum(messages / greatest(accepted_s, length.seconds)), 0)::float8
FROM length LEFT JOIN of_stream ON true
GROUP BY length.seconds

-- :dead_letters
-- Bounded: more than that is as bad.
SELECT count(*) FROM (SELECT 1 FROM dead_letter WHERE at >= %(since)s LIMIT 1000) AS newest

-- :streams
-- Every stream of the active topic with the newest sample of it; what that says is left out once it is
-- older than `fresh_s`. Web reads this too.
SELECT
    stream.id, stream.partition, stream.planned, stream.frontier, stream.halted,
    stream.lanes <> stream.lanes_wanted,
    extract(epoch FROM at.now - stream.ticked_at)::float8,
    extract(epoch FROM at.now - coalesce(
        (
            SELECT min(bridge_start.at) FROM bridge_start
            WHERE bridge_start.at > coalesce(stream.ticked_at, topic.adopted_at)
        ),
        CASE WHEN stream.ticked_at IS NULL THEN topic.adopted_at END
    ))::float8,
    CASE WHEN stream.waiting_at = stream.frontier AND stream.frontier < stream.planned
        THEN greatest(0, extract(epoch FROM stream.ticked_at - stream.waiting_since)) ELSE 0 END::float8,
    extract(epoch FROM at.now - newest.at)::float8, newest.bridge,
    sample.log_end, sample.lag_s, sample.unread_s, sample.unheard_s,
    sample.held_bytes, sample.held_writes, sample.paused, before.lag_messages
FROM stream
JOIN topic ON topic.id = stream.topic_id
CROSS JOIN (SELECT clock_timestamp() AS now) AS at
LEFT JOIN LATERAL (
    SELECT bucket, at, bridge FROM stream_sample
    WHERE stream_sample.stream = stream.id AND bucket >= at.now - interval '1 hour'
    ORDER BY bucket DESC LIMIT 1
) AS newest ON true
LEFT JOIN stream_sample AS sample
    ON sample.stream = stream.id AND sample.bucket = newest.bucket
    AND sample.at >= at.now - %(fresh_s)s * interval '1 second'
LEFT JOIN LATERAL (
    SELECT log_end - frontier AS lag_messages FROM stream_sample
    WHERE stream_sample.stream = stream.id AND stream_sample.bucket < newest.bucket
        AND stream_sample.bucket >= newest.bucket - interval '20 seconds'
    ORDER BY bucket DESC LIMIT 1
) AS before ON true
WHERE topic.active
ORDER BY stream.partition

-- :lanes
-- By number, over all streams of the active topic; a sample older than `fresh_s` says nothing of now.
SELECT
    lane_sample.lane, sum(lane_sample.writes)::bigint, max(lane_sample.oldest_s),
    max(lane_sample.attempt), max(queue_sample.tasks), max(queue_sample.workers)
FROM lane_sample
JOIN stream ON stream.id = lane_sample.stream
JOIN topic ON topic.id = stream.topic_id AND topic.active
LEFT JOIN queue_sample
    ON queue_sample.lane = lane_sample.lane
    AND queue_sample.at >= %(now)s - %(fresh_s)s * interval '1 second'
WHERE lane_sample.at >= %(now)s - %(fresh_s)s * interval '1 second'
GROUP BY lane_sample.lane
ORDER BY lane_sample.lane

-- :workers
SELECT
    name, extract(epoch FROM %(now)s - seen_at)::float8,
    extract(epoch FROM %(now)s - progressed_at)::float8, active, processed, offline
FROM worker_sample
ORDER BY name

-- :watcher
SELECT
    extract(epoch FROM %(now)s - at)::float8, extract(epoch FROM %(now)s - redis_away_since)::float8
FROM watcher

-- :hot
-- The last column is its rate when web accepted the updates: a bridge that catches up decides the updates
-- of a minute in seconds.
WITH span AS (
    SELECT stream, greatest(sum(accepted_s), %(seconds)s)::float8 AS seconds
    FROM stream_sample WHERE bucket >= %(since)s GROUP BY stream
)
SELECT
    app, record, sum(direct)::bigint, sum(mirrored)::bigint, max(error)::bigint,
    sum((direct + mirrored) / coalesce(span.seconds, %(seconds)s))::float8
FROM hot LEFT JOIN span USING (stream)
WHERE bucket >= %(since)s AND (%(app)s::uuid IS NULL OR app = %(app)s)
GROUP BY app, record
ORDER BY sum(direct) + sum(mirrored) DESC
LIMIT %(top)s

-- :linked
-- The children of these parents, in their generation.
SELECT counted.app, counted.parent, counted.label, counted.n
FROM unnest(%(apps)s::uuid[], %(records)s::uuid[]) AS wanted (app, id)
LEFT JOIN parent USING (app, id)
JOIN link_count AS counted
    ON counted.app = wanted.app AND counted.parent = wanted.id AND counted.gen = coalesce(parent.gen, 0)
WHERE counted.n > 0

-- :skipped
-- Those of these records that a rule skips now, and how much of them.
SELECT rule.app_id, rule.record, rule.scope
FROM unnest(%(apps)s::uuid[], %(records)s::uuid[]) AS wanted (app, id)
JOIN skip_rule_in_force AS rule ON rule.app_id = wanted.app AND rule.record = wanted.id

-- :apps
-- The apps with most updates, each with its rate when web accepted them, and what it sent in the hour
-- before, a second.
WITH span AS (
    SELECT stream, greatest(sum(accepted_s), %(seconds)s)::float8 AS seconds
    FROM stream_sample WHERE bucket >= %(since)s GROUP BY stream
)
SELECT
    hottest.app, hottest.updates, hottest.mirrored, hottest.error, hottest.per_s,
    coalesce((
        SELECT sum(before.updates) FROM app_sample AS before
        WHERE before.app = hottest.app
            AND before.bucket >= %(since)s - interval '1 hour' AND before.bucket < %(since)s
    ), 0)::float8 / greatest(10, least(3600, extract(epoch FROM %(since)s - (
        SELECT min(bucket) FROM stream_sample WHERE bucket >= %(since)s - interval '1 hour'
    ))))::float8
FROM (
    SELECT
        app, sum(updates)::bigint AS updates, sum(mirrored)::bigint AS mirrored,
        max(error)::bigint AS error,
        sum(updates / coalesce(span.seconds, %(seconds)s))::float8 AS per_s
    FROM app_sample LEFT JOIN span USING (stream)
    WHERE bucket >= %(since)s AND (%(app)s::uuid IS NULL OR app = %(app)s)
    GROUP BY app
    ORDER BY sum(updates) DESC
    LIMIT %(top)s
) AS hottest
ORDER BY hottest.updates DESC

-- :limited
-- The apps of which most requests were refused at a rate limit, each with the limit that refused most.
SELECT app, (array_agg(name ORDER BY n DESC))[1], sum(n)::bigint
FROM (
    SELECT app, "limit" AS name, sum(n) AS n
    FROM refused_sample
    WHERE bucket >= %(since)s AND (%(app)s::uuid IS NULL OR app = %(app)s)
    GROUP BY app, "limit"
) AS refused
GROUP BY app
ORDER BY sum(n) DESC, app
LIMIT %(top)s

-- :refused_links
-- The apps of which most links, or aliases, were refused at a limit, each with the record of which most
-- were. Reads the window's rows of `skipped` by the index on `at`.
SELECT
    app, reason, sum(n)::bigint,
    (array_agg(record ORDER BY n DESC, record) FILTER (WHERE record IS NOT NULL))[1]
FROM (
    SELECT app, reason, record, sum(n) AS n
    FROM skipped
    WHERE at >= %(since)s AND bucket >= %(since)s AND reason IN ('link_limit', 'alias_limit')
        AND (%(app)s::uuid IS NULL OR app = %(app)s)
    GROUP BY app, reason, record
) AS refused
GROUP BY app, reason
ORDER BY sum(n) DESC, app, reason
LIMIT %(top)s

-- :left_out
-- The apps of whose requests most values were left out, each with the kind of most of them.
SELECT app, (array_agg(what ORDER BY n DESC, what))[1], sum(n)::bigint
FROM (
    SELECT app, what, sum(n) AS n
    FROM left_out_sample
    WHERE bucket >= %(since)s AND (%(app)s::uuid IS NULL OR app = %(app)s)
    GROUP BY app, what
) AS left_out
GROUP BY app
ORDER BY sum(n) DESC, app
LIMIT %(top)s

-- :unavailable
-- Requests of the last half minute that web answered 503, by reason: how many, from the first to the last
-- of them, and how long ago that was.
SELECT
    reason, sum(n)::bigint, extract(epoch FROM max(last_at) - min(first_at))::float8,
    extract(epoch FROM %(now)s - max(last_at))::float8
FROM unavailable_sample
WHERE bucket >= %(now)s - interval '30 seconds'
GROUP BY reason
ORDER BY sum(n) DESC, reason

-- :minute_of_record
SELECT coalesce(sum(direct), 0)::bigint, coalesce(sum(mirrored), 0)::bigint
FROM hot
WHERE app = %(app)s AND record = %(record)s AND bucket >= clock_timestamp() - interval '60 seconds'

-- :parents_over
-- Parents of the app with more children by the label than that, in their generation, and their mirrored
-- updates of the last minute. At most 1,000 of them, those with most children.
WITH over AS (
    SELECT counted.parent
    FROM link_count AS counted
    LEFT JOIN parent ON parent.app = counted.app AND parent.id = counted.parent
    WHERE counted.app = %(app)s AND counted.label = %(label)s AND counted.n >= 10
        AND counted.n > %(children)s AND counted.gen = coalesce(parent.gen, 0)
    ORDER BY counted.n DESC
    LIMIT 1000
)
SELECT
    (SELECT count(*) FROM over),
    coalesce((
        SELECT sum(hot.mirrored) FROM hot JOIN over ON over.parent = hot.record
        WHERE hot.app = %(app)s AND hot.bucket >= clock_timestamp() - interval '60 seconds'
    ), 0)::bigint

-- :most_linked
-- The parent of the app with most children by the label in its generation, of those with ten or more.
SELECT counted.parent, counted.n
FROM link_count AS counted
LEFT JOIN parent ON parent.app = counted.app AND parent.id = counted.parent
WHERE counted.app = %(app)s AND counted.label = %(label)s AND counted.n >= 10
    AND counted.gen = coalesce(parent.gen, 0)
ORDER BY counted.n DESC
LIMIT 1
