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

# The new index is made first: meanwhile nobody can write, but all can read. Dropping the old one takes an instant, and
# its lock is waited for no longer than `lock_timeout`; CONCURRENTLY would take the migration out of its transaction.
USERS = """
CREATE INDEX users_available_at ON users (available_at) WHERE status = 'active';
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX users_available;
ALTER TABLE users SET (fillfactor = 60);
"""


def upgrade() -> None:
    op.execute(USERS)
