-- The audit log. The one row below says who sequences, and how far recording time has come.
CREATE TABLE "{schema}".audit_sequencer (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bigint NOT NULL,
    recorded bigint NOT NULL
);
INSERT INTO "{schema}".audit_sequencer (epoch, recorded) VALUES (0, -9223372036854775808);

-- state: what the next leaf names as its predecessor, then the roots of the perfect subtrees.
CREATE TABLE "{schema}".audit_head (
    log text PRIMARY KEY,
    size bigint NOT NULL CHECK (size >= 0),
    state bytea NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE "{schema}".audit_entry (
    log text NOT NULL,
    index bigint NOT NULL CHECK (index >= 0),
    id uuid UNIQUE,
    recorded bigint,
    bytes bytea NOT NULL CHECK (octet_length(bytes) BETWEEN 1 AND 65535),
    leaf bytea NOT NULL,
    PRIMARY KEY (log, index) INCLUDE (leaf),
    CONSTRAINT audit_entry_leaf CHECK (leaf = sha256('\x00'::bytea || bytes)),
    CONSTRAINT audit_entry_kind CHECK (
        (log = 'eonpro/audit/directory') = (id IS NULL) AND (id IS NULL) = (recorded IS NULL))
);

-- What an entry says of one thing that may be asked for; null where it says nothing, or is none.
CREATE FUNCTION "{schema}".audit_fact(p_bytes bytea, p_path text[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF get_byte(p_bytes, 0) <> 123 THEN
        RETURN NULL;
    END IF;
    RETURN left(convert_from(p_bytes, 'UTF8')::json #>> p_path, 256);
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$body$;

-- The patients whom an entry names.
CREATE FUNCTION "{schema}".audit_patients(p_bytes bytea) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $body$
    SELECT nullif(array_remove(ARRAY[
        "{schema}".audit_fact(p_bytes, ARRAY['fields', 'patient']),
        "{schema}".audit_fact(p_bytes, ARRAY['fields', 'retired_patient']),
        "{schema}".audit_fact(p_bytes, ARRAY['fields', 'surviving_patient'])
    ], NULL), ARRAY[]::text[]);
$body$;

-- For queries. Nobody has to believe them: what they find is read and compared.
CREATE INDEX audit_entry_recorded ON "{schema}".audit_entry (log, recorded);
CREATE INDEX audit_entry_code ON "{schema}".audit_entry (log, "{schema}".audit_fact(bytes, ARRAY['code']), index);
CREATE INDEX audit_entry_outcome ON "{schema}".audit_entry (log, "{schema}".audit_fact(bytes, ARRAY['outcome']), index);
CREATE INDEX audit_entry_actor ON "{schema}".audit_entry (log, "{schema}".audit_fact(bytes, ARRAY['actor', 'id']), index);
CREATE INDEX audit_entry_trace ON "{schema}".audit_entry (log, "{schema}".audit_fact(bytes, ARRAY['trace']), index);
CREATE INDEX audit_entry_patients ON "{schema}".audit_entry USING gin ("{schema}".audit_patients(bytes));

-- The last signed head of each log.
CREATE TABLE "{schema}".audit_signed (
    log text PRIMARY KEY,
    size bigint NOT NULL CHECK (size >= 0),
    note text NOT NULL
);

-- Entries without their heads, on their way into the log. Rows come and go.
CREATE TABLE "{schema}".audit_outbox (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staged_by xid8 NOT NULL DEFAULT pg_current_xact_id(),
    forwarded boolean NOT NULL,
    refused boolean NOT NULL DEFAULT false,
    log text NOT NULL,
    ids uuid[] NOT NULL,
    tails bytea[] NOT NULL
);

CREATE FUNCTION "{schema}".audit_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = '42501';
END
$body$;

CREATE FUNCTION "{schema}".audit_only_grows() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NEW.log <> OLD.log OR NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW <> OLD) THEN
        RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$body$;

CREATE FUNCTION "{schema}".audit_goes_forward() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.recorded < OLD.recorded THEN
        RAISE EXCEPTION 'the audit log only grows' USING ERRCODE = '42501';
    END IF;
    RETURN NEW;
END
$body$;

CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON "{schema}".audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".audit_refuse();
CREATE TRIGGER stays BEFORE DELETE OR TRUNCATE ON "{schema}".audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".audit_refuse();
CREATE TRIGGER stays BEFORE DELETE OR TRUNCATE ON "{schema}".audit_signed
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".audit_refuse();
CREATE TRIGGER stays BEFORE DELETE OR TRUNCATE ON "{schema}".audit_sequencer
    FOR EACH STATEMENT EXECUTE FUNCTION "{schema}".audit_refuse();
CREATE TRIGGER grows BEFORE UPDATE ON "{schema}".audit_head
    FOR EACH ROW EXECUTE FUNCTION "{schema}".audit_only_grows();
CREATE TRIGGER grows BEFORE UPDATE ON "{schema}".audit_signed
    FOR EACH ROW EXECUTE FUNCTION "{schema}".audit_only_grows();
CREATE TRIGGER grows BEFORE UPDATE ON "{schema}".audit_sequencer
    FOR EACH ROW EXECUTE FUNCTION "{schema}".audit_goes_forward();
-- Also in a session that replays what another server did.
ALTER TABLE "{schema}".audit_entry ENABLE ALWAYS TRIGGER stays;
ALTER TABLE "{schema}".audit_head ENABLE ALWAYS TRIGGER stays;
ALTER TABLE "{schema}".audit_head ENABLE ALWAYS TRIGGER grows;
ALTER TABLE "{schema}".audit_signed ENABLE ALWAYS TRIGGER stays;
ALTER TABLE "{schema}".audit_signed ENABLE ALWAYS TRIGGER grows;
ALTER TABLE "{schema}".audit_sequencer ENABLE ALWAYS TRIGGER stays;
ALTER TABLE "{schema}".audit_sequencer ENABLE ALWAYS TRIGGER grows;

-- Makes the session the sequencer if no other one is: the lock goes with the session, the epoch fences
-- whoever was it before.
CREATE FUNCTION "{schema}".audit_lead(p_lock bigint) RETURNS TABLE (epoch bigint, recorded bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF pg_try_advisory_lock(p_lock) THEN
        RETURN QUERY UPDATE "{schema}".audit_sequencer s SET epoch = s.epoch + 1
        RETURNING s.epoch, s.recorded;
    END IF;
END
$body$;

-- Appends entries to logs that have the expected sizes; all or nothing. False: the epoch is over.
-- p_log: the number of an entry's log in p_logs, from 1. p_drained: what leaves the outbox with it.
CREATE FUNCTION "{schema}".audit_append(
    p_epoch bigint, p_recorded bigint,
    p_logs text[], p_expected bigint[], p_states bytea[],
    p_log bigint[], p_ids text[], p_times bigint[], p_bytes bytea[], p_leaves bytea[],
    p_drained bigint[], p_channel text
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    v_epoch bigint;
    v_recorded bigint;
    v_heads bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'audit_append needs read committed' USING ERRCODE = '25001';
    END IF;
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    SELECT s.epoch, s.recorded INTO v_epoch, v_recorded
    FROM "{schema}".audit_sequencer s FOR NO KEY UPDATE;
    IF v_epoch IS DISTINCT FROM p_epoch THEN
        RETURN false;
    END IF;
    IF 'eonpro/audit/directory' = ANY (p_logs)
        OR EXISTS (SELECT FROM unnest(p_times) AS t(at) WHERE t.at <= v_recorded OR t.at > p_recorded)
    THEN
        RAISE EXCEPTION 'audit_append: entries out of place' USING ERRCODE = '22023';
    END IF;

    INSERT INTO "{schema}".audit_head (log, size, state)
    SELECT n.log, 0, '' FROM unnest(p_logs, p_expected) AS n(log, expected) WHERE n.expected = 0
    ON CONFLICT (log) DO NOTHING;
    UPDATE "{schema}".audit_head h SET size = h.size + n.more, state = n.state
    FROM (
        SELECT l.log, l.expected, l.state, count(e.log) AS more
        FROM unnest(p_logs, p_expected, p_states) WITH ORDINALITY AS l(log, expected, state, number)
        JOIN unnest(p_log) AS e(log) ON e.log = l.number
        GROUP BY l.log, l.expected, l.state
    ) n WHERE h.log = n.log AND h.size = n.expected;
    GET DIAGNOSTICS v_heads = ROW_COUNT;
    IF v_heads <> cardinality(p_logs) THEN
        RAISE EXCEPTION 'audit_append: a log has another size' USING ERRCODE = '40001';
    END IF;
    INSERT INTO "{schema}".audit_entry (log, index, id, recorded, bytes, leaf)
    SELECT p_logs[e.log],
        p_expected[e.log] + row_number() OVER (PARTITION BY e.log ORDER BY e.number) - 1,
        e.id::uuid, e.recorded, e.bytes, e.leaf
    FROM unnest(p_log, p_ids, p_times, p_bytes, p_leaves)
        WITH ORDINALITY AS e(log, id, recorded, bytes, leaf, number);
    UPDATE "{schema}".audit_sequencer SET recorded = greatest(v_recorded, p_recorded);
    IF cardinality(p_drained) > 0 THEN
        DELETE FROM "{schema}".audit_outbox o WHERE o.place = ANY (p_drained);
        PERFORM pg_notify(p_channel, '');
    END IF;
    RETURN true;
END
$body$;

-- Extends the directory log, which has the expected size, by signed heads. False: it has another size.
CREATE FUNCTION "{schema}".audit_sign(
    p_expected bigint, p_state bytea,
    p_logs text[], p_sizes bigint[], p_notes text[], p_leaves bytea[]
) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    v_signed bigint;
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    INSERT INTO "{schema}".audit_head (log, size, state)
    SELECT 'eonpro/audit/directory', 0, '' WHERE p_expected = 0 ON CONFLICT (log) DO NOTHING;
    UPDATE "{schema}".audit_head h SET size = h.size + cardinality(p_logs), state = p_state
    WHERE h.log = 'eonpro/audit/directory' AND h.size = p_expected;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO "{schema}".audit_signed AS s (log, size, note)
    SELECT n.log, n.size, n.note FROM unnest(p_logs, p_sizes, p_notes) AS n(log, size, note)
    JOIN "{schema}".audit_head h ON h.log = n.log AND h.size >= n.size
    ON CONFLICT (log) DO UPDATE SET size = excluded.size, note = excluded.note
    WHERE s.size < excluded.size;
    GET DIAGNOSTICS v_signed = ROW_COUNT;
    IF v_signed <> cardinality(p_logs) THEN
        RAISE EXCEPTION 'audit_sign: a log is signed already' USING ERRCODE = '40001';
    END IF;
    INSERT INTO "{schema}".audit_entry (log, index, bytes, leaf)
    SELECT 'eonpro/audit/directory', p_expected + n.number - 1, convert_to(n.note, 'UTF8'), n.leaf
    FROM unnest(p_notes, p_leaves) WITH ORDINALITY AS n(note, leaf, number);
    RETURN true;
END
$body$;

-- Keeps the signed head of the directory log, unless there is a later one.
CREATE FUNCTION "{schema}".audit_sign_head(p_size bigint, p_note text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF p_size > coalesce((
        SELECT h.size FROM "{schema}".audit_head h WHERE h.log = 'eonpro/audit/directory'), 0)
    THEN
        RAISE EXCEPTION 'audit_sign_head: beyond the log' USING ERRCODE = '22023';
    END IF;
    INSERT INTO "{schema}".audit_signed AS s (log, size, note)
    VALUES ('eonpro/audit/directory', p_size, p_note)
    ON CONFLICT (log) DO UPDATE SET size = excluded.size, note = excluded.note
    WHERE s.size < excluded.size;
    RETURN FOUND;
END
$body$;

-- Puts entries of one log without their heads into the outbox.
CREATE FUNCTION "{schema}".audit_put(p_log text, p_ids uuid[], p_tails bytea[], p_forwarded boolean)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    v_place bigint;
BEGIN
    IF NOT starts_with(p_log, 'eonpro/audit/')
        OR (p_log <> 'eonpro/audit/system' AND substr(p_log, 14)::uuid::text <> substr(p_log, 14))
        OR cardinality(p_ids) <> cardinality(p_tails) OR cardinality(p_ids) = 0
        OR EXISTS (
            SELECT FROM unnest(p_ids, p_tails) AS e(id, tail)
            CROSS JOIN LATERAL (SELECT convert_from('\x7b'::bytea || e.tail, 'UTF8')::jsonb AS says) AS j
            WHERE octet_length(e.tail) > 65410
                OR (j.says ->> 'id') IS DISTINCT FROM e.id::text
                OR (p_log <> 'eonpro/audit/system'
                    AND (j.says ->> 'tenant') IS DISTINCT FROM substr(p_log, 14))
        )
    THEN
        RAISE EXCEPTION 'audit_put: no entry of this log' USING ERRCODE = '22023';
    END IF;
    INSERT INTO "{schema}".audit_outbox (forwarded, log, ids, tails)
    VALUES (p_forwarded, p_log, p_ids, p_tails) RETURNING place INTO v_place;
    RETURN v_place;
END
$body$;

-- For applications: puts one entry into the outbox, in the transaction that writes what it tells of.
CREATE FUNCTION "{schema}".audit_stage(p_log text, p_id text, p_tail bytea) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    SELECT "{schema}".audit_put(p_log, ARRAY[p_id::uuid], ARRAY[p_tail], false);
$body$;

-- For processes that do not sequence: hands an append to the one that does.
CREATE FUNCTION "{schema}".audit_forward(p_log text, p_ids text[], p_tails bytea[], p_channel text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM pg_notify(p_channel, '');
    RETURN "{schema}".audit_put(p_log, p_ids::uuid[], p_tails, true);
END
$body$;

-- Leaves what can be no entry where it is, for people to look at.
CREATE FUNCTION "{schema}".audit_set_aside(p_epoch bigint, p_places bigint[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
    UPDATE "{schema}".audit_outbox o SET refused = true
    WHERE o.place = ANY (p_places)
        AND p_epoch = (SELECT s.epoch FROM "{schema}".audit_sequencer s);
$body$;

REVOKE ALL ON FUNCTION
    "{schema}".audit_refuse(), "{schema}".audit_only_grows(), "{schema}".audit_goes_forward(),
    "{schema}".audit_lead(bigint),
    "{schema}".audit_append(bigint, bigint, text[], bigint[], bytea[], bigint[], text[], bigint[], bytea[],
        bytea[], bigint[], text),
    "{schema}".audit_sign(bigint, bytea, text[], bigint[], text[], bytea[]),
    "{schema}".audit_sign_head(bigint, text),
    "{schema}".audit_put(text, uuid[], bytea[], boolean),
    "{schema}".audit_stage(text, text, bytea),
    "{schema}".audit_forward(text, text[], bytea[], text),
    "{schema}".audit_set_aside(bigint, bigint[])
FROM PUBLIC;
