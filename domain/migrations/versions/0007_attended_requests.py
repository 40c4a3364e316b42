"""An index of the requests that calls wait for, apart from those that are asked and granted in one transaction.

Each of those leaves an entry in `lock_requests_line` that is dead as soon as it is made. They are skipped at no cost
until somebody holds a snapshot open, as a report or a backup does: then every statement that looks for the line, and
each acquire does, reads all of them again.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ATTENDED = """
CREATE INDEX lock_requests_attended ON lock_requests (selector, priority DESC, id)
    WHERE granted_at IS NULL AND home IS NOT NULL;
"""


def upgrade() -> None:
    op.execute(ATTENDED)
