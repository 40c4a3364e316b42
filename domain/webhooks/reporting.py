"""How the webhooks of the farm fare, in a few figures."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

FIGURES = text("""
SELECT count(*) FILTER (WHERE status = 'active') AS active,
    count(*) FILTER (WHERE status = 'paused') AS paused,
    count(*) FILTER (WHERE status = 'disabled') AS disabled,
    count(*) FILTER (WHERE status = 'active' AND attempt > 0) AS failing,
    coalesce(max((SELECT last_seq FROM relay_state) - seq) FILTER (WHERE status = 'active'), 0) AS lag
FROM webhooks
""")


@dataclass(frozen=True, slots=True)
class Figures:
    """Webhooks by status, how many of the active ones fail, and by how many events the last of those is behind."""

    active: int
    paused: int
    disabled: int
    failing: int
    lag: int


def figures(conn: Connection) -> Figures:
    return Figures(*conn.execute(FIGURES).one())
