-- :messages
-- What streams took since: messages of all apps.
SELECT coalesce(sum(messages), 0)::bigint FROM stream_sample WHERE bucket >= %(since)s

-- :minute
-- What the app sent since, as far as it was among the hottest: updates, mirrored, rows.
SELECT coalesce(sum(updates), 0)::bigint, coalesce(sum(mirrored), 0)::bigint, count(*)
FROM app_sample WHERE app = %(app)s AND bucket >= %(since)s

-- :dropped
-- What of it was dropped since, by reason.
SELECT reason, sum(n)::bigint
FROM skipped WHERE app = %(app)s AND at >= %(since)s
GROUP BY reason ORDER BY sum(n) DESC

-- :refused
-- Its requests that were refused at a rate limit since, and of those since the later moment.
SELECT
    coalesce(sum(n), 0)::bigint, coalesce(sum(n) FILTER (WHERE bucket >= %(lately)s), 0)::bigint
FROM refused_sample WHERE app = %(app)s AND bucket >= %(since)s

-- :left_out
-- Values that were left out of its requests since, by what they were.
SELECT what, sum(n)::bigint
FROM left_out_sample WHERE app = %(app)s AND bucket >= %(since)s
GROUP BY what ORDER BY sum(n) DESC, what

-- :day
-- Its updates by slot of the day: 0 is the oldest.
SELECT
    floor(extract(epoch FROM bucket - %(since)s) / %(slot_s)s)::int AS slot,
    sum(updates)::bigint, sum(mirrored)::bigint
FROM app_sample
WHERE app = %(app)s AND bucket >= %(since)s AND bucket < %(until)s
GROUP BY slot

-- :most_linked
-- The parents with most children in their generation, of those with ten or more.
SELECT counted.parent, counted.label, counted.n
FROM link_count AS counted
LEFT JOIN parent ON parent.app = counted.app AND parent.id = counted.parent
WHERE counted.app = %(app)s AND counted.n >= 10 AND counted.gen = coalesce(parent.gen, 0)
    AND counted.label <> 'login'
ORDER BY counted.n DESC
LIMIT %(most)s

-- :rules
-- The rules of the app that are in force, with what each dropped so far.
SELECT
    rule.version, rule.record, rule.scope, rule.expires_at, skip_rule.author, skip_rule.reason,
    coalesce((SELECT sum(hits) FROM skip_count WHERE skip_count.rule = rule.rule), 0)::bigint
FROM skip_rule_in_force AS rule
JOIN skip_rule USING (version)
WHERE rule.app_id = %(app)s
ORDER BY rule.version DESC
LIMIT %(most)s
