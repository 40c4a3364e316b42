"""The environment that API, worker and migrations are given."""

import os
from pathlib import Path

from standalone.addresses import Address
from standalone.options import Options

SOURCES = Path(__file__).resolve().parent.parent


def complete(
    options: Options, *, data_dir: Path, database_url: str, redis_url: str, api: Address, worker: Address
) -> dict[str, str]:
    """Ours, with what was decided here. The folder we were started in is not searched for modules."""
    decided = {
        **key_file(options, data_dir=data_dir),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "BOTFARM_HOST": api.host,
        "BOTFARM_PORT": str(api.port),
        "BOTFARM_WORKER_HOST": worker.host,
        "BOTFARM_WORKER_PORT": str(worker.port),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCES), os.environ.get("PYTHONPATH")])),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    files = {f"{name}_FILE" for name in decided}  # of settings that would then be given twice
    return {name: value for name, value in os.environ.items() if name not in files} | decided


def key_file(options: Options, *, data_dir: Path) -> dict[str, str]:
    """The sealing keys lie in the data folder, unless whoever starts us has keys or a place for them."""
    if options.settings.secret_keys_file:
        return {"BOTFARM_SECRET_KEYS_FILE": options.settings.secret_keys_file}
    return {} if options.settings.secret_keys else {"BOTFARM_SECRET_KEYS_FILE": str(data_dir / "secret.keys")}
