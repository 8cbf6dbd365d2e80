NOT EXISTS (
    SELECT FROM unnest(p_require, p_at) AS r(key, version)
    WHERE r.version <> coalesce((
        SELECT e.version FROM "{schema}".kv_entry e
        WHERE e.partition = p_partition AND e.key = r.key
            AND (e.expires IS NULL OR e.expires > p_now)
    ), -1)
)
