"""Who holds what: all leases of one owner, and which of some leases are still in force."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

Lease = tuple[str, UUID, UUID]  # the principal that took it, the user, and the lease_id

OWNED = text("""
SELECT u.id, u.lease_id FROM users u
WHERE u.locktime IS NOT NULL AND u.lock_expires_at > (SELECT clock_timestamp())
    AND u.lock_principal = :principal AND u.lock_owner = :owner
    AND (CAST(:projects AS uuid[]) IS NULL OR u.project_id = ANY (:projects))
ORDER BY u.id
""")

LIVING = text("""
SELECT m.principal, m.user_id, m.lease_id
FROM unnest(CAST(:principals AS text[]), CAST(:user_ids AS uuid[]), CAST(:lease_ids AS uuid[]))
    AS m (principal, user_id, lease_id)
    JOIN users u ON u.id = m.user_id AND u.lease_id = m.lease_id AND u.lock_principal = m.principal
WHERE u.lock_expires_at > (SELECT clock_timestamp())
""")


def owned(
    conn: Connection, *, principal: str, owner: str, projects: Collection[UUID] | None = None
) -> list[tuple[UUID, UUID]]:
    """User and lease of each lock in force that the principal took for this owner."""
    parameters = {"principal": principal, "owner": owner, "projects": None if projects is None else list(projects)}
    return [(row.id, row.lease_id) for row in conn.execute(OWNED, parameters)]


def living(conn: Connection, leases: Sequence[Lease]) -> set[Lease]:
    """Those of the leases that are in force. Locks nothing and waits for nobody."""
    columns = {
        "principals": [principal for principal, _, _ in leases],
        "user_ids": [str(user_id) for _, user_id, _ in leases],
        "lease_ids": [str(lease_id) for _, _, lease_id in leases],
    }
    return {(row.principal, row.user_id, row.lease_id) for row in conn.execute(LIVING, columns)} if leases else set()
