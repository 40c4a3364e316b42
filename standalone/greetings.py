"""What is shown once everything answers."""

from pathlib import Path

from sqlalchemy import make_url

from standalone.addresses import Address
from standalone.output import say
from standalone.servers.postgres import Postgres

CALLS = """\
Try it: make a bot user, take its lock, give it back.

  api={api}/api/v1
  id=$(curl -s "$api/users/"{header} -H 'Content-Type: application/json' \\
    -d "{{\\"login\\": \\"bot-$(date +%s)\\", \\"password\\": \\"secret\\"}}" | sed -E 's/.*"id": ?"([^"]+)".*/\\1/')
  curl -s -X POST{header} "$api/users/$id/acquire_lock"; echo
  curl -s -X POST{header} "$api/users/$id/release_lock"; echo
"""


def greet(
    *,
    api: Address,
    worker: Address,
    database_url: str,
    redis_url: str,
    data_dir: Path,
    postgres: Postgres | None,
    keys_needed: bool,
) -> None:
    """Addresses without passwords: output ends up in files and screenshots."""
    say("\nBotfarm is ready.")
    say(f"  API       {api.url}/api/v1")
    say(f"  docs      {api.url}/docs")
    say(f"  worker    {worker.url}/health")
    say(f"  Postgres  {shown(database_url)}")
    say(f"  Valkey    {shown(redis_url)}")
    say(f"  data      {data_dir}")
    if postgres is not None:
        say(f"            {data_dir / 'postgres.password'}: the password of Postgres")
        if not postgres.home.is_relative_to(data_dir):
            say(f"            {postgres.home}: the data of Postgres, whose user cannot enter the folder above")
    say(f"  logs      {data_dir / 'logs'}")
    header = " -H 'Authorization: Bearer bf_…'" if keys_needed else ""
    say("\n" + CALLS.format(api=api.url, header=header))
    say("Ctrl-C stops everything.")


def shown(url: str) -> str:
    parsed = make_url(url)
    return parsed.set(drivername=parsed.drivername.split("+")[0]).render_as_string(hide_password=True)
