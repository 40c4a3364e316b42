"""Where a run took place, and with which versions: a figure says little without them."""

import contextlib
import importlib.metadata
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import redis
from sqlalchemy import text

from benchmarks.failures import ProgramMissing
from benchmarks.farms import servers
from benchmarks.peers import etcd, pgbench
from benchmarks.peers.peers import PROCESSES
from domain.postgres import engines

ROOT = Path(__file__).parents[2]
LIBRARIES = ("fastapi", "httptools", "psycopg2-binary", "pydantic", "redis", "sqlalchemy", "uvicorn", "uvloop")
SYNCS = 50
PAGE = b"\0" * 8_192
NUMBER = re.compile(r"\d+(?:\.\d+)+")


def machine(folder: Path) -> dict[str, str]:
    return {
        "CPU": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "processes of a service": str(PROCESSES),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
        "write and sync 8 kB": f"{_sync_ms(folder):.2f} ms (median of {SYNCS})",
    }


def versions(*, database_url: str, redis_url: str) -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "Postgres": _postgres(database_url),
        "Redis protocol": _redis(redis_url),
        "wrk": _told("wrk", "-v"),
    }
    for name, program in (("pgbench", pgbench.program), ("etcd", etcd.program)):
        with contextlib.suppress(ProgramMissing):
            found[name] = _told(str(program()), "--version")
    return found | {name: importlib.metadata.version(name) for name in LIBRARIES}


def commit() -> str:
    """The commit that was measured, marked when files differ from it."""
    return _git("describe", "--always", "--abbrev=12", "--dirty", "--exclude=*") or "unknown"


def _git(*arguments: str) -> str:
    with contextlib.suppress(OSError):
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607  -- git of the system, words of our own
        return done.stdout.strip()
    return ""


def _told(*command: str) -> str:
    """The first thing that looks like a version in what the program says, whatever it ends with."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603  -- words of our own
    except OSError:
        return "unknown"
    found = NUMBER.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _cpu() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    """Of the mount that the folder lies in."""
    path = str(folder.resolve())
    mounts = [mount for mount in psutil.disk_partitions(all=True) if path.startswith(mount.mountpoint)]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"


def _sync_ms(folder: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(PAGE)
            file.flush()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def _postgres(url: str) -> str:
    engine = engines.engine(url)
    with contextlib.closing(engine.connect()) as conn:
        body = str(conn.execute(text("SHOW server_version")).scalar_one())
    engine.dispose()
    return body


def _redis(url: str) -> str:
    if not servers.answers(url):
        return "none answers"
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        body = client.info("server")
    assert isinstance(body, dict)
    own = body.get("valkey_version")
    return f"Valkey {own}" if own else f"Redis {body['redis_version']}"
