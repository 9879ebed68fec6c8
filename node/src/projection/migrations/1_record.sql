-- The relational record of a Carrel cluster. The cluster's log decides; these tables follow it, one transaction for each
-- step of the cursor. Read them, join them, back them up; write to other tables.
--
-- Ids are those of the cluster and never used again. Nothing here has a clock of its own.

-- Equality beside overlap in one exclusion constraint.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- How far the record is: everything through this entry of this history of this cluster, and nothing after it.
CREATE TABLE projection_cursor (
    only_one      boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    cluster_id    text NOT NULL,
    lineage       bigint NOT NULL,
    applied_index bigint NOT NULL,
    applied_time  timestamptz NOT NULL
);

CREATE TABLE branches (
    id        bigint PRIMARY KEY,
    slug      text NOT NULL,
    title     text NOT NULL,
    time_zone text NOT NULL,
    retired   boolean NOT NULL
);

CREATE TABLE areas (
    id        bigint PRIMARY KEY,
    branch_id bigint NOT NULL,
    slug      text NOT NULL,
    title     text NOT NULL,
    retired   boolean NOT NULL
);

CREATE TABLE seats (
    id         bigint PRIMARY KEY,
    branch_id  bigint NOT NULL,
    area_id    bigint NOT NULL,
    slug       text NOT NULL,
    label      text NOT NULL,
    amenities  jsonb NOT NULL,
    accessible boolean NOT NULL,
    x_cm       bigint NOT NULL,
    y_cm       bigint NOT NULL,
    retired    boolean NOT NULL
);

-- Without secrets. An account that is deleted is gone from here; its number stays where it was used.
CREATE TABLE users (
    id               bigint PRIMARY KEY,
    name             text NOT NULL,
    role             text NOT NULL,
    branches         jsonb NOT NULL,
    created_at       timestamptz NOT NULL,
    suspended_until  timestamptz,
    needs_accessible boolean NOT NULL
);

-- Whatever occupies, or ever occupied, a seat. No foreign keys: each would look up every row once more, and what the
-- log has decided is not to be refused here. The exclusion is another matter: it can only ever find a bug.
CREATE TABLE claims (
    id          bigint PRIMARY KEY,
    seat_id     bigint NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    holder_id   bigint,
    origin      text NOT NULL,
    state       text NOT NULL,
    deadline    timestamptz,
    policy_id   bigint NOT NULL,
    revision    bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    changed_at  timestamptz NOT NULL,
    previous_id bigint,
    wait_id     bigint,
    exempt      boolean NOT NULL,
    CONSTRAINT claims_last_a_while CHECK (starts_at < ends_at),
    CONSTRAINT claims_do_not_overlap EXCLUDE USING gist (seat_id WITH =, tstzrange(starts_at, ends_at) WITH &&)
        WHERE (state IN ('HELD', 'CONFIRMED', 'CHECKED_IN', 'AWAY')) DEFERRABLE INITIALLY DEFERRED
);
CREATE INDEX claims_by_start ON claims (starts_at);
CREATE INDEX claims_by_holder ON claims (holder_id, id);

CREATE TABLE waits (
    id         bigint PRIMARY KEY,
    user_id    bigint NOT NULL,
    scope      text NOT NULL,
    place_id   bigint NOT NULL,
    amenities  jsonb NOT NULL,
    accessible boolean NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL,
    minutes    bigint NOT NULL,
    state      text NOT NULL,
    claim_id   bigint,
    rank       bigint NOT NULL,
    missed     bigint NOT NULL,
    passed     jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
);

CREATE TABLE strikes (
    user_id  bigint NOT NULL,
    claim_id bigint NOT NULL,
    at       timestamptz NOT NULL,
    cause    text NOT NULL,
    waived   boolean NOT NULL,
    PRIMARY KEY (user_id, claim_id)
);

CREATE TABLE announcements (
    entry     bigint NOT NULL,
    ordinal   bigint NOT NULL,
    sender_id bigint NOT NULL,
    at        timestamptz NOT NULL,
    body      text NOT NULL,
    PRIMARY KEY (entry, ordinal)
);

-- Up to where each person has read what they were told.
CREATE TABLE delivery_marks (
    user_id      bigint PRIMARY KEY,
    read_entry   bigint NOT NULL,
    read_ordinal bigint NOT NULL
);

-- Every change of every claim, who made it, and why. Never changed. A recovery begins another lineage, which may use
-- again what the old one had given out last.
CREATE TABLE claim_transitions (
    lineage     bigint NOT NULL,
    claim_id    bigint NOT NULL,
    revision    bigint NOT NULL,
    entry       bigint NOT NULL,
    ordinal     bigint NOT NULL,
    at          timestamptz NOT NULL,
    from_state  text,
    state       text NOT NULL,
    seat_id     bigint NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    holder_id   bigint,
    deadline    timestamptz,
    reported_by bigint,
    actor       text NOT NULL,
    actor_id    bigint,
    reason      text NOT NULL,
    note        text,
    PRIMARY KEY (lineage, claim_id, revision)
);
CREATE INDEX claim_transitions_by_time ON claim_transitions USING brin (at);

-- Every other change. Never changed.
CREATE TABLE audit (
    lineage    bigint NOT NULL,
    entry      bigint NOT NULL,
    ordinal    bigint NOT NULL,
    at         timestamptz NOT NULL,
    subject    text NOT NULL,
    subject_id bigint NOT NULL,
    state      text,
    details    jsonb NOT NULL,
    actor      text NOT NULL,
    actor_id   bigint,
    reason     text NOT NULL,
    note       text,
    PRIMARY KEY (lineage, entry, ordinal)
);
CREATE INDEX audit_by_time ON audit USING brin (at);

-- All history in one: each change once, with who made it and why.
CREATE VIEW changes AS
    SELECT lineage, entry, ordinal, at, 'CLAIM' AS subject, claim_id AS subject_id, state, actor, actor_id, reason, note
    FROM claim_transitions
    UNION ALL
    SELECT lineage, entry, ordinal, at, subject, subject_id, state, actor, actor_id, reason, note FROM audit;

-- Entries whose history is not here: nobody kept it any more when the record came back. What they left behind is.
CREATE TABLE history_gaps (
    lineage     bigint NOT NULL,
    first_entry bigint NOT NULL,
    last_entry  bigint NOT NULL,
    reason      text NOT NULL,
    -- Of claims from this one on, every change is told.
    next_claim  bigint NOT NULL,
    PRIMARY KEY (lineage, first_entry)
);

-- Rows that this database refused, each with why. The rest went on without them.
CREATE TABLE parked_rows (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry      bigint NOT NULL,
    table_name text NOT NULL,
    key        text NOT NULL,
    content    jsonb NOT NULL,
    cause      text NOT NULL
);
