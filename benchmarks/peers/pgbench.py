"""What Postgres alone gives when each change is a statement of its own: pgbench with the plain peer's two statements.

An acquire and a release of the same user make one transaction, so two changes share one sync to disk.
"""

import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from sqlalchemy import URL, Engine, text

from benchmarks.failures import ProgramMissing, Unmeasured
from benchmarks.load.wrk import Drive
from benchmarks.peers import plain_app
from standalone.errors import StandaloneError
from standalone.servers import binaries

PATIENCE_SECONDS = 60
CONNECTIONS_A_SECOND = 50  # pgbench's clock runs while it connects, which its rate leaves out
CHANGES = 2
COLUMN_OF_MICROSECONDS = 2
USER_ID = "('00000000-0000-4000-8000-' || lpad(to_hex(:user::bigint), 12, '0'))::uuid"
NUMBER_USERS = text(f"""
UPDATE users SET id = {USER_ID.replace(":user::bigint", "substr(login, 5)::bigint")}
""")  # noqa: S608  -- composed of constants
REPORTED = {
    "transactions": re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE),
    "failed": re.compile(r"^number of failed transactions: (\d+)", re.MULTILINE),
    "rate": re.compile(r"^tps = ([\d.]+)", re.MULTILINE),
}
# pgbench would take the colons of the format for variables of its own.
FORMAT = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
VARIABLES = {"utc": FORMAT, "owner": "bench", "principal": "bench", "metadata": "{}"}


def program() -> Path:
    """The one of the embedded Postgres, or the system's. Raises ProgramMissing."""
    try:
        embedded = binaries.postgres(account=None) / "pgbench"
    except StandaloneError:
        embedded = None
    found = str(embedded) if embedded and embedded.exists() else shutil.which("pgbench")
    if found is None:
        raise ProgramMissing("pgbench is not installed: apt install postgresql-contrib, or --without pgbench")
    return Path(found)


def script(*, users: int) -> str:
    """One transaction: a random user is acquired and released."""
    acquire, release = map(_statement, (plain_app.ACQUIRE, plain_app.RELEASE))
    return f"\\set user random(1, {users})\nBEGIN;\n{acquire};\n{release};\nEND;\n"


def _statement(sql: str) -> str:
    """The plain peer's, its values filled in: pgbench has numbers only, but for what is given on the command line."""
    filled = (
        sql.replace(f"'{FORMAT}'", ":utc")
        .replace("CAST(:user_id AS uuid)", USER_ID)
        .replace("CAST(:lease_id AS uuid)", "gen_random_uuid()")
        .replace(":ttl_seconds", "900")
    )
    return filled.strip()


def number_users(engine: Engine) -> None:
    """Give the users ids that can be computed, for pgbench cannot look one up."""
    with engine.begin() as conn:
        conn.execute(NUMBER_USERS)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM (FULL, ANALYZE) users"))


def drive(url: URL, *, users: int, clients: int, seconds: float, folder: Path) -> Drive:
    """Changes a second, and the latency of the transactions. Raises Unmeasured when one failed."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="pgbench-") as own:
        file = Path(own) / "change.sql"
        file.write_text(script(users=users), encoding="utf-8")
        whole = max(1, round(seconds)) + clients // CONNECTIONS_A_SECOND
        done = subprocess.run(  # noqa: S603  -- our own command line
            _command(url, file=file, clients=clients, seconds=whole),
            env=_environment(url),
            cwd=own,
            capture_output=True,
            text=True,
            timeout=whole + PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode != 0 or "aborted" in done.stderr:
            raise Unmeasured(f"pgbench failed: {' '.join(done.stderr.split())[-300:]}")
        return _drive(done.stdout, logs=Path(own))


def _command(url: URL, *, file: Path, clients: int, seconds: int) -> list[str]:
    return [
        *(str(program()), "-n", "-M", "prepared", "-f", str(file), "-T", str(seconds)),
        *("-c", str(clients), "-j", str(min(2, clients)), "--log", "--log-prefix=transactions"),
        *(f"-D{name}={value}" for name, value in VARIABLES.items()),
        *("-h", str(url.host), "-p", str(url.port), "-U", str(url.username), str(url.database)),
    ]


def _environment(url: URL) -> dict[str, str]:
    return {"PGPASSWORD": str(url.password or ""), "LC_ALL": "C"}


def _drive(output: str, *, logs: Path) -> Drive:
    found = {name: float(match[1]) for name, expression in REPORTED.items() if (match := expression.search(output))}
    if found.get("failed") or not found.get("transactions"):
        raise Unmeasured(f"pgbench's transactions failed: {' '.join(output.split())[-300:]}")
    times = [
        int(line.split()[COLUMN_OF_MICROSECONDS]) / 1e3
        for log in logs.glob("transactions*")
        for line in log.read_text(encoding="ascii").splitlines()
    ]
    cuts = statistics.quantiles(times, n=100)
    seconds = found["transactions"] / found["rate"]
    return Drive(int(found["transactions"]) * CHANGES, seconds, p50_ms=cuts[49], p99_ms=cuts[98])
