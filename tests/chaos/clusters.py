"""Real Postgres servers that follow each other asynchronously, and what is done to them in a failover."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text

from domain.postgres import engines
from standalone.processes import processes
from standalone.servers import binaries, data_places
from standalone.servers.postgres import Postgres
from tests.patience import eventually

FOLLOW = "ALTER SYSTEM SET primary_conninfo = '{conninfo}'"
CAUGHT_UP = "SELECT pg_last_wal_replay_lsn() >= CAST(:lsn AS pg_lsn)"
RECEIVING = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
TIMELINE = "SELECT CAST(left(pg_walfile_name(pg_current_wal_lsn()), 8) AS int)"


@dataclass
class Node:
    """One server; `url` leads to the farm's database on it."""

    server: Postgres

    @property
    def url(self) -> str:
        return self.server.url()

    def ask(self, statement: str, **values: Any) -> Any:
        engine = engines.engine(self.url, pool_size=1, patience_seconds=60, autocommit=True)
        try:
            with engine.connect() as conn:
                found = conn.execute(text(statement), values)
                return found.scalar_one() if found.returns_rows else None
        finally:
            engine.dispose()

    def follower(self, folder: Path) -> "Node":
        """A standby made of a base backup; it streams from this server, which does not wait for it."""
        place = data_places.settle(data_places.data_folder(folder))
        backup = processes.run(
            [
                str(binaries.postgres(account=place.account) / "pg_basebackup"),
                f"--pgdata={place.home / 'data'}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                f"--dbname={_conninfo(self.url)}",
            ],
            account=place.account,
            environment=dict(os.environ),
            folder=Path("/"),
        )
        assert backup.returncode == 0, backup.stderr
        password = folder / "postgres.password"
        password.write_text((self.server.data_dir / "postgres.password").read_text())
        password.chmod(0o600)
        node = Node(Postgres(folder))
        node.server.start()
        return node

    def await_lag_of(self, standby: "Node") -> None:
        """Return when the standby has applied everything that this server has written by now."""
        lsn = self.ask("SELECT CAST(pg_current_wal_insert_lsn() AS text)")
        assert eventually(lambda: bool(standby.ask(CAUGHT_UP, lsn=lsn)))

    def follow(self, other: "Node") -> None:
        self._set_source(_conninfo(other.url))
        assert eventually(lambda: bool(self.ask(RECEIVING)))

    def cut_off(self) -> None:
        """Let it receive nothing any more: what its primary grants from now on will be missing here."""
        self._set_source("")
        assert eventually(lambda: not self.ask(RECEIVING))

    def promote(self) -> int:
        """Make it a primary; the timeline that begins."""
        assert self.ask("SELECT pg_promote(true, 60)")
        return int(self.ask(TIMELINE))

    def _set_source(self, conninfo: str) -> None:
        self.ask(FOLLOW.format(conninfo=conninfo))
        self.ask("SELECT pg_reload_conf()")


def _conninfo(url: str) -> str:
    made = make_url(url)
    return f"host={made.host} port={made.port} user={made.username} password={made.password} dbname={made.database}"
