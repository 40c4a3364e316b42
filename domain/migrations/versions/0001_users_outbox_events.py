"""Users with their lock, the outbox, the partitioned events and the relay's state."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

USERS = """
CREATE TABLE users (
    id uuid CONSTRAINT users_pkey PRIMARY KEY,
    login text COLLATE "C" NOT NULL CONSTRAINT users_login_key UNIQUE,
    password_sealed text,
    project_id uuid,
    env text NOT NULL,
    domain text NOT NULL,
    labels jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'active',
    status_reason text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    locktime timestamptz,
    lock_expires_at timestamptz,
    lock_owner text,
    lock_principal text,
    lock_metadata jsonb,
    lease_id uuid,
    lock_token bigint,
    lock_version bigint NOT NULL,
    available_at timestamptz NOT NULL,
    last_lease_id uuid,
    last_lease_principal text,
    last_lease_ended_at timestamptz,
    last_lease_reason text,
    last_lease_note text,
    CONSTRAINT users_status_known CHECK (status IN ('active', 'quarantined')),
    CONSTRAINT users_lock_whole
        CHECK (num_nulls(locktime, lock_expires_at, lease_id, lock_owner, lock_principal) IN (0, 5))
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05
);
CREATE INDEX users_available ON users (available_at, id) WHERE status = 'active';
CREATE INDEX users_lapse ON users (lock_expires_at) WHERE locktime IS NOT NULL;
"""

# The outbox is filled and emptied all day: only frequent vacuuming keeps it a few pages long.
OUTBOX = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) CONSTRAINT outbox_pkey PRIMARY KEY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id uuid,
    lock_version bigint,
    type text NOT NULL,
    data jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    lease_id uuid,
    principal text
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
);
"""

EVENTS = """
CREATE TABLE events (
    seq bigint NOT NULL,
    epoch integer NOT NULL,
    event_id uuid NOT NULL,
    user_id uuid,
    lock_version bigint,
    type text NOT NULL,
    data jsonb NOT NULL,
    occurred_at timestamptz NOT NULL,
    traceparent text,
    lease_id uuid,
    principal text,
    CONSTRAINT events_pkey PRIMARY KEY (seq)
) PARTITION BY RANGE (seq);
CREATE INDEX events_user ON events (user_id, lock_version);
CREATE TABLE events_p0000000000000000001 PARTITION OF events FOR VALUES FROM (1) TO (1000001);
CREATE TABLE events_p0000000000001000001 PARTITION OF events FOR VALUES FROM (1000001) TO (2000001);
"""

RELAY = """
CREATE TABLE relay_state (
    id integer DEFAULT 1 CONSTRAINT relay_state_pkey PRIMARY KEY,
    epoch integer NOT NULL DEFAULT 1,
    incarnation text,
    last_seq bigint NOT NULL DEFAULT 0,
    published_seq bigint NOT NULL DEFAULT 0,
    heartbeat_at timestamptz,
    CONSTRAINT relay_state_one_row CHECK (id = 1)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO relay_state DEFAULT VALUES;
CREATE TABLE epochs (
    epoch integer CONSTRAINT epochs_pkey PRIMARY KEY,
    first_seq bigint NOT NULL
);
INSERT INTO epochs VALUES (1, 1);
CREATE TABLE heartbeats (
    part text CONSTRAINT heartbeats_pkey PRIMARY KEY,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 20);
"""


def upgrade() -> None:
    for script in (USERS, OUTBOX, EVENTS, RELAY):
        op.execute(script)
