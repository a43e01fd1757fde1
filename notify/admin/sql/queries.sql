-- :hour
-- The hour that ended with the last whole slot, by slot (0 is the oldest): messages, skipped, the most
-- seconds of lag of a partition, the most held writes of all. A slot without a sample has no row.
SELECT
    floor(extract(epoch FROM bucket - %(since)s) / %(slot_s)s)::int AS slot,
    sum(messages)::bigint, sum(skipped)::bigint, max(lag_s), max(held_writes)::bigint
FROM (
    SELECT
        bucket, sum(messages) AS messages, sum(skipped) AS skipped, max(lag_s_max) AS lag_s,
        sum(held_writes) AS held_writes
    FROM stream_sample
    WHERE bucket >= %(since)s AND bucket < %(until)s
    GROUP BY bucket
) AS by_bucket
GROUP BY slot
ORDER BY slot

-- :record_history
-- The record's updates by bucket, those that are applied.
SELECT extract(epoch FROM bucket - %(since)s)::int / 10, sum(direct + mirrored)::bigint
FROM hot
WHERE app = %(app)s AND record = %(record)s AND bucket >= %(since)s AND bucket < %(until)s
GROUP BY bucket
