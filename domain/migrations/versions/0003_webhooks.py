"""Webhooks, each with its cursor, and what became of their deliveries."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# One row is written with every delivery of its endpoint: half of each page is left free for that.
WEBHOOKS = """
CREATE TABLE webhooks (
    id uuid CONSTRAINT webhooks_pkey PRIMARY KEY,
    url text NOT NULL,
    description text,
    types text[] NOT NULL DEFAULT '{}',
    user_id uuid,
    project_id uuid,
    env text,
    secret_sealed text NOT NULL,
    previous_secret_sealed text,
    previous_valid_until timestamptz,
    status text NOT NULL DEFAULT 'active',
    status_reason text,
    status_since timestamptz NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    troubled boolean NOT NULL DEFAULT true,
    claim uuid,
    claimed_until timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT webhooks_status_known CHECK (status IN ('active', 'paused', 'disabled')),
    CONSTRAINT webhooks_disabled_why CHECK ((status = 'disabled') = (status_reason IS NOT NULL)),
    CONSTRAINT webhooks_previous_whole CHECK (num_nulls(previous_secret_sealed, previous_valid_until) IN (0, 2)),
    CONSTRAINT webhooks_claim_whole CHECK (num_nulls(claim, claimed_until) IN (0, 2)),
    CONSTRAINT webhooks_counts CHECK (seq >= 0 AND attempt >= 0)
) WITH (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
"""

DELIVERIES = """
CREATE TABLE webhook_deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1) CONSTRAINT webhook_deliveries_pkey PRIMARY KEY,
    webhook_id uuid NOT NULL
        CONSTRAINT webhook_deliveries_webhook_id_fkey REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    attempt integer NOT NULL,
    requested_at timestamptz NOT NULL,
    status integer,
    error text,
    latency_ms integer,
    answer text,
    CONSTRAINT webhook_deliveries_kind_known CHECK (kind IN ('first', 'retry', 'again')),
    CONSTRAINT webhook_deliveries_outcome_whole
        CHECK ((latency_ms IS NULL) = (status IS NULL AND error IS NULL)),
    CONSTRAINT webhook_deliveries_only_again_waits CHECK (latency_ms IS NOT NULL OR kind = 'again')
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX webhook_deliveries_newest ON webhook_deliveries (webhook_id, id DESC);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, id) WHERE latency_ms IS NULL;
"""


def upgrade() -> None:
    op.execute(WEBHOOKS)
    op.execute(DELIVERIES)
