"""The index of available users is by time alone.

Users leave it in no order, and a page is freed only when the last of its users has left: with the id in it the index
grew to six times the size it needs, without it entries of the same time share one, and it stays small.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

USERS_AVAILABLE = """
DROP INDEX users_available;
CREATE INDEX users_available ON users (available_at) WHERE status = 'active';
"""


def upgrade() -> None:
    op.execute(USERS_AVAILABLE)
