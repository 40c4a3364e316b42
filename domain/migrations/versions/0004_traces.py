"""Which trace a request that waits belongs to: whoever grants it later, the event tells of the call that asked."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TRACEPARENT = "ALTER TABLE lock_requests ADD COLUMN traceparent text;"


def upgrade() -> None:
    op.execute(TRACEPARENT)
