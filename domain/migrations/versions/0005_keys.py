"""API keys, the limits they set on webhooks, and which requests in line are made under a limit of locks."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Keys are never kept: only their SHA-256, by which they are found.
KEYS = """
CREATE TABLE api_keys (
    id uuid CONSTRAINT api_keys_pkey PRIMARY KEY,
    name text NOT NULL,
    hash bytea NOT NULL CONSTRAINT api_keys_hash_key UNIQUE,
    previous_hash bytea CONSTRAINT api_keys_previous_hash_key UNIQUE,
    previous_valid_until timestamptz,
    hint text NOT NULL,
    scopes text[] NOT NULL,
    projects uuid[],
    locks_most integer,
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CONSTRAINT api_keys_scopes_known
        CHECK (scopes <@ ARRAY['read', 'lock', 'events', 'admin'] AND cardinality(scopes) > 0),
    CONSTRAINT api_keys_previous_whole CHECK (num_nulls(previous_hash, previous_valid_until) IN (0, 2)),
    CONSTRAINT api_keys_counts CHECK (locks_most > 0)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX api_keys_name ON api_keys (name) WHERE revoked_at IS NULL;
"""

LIMITS = """
ALTER TABLE webhooks ADD COLUMN projects uuid[];
ALTER TABLE lock_requests ADD COLUMN limited boolean NOT NULL DEFAULT false;
"""


def upgrade() -> None:
    op.execute(KEYS)
    op.execute(LIMITS)
