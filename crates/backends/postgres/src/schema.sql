CREATE TABLE "{schema}".kv_partition (
    name bytea PRIMARY KEY,
    commits bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE "{schema}".kv_entry (
    partition bytea NOT NULL,
    key bytea NOT NULL,
    version bigint NOT NULL,
    expires bigint,
    value bytea NOT NULL,
    PRIMARY KEY (partition, key)
);
-- Values are sealed as a rule and do not compress.
ALTER TABLE "{schema}".kv_entry ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE INDEX kv_entry_expires ON "{schema}".kv_entry (partition, expires) WHERE expires IS NOT NULL;

-- A commit: the new counter, or null if a precondition does not hold.
-- p_at: the version that a required key must have; -1: it must be absent.
-- p_sweep: entries that expired by then are removed, some at a time.
CREATE FUNCTION "{schema}".kv_commit(
    p_partition bytea, p_now bigint, p_sweep bigint,
    p_require bytea[], p_at bigint[],
    p_put bytea[], p_values bytea[], p_expires bigint[],
    p_delete bytea[],
    p_slot bigint, p_channel text, p_payload text
) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    v_commits bigint;
    v_holds boolean;
BEGIN
    -- The preconditions are judged by a snapshot that is taken once the partition is locked.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'kv_commit needs read committed' USING ERRCODE = '25001';
    END IF;

    IF cardinality(p_put) + cardinality(p_delete) = 0 THEN
        -- The counter and the preconditions by one snapshot.
        SELECT coalesce((SELECT c.commits FROM "{schema}".kv_partition c WHERE c.name = p_partition), 0),
            {holds}
        INTO v_commits, v_holds;
        RETURN CASE WHEN v_holds THEN v_commits END;
    END IF;

    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    LOOP
        SELECT c.commits INTO v_commits FROM "{schema}".kv_partition c
        WHERE c.name = p_partition FOR NO KEY UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO "{schema}".kv_partition (name, commits) VALUES (p_partition, 0)
        ON CONFLICT (name) DO NOTHING;
    END LOOP;

    SELECT {holds} INTO v_holds;
    IF NOT v_holds THEN
        RETURN NULL;
    END IF;

    v_commits := v_commits + 1;
    UPDATE "{schema}".kv_partition SET commits = v_commits WHERE name = p_partition;

    DELETE FROM "{schema}".kv_entry e WHERE e.partition = p_partition AND e.key IN (
        SELECT s.key FROM "{schema}".kv_entry s
        WHERE s.partition = p_partition AND s.expires <= p_sweep
        ORDER BY s.expires LIMIT 64
    );
    INSERT INTO "{schema}".kv_entry (partition, key, version, expires, value)
    SELECT p_partition, w.key, v_commits, w.expires, w.value
    FROM unnest(p_put, p_values, p_expires) AS w(key, value, expires)
    ON CONFLICT (partition, key) DO UPDATE
    SET version = excluded.version, expires = excluded.expires, value = excluded.value;
    DELETE FROM "{schema}".kv_entry e
    WHERE e.partition = p_partition AND e.key = ANY (p_delete);

    -- A notification makes all commits of the cluster that notify wait for each other, so it is
    -- sent only if somebody watches: who does holds the slot's lock, shared.
    IF NOT pg_try_advisory_xact_lock(p_slot) THEN
        PERFORM pg_notify(p_channel, p_payload);
    END IF;
    RETURN v_commits;
END
$body$;
