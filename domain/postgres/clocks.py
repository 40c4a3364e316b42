"""The database's clock, the only one that counts."""

from datetime import datetime

from sqlalchemy import Connection, func, select


def now(conn: Connection) -> datetime:
    moment: datetime = conn.execute(select(func.clock_timestamp())).scalar_one()
    return moment
