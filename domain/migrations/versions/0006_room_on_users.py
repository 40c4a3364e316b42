"""What keeps users and their indexes from growing with the lock changes.

The index of available users is by time alone. Users leave it in no order, and a page is freed only when the last of its
users has left: with the id in it the index grew to six times the size it needs, without it entries of the same time
share one, and it stays small.

A row is a third longer once its user has been locked: pages are filled so that this room is there from the start.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

USERS = """
DROP INDEX users_available;
CREATE INDEX users_available ON users (available_at) WHERE status = 'active';
ALTER TABLE users SET (fillfactor = 60);
"""


def upgrade() -> None:
    op.execute(USERS)
