"""Who holds what: all leases of one owner, to be renewed or released together."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, text

OWNED = text("""
SELECT u.id, u.lease_id FROM users u
WHERE u.locktime IS NOT NULL AND u.lock_expires_at > (SELECT clock_timestamp())
    AND u.lock_principal = :principal AND u.lock_owner = :owner
    AND (CAST(:projects AS uuid[]) IS NULL OR u.project_id = ANY (:projects))
ORDER BY u.id
""")


def owned(
    conn: Connection, *, principal: str, owner: str, projects: Collection[UUID] | None = None
) -> list[tuple[UUID, UUID]]:
    """User and lease of each lock in force that the principal took for this owner."""
    parameters = {"principal": principal, "owner": owner, "projects": None if projects is None else list(projects)}
    return [(row.id, row.lease_id) for row in conn.execute(OWNED, parameters)]
