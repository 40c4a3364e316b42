"""What calls have done, read from the farm's tables alone: an answer says what a call claims, these say what it did."""

from dataclasses import dataclass

from sqlalchemy import text

from tests.api.farms import Farm

TABLES = ("users", "outbox", "events", "lock_requests", "api_keys", "webhooks", "webhook_deliveries")
ROWS = "SELECT md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) FROM {} t"
DONE = """
SELECT replace(replace(type, 'botfarm.', ''), '.v1', '') || coalesce(':' || (data->>'owner'), '')
FROM outbox WHERE id > :after ORDER BY id
"""


@dataclass(frozen=True)
class Records:
    """One state of a farm whose relay does not run. `last` is the newest change."""

    digests: tuple[str, ...]
    last: int

    @classmethod
    def of(cls, farm: Farm) -> "Records":
        with farm.engine.begin() as conn:
            digests = tuple(str(conn.scalar(text(ROWS.format(table)))) for table in TABLES)
            return cls(digests, conn.scalar(text("SELECT coalesce(max(id), 0) FROM outbox")) or 0)

    def since(self, farm: Farm) -> list[str]:
        """What was done after this state, in order: kind, and for locks the owner."""
        with farm.engine.begin() as conn:
            return list(conn.scalars(text(DONE), {"after": self.last}))
