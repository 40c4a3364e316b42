"""What whoever starts Botfarm may choose, on the command line or in the environment."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from domain.configuration.settings import Settings
from standalone.errors import StandaloneError

HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class Options:
    """`port` is None where none was asked for; `settings` are the environment's."""

    ephemeral: bool
    host: str
    port: int | None
    data_dir: Path
    ready_file: Path | None
    settings: Settings

    def named(self, setting: str) -> bool:
        """Whether the environment says something about it."""
        return setting in self.settings.model_fields_set


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Raises StandaloneError for an environment that cannot be meant."""
    chosen = _parser().parse_args(arguments)
    settings = _settings()
    return Options(
        ephemeral=chosen.ephemeral,
        host=chosen.host or settings.host,
        port=chosen.port,
        data_dir=chosen.data_dir,
        ready_file=chosen.ready_file,
        settings=settings,
    )


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()]
        raise StandaloneError("; ".join(wrong)) from None
    except ValueError as error:  # of a file that a setting stands in
        raise StandaloneError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m standalone",
        description="Run the whole of Botfarm on this machine, with a Postgres and a Valkey of its own.",
        epilog="DATABASE_URL and REDIS_URL, where set, are used instead of the servers of its own.",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--ephemeral", action="store_true", help="keep nothing: the data is deleted at the end")
    where.add_argument("--data-dir", type=Path, default=Path(".botfarm"), help="where the data is kept (.botfarm)")
    parser.add_argument("--host", help="address of the API (BOTFARM_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=port_number, help="port of the API, 0 for any free one (BOTFARM_PORT, 8000)")
    parser.add_argument("--ready-file", type=Path, help="a JSON file with addresses and pids, there while all is up")
    return parser


def port_number(text: str) -> int:
    port = int(text)
    if not 0 <= port <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port
