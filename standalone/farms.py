"""The whole of Botfarm on one machine: which parts there are, in which order they start and stop."""

import json
import os
import sys
from functools import cached_property
from pathlib import Path

from standalone import addresses, environments, files, ports
from standalone.addresses import Address
from standalone.errors import StandaloneError
from standalone.greetings import greet
from standalone.options import Options
from standalone.output import say, step
from standalone.processes import leftovers, processes
from standalone.processes.parts import Part
from standalone.processes.programs import Program
from standalone.processes.supervisors import Supervisor
from standalone.servers.postgres import Postgres
from standalone.servers.valkey import Valkey

ROLES = ("postgres", "valkey", "api", "worker")
POSTGRES_PORT, VALKEY_PORT = 5432, 6379


class Farm:
    """The parts on one data folder. They start as Postgres, Valkey, worker, API, and stop the other way round.

    `stop` ends whatever has begun, also when `start` failed or was interrupted.
    """

    def __init__(self, options: Options, *, data_dir: Path) -> None:
        self._options = options
        self._data_dir = data_dir
        self._parts: dict[str, Part] = {}
        self._postgres: Postgres | None = None
        self._database_url = options.settings.database_url
        self._redis_url = options.settings.redis_url
        self._has_announced = False

    def start(self) -> None:
        """Return when everything answers. Raises StandaloneError."""
        if living := leftovers.noted(self._pids_file):
            with step("waiting for the end of an earlier run"):
                leftovers.see_out(living)
        _ = self._api, self._worker  # a port that is taken is reported before anything starts
        self._start_servers()
        with step("migrating the database"):
            self._migrate()
        with step("starting worker and API"):
            self._start_programs()
        self._tell()
        self._greet()

    def watch(self) -> None:
        """Keep the parts alive. Raises StandaloneError when one has died for good."""
        Supervisor(list(self._parts.values()), changed=self._tell).watch()

    def stop(self) -> None:
        if self._has_announced and self._options.ready_file is not None:
            self._options.ready_file.unlink(missing_ok=True)
        for part in reversed(self._parts.values()):
            with step(f"stopping {part.name}"):
                part.stop()
        if self._parts:
            self._pids_file.unlink(missing_ok=True)

    @cached_property
    def _api(self) -> Address:
        return addresses.api(self._options)

    @cached_property
    def _worker(self) -> Address:
        return addresses.worker(self._options)

    @property
    def _pids_file(self) -> Path:
        return self._data_dir / "pids.json"

    @cached_property
    def _environment(self) -> dict[str, str]:
        """To be asked for once the servers run and have their ports."""
        return environments.complete(
            self._options,
            data_dir=self._data_dir,
            database_url=self._database_url,
            redis_url=self._redis_url,
            api=self._api,
            worker=self._worker,
        )

    def _start_servers(self) -> None:
        """Those of our own; what the environment names is used as it is."""
        if not self._options.named("database_url"):
            port = self._server_port(POSTGRES_PORT, who="Postgres")
            self._postgres = Postgres(self._data_dir, port=port)
            self._start("postgres", self._postgres)
            self._database_url = self._postgres.url()
        if not self._options.named("redis_url"):
            valkey = Valkey(self._data_dir, port=self._server_port(VALKEY_PORT, who="Valkey"))
            self._start("valkey", valkey)
            self._redis_url = valkey.url()

    def _server_port(self, usual: int, *, who: str) -> int:
        return ports.free() if self._options.ephemeral else addresses.preferred(usual, who=who)

    def _start(self, role: str, part: Part) -> None:
        self._parts[role] = part
        with step(f"starting {part.name}"):
            part.start()
            self._note_pids()

    def _migrate(self) -> None:
        """Raises StandaloneError with the migration's own last line."""
        make_keys = ["--make-key-file"] if self._environment.get("BOTFARM_SECRET_KEYS_FILE") else []
        command = [sys.executable, "-m", "domain", "migrate", *make_keys]
        done = processes.run(command, environment=self._environment)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"the migration ended with exit code {done.returncode}"]
            raise StandaloneError(lines[-1].removeprefix("botfarm: "), log_lines=lines[-15:-1])

    def _start_programs(self) -> None:
        """Both at once: each needs a second to import what it is made of."""
        for program in (self._program("worker", self._worker, "/health"), self._program("api", self._api, "/readyz")):
            self._parts[program.name] = program
            program.launch()
        self._note_pids()
        for name in ("api", "worker"):
            self._parts[name].await_answer()

    def _program(self, name: str, address: Address, path: str) -> Program:
        return Program(
            name,
            command=[sys.executable, "-m", name],
            environment=self._environment,
            log=self._data_dir / "logs" / f"{name}.log",
            address=address.reached,
            path=path,
        )

    def _pids(self) -> dict[str, int | None]:
        """None for a part that is not ours, or is just being started again."""
        return {role: part.living_pid if (part := self._parts.get(role)) else None for role in ROLES}

    def _note_pids(self) -> None:
        leftovers.note(self._pids(), file=self._pids_file)

    def _tell(self) -> None:
        """Say in files who runs and where; again after each restart, which changes the pids."""
        self._note_pids()
        if self._options.ready_file is None:
            return
        body = {
            "api_url": self._api.url,
            "database_url": self._database_url,
            "redis_url": self._redis_url,
            "worker_url": self._worker.url,
            "pids": {"standalone": os.getpid(), **self._pids()},
        }
        self._has_announced = True
        files.write(self._options.ready_file, json.dumps(body, indent=2) + "\n")

    def _greet(self) -> None:
        greet(
            api=self._api,
            worker=self._worker,
            database_url=self._database_url,
            redis_url=self._redis_url,
            data_dir=self._data_dir,
            postgres=self._postgres,
            keys_needed=self._options.settings.auth == "keys",
        )
        if self._options.ephemeral and self._postgres is None:
            say("Note: sealing keys in a temporary folder go with it; passwords sealed now cannot be opened later.")
