-- :groups
-- The newest rows of one table by app, reason and record, those with most of the last day first. The
-- records of an app and reason with most have a group each, all others one together. A group's counts: of
-- the last hour, of the last day, of all rows that were read, and by slot of the day (0 is the oldest). Then
-- how many groups there are, how many rows were read, and the time of the oldest of them. Reads `rows` rows
-- at most, backwards along the table's primary key; the other table is not read. A dead letter's reason is
-- what its error begins with: "malformed", or PostgreSQL's code.
WITH newest AS (
    (
        SELECT app, reason, record, n, at
        FROM skipped WHERE %(table)s = 'skipped' ORDER BY id DESC LIMIT %(rows)s
    )
    UNION ALL
    (
        SELECT app, left(split_part(error, ':', 1), 60), record, 1, at
        FROM dead_letter WHERE %(table)s = 'dead_letter' ORDER BY id DESC LIMIT %(rows)s
    )
), summed AS (
    SELECT *, sum(n) OVER (PARTITION BY app, reason, record) AS of_record FROM newest
), placed AS (
    SELECT *, dense_rank() OVER (PARTITION BY app, reason ORDER BY of_record DESC, record) AS place
    FROM summed
), by_slot AS (
    SELECT
        app, reason, CASE WHEN place <= %(each)s THEN record END AS record, place > %(each)s AS is_rest,
        floor(extract(epoch FROM at - %(since)s) / %(slot_s)s)::int AS slot,
        max(place) - %(each)s AS others, sum(n) AS n,
        coalesce(sum(n) FILTER (WHERE at >= %(hour)s), 0) AS of_hour, min(at) AS first, max(at) AS last
    FROM placed
    GROUP BY 1, 2, 3, 4, 5
)
SELECT
    app, reason, record, greatest(0, max(others)), sum(of_hour)::bigint,
    coalesce(sum(n) FILTER (WHERE slot >= 0), 0)::bigint AS of_day, sum(n)::bigint, min(first), max(last),
    coalesce(jsonb_object_agg(slot, n) FILTER (WHERE slot >= 0), '{}'),
    count(*) OVER (), (SELECT count(*) FROM newest), (SELECT min(at) FROM newest)
FROM by_slot
GROUP BY app, reason, record, is_rest
ORDER BY of_day DESC, sum(n) DESC, max(last) DESC
LIMIT %(most)s
