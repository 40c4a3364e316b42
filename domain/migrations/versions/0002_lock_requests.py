"""The waiting line: lock requests that are not granted yet, and those that were, while they may be repeated."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HOMES = """
CREATE TABLE homes (
    id uuid CONSTRAINT homes_pkey PRIMARY KEY,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 20);
"""

# Rows come and go all day: only frequent vacuuming keeps the head of the line cheap to find.
LOCK_REQUESTS = """
CREATE SEQUENCE lock_requests_place;
CREATE TABLE lock_requests (
    id bigint CONSTRAINT lock_requests_pkey PRIMARY KEY,
    request_id uuid NOT NULL,
    principal text NOT NULL,
    fingerprint uuid NOT NULL,
    selector uuid NOT NULL,
    priority integer NOT NULL,
    user_id uuid,
    project_id uuid,
    env text,
    domain text,
    labels jsonb NOT NULL,
    projects uuid[],
    count integer NOT NULL,
    owner text NOT NULL,
    metadata jsonb NOT NULL,
    ttl double precision NOT NULL,
    cooldown double precision NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    home uuid,
    satisfiable boolean NOT NULL DEFAULT true,
    granted_at timestamptz,
    confirmed_at timestamptz,
    keep_until timestamptz,
    users uuid[],
    leases uuid[],
    CONSTRAINT lock_requests_principal_request_id_key UNIQUE (principal, request_id)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 2000
);
CREATE INDEX lock_requests_line ON lock_requests (selector, priority DESC, id) WHERE granted_at IS NULL;
CREATE INDEX lock_requests_unconfirmed ON lock_requests (home)
    WHERE granted_at IS NOT NULL AND confirmed_at IS NULL;
CREATE INDEX lock_requests_keep_until ON lock_requests (keep_until) WHERE granted_at IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(HOMES)
    op.execute(LOCK_REQUESTS)
