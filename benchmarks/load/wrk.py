"""Closed-loop load by wrk (https://github.com/wg/wrk): so many clients, each always with one request on its way."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.failures import ProgramMissing, Unmeasured

SCRIPT = Path(__file__).with_name("replay.lua")
PATIENCE_SECONDS = 60
TIMEOUT_SECONDS = 10
POLL_SECONDS = 0.2
TOLD = "REPLAY "


@dataclass(frozen=True, slots=True)
class Drive:
    """What a stretch of load came to: successful answers a second, and how long they took."""

    answers: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def require() -> None:
    """Raises ProgramMissing."""
    if shutil.which("wrk") is None:
        raise ProgramMissing("wrk, which makes the load, is not installed: apt install wrk")


def write_requests(requests: Iterable[tuple[str, str]], *, file: Path) -> None:
    """Paths and bodies, for `replay` to send in this order and in a circle."""
    file.write_text("".join(f"{path}\t{body}\n" for path, body in requests), encoding="utf-8")


def replay(url: str, *, file: Path, clients: int, seconds: float, headers: Mapping[str, str]) -> Drive:
    """Raises Unmeasured when any call was refused or got no answer.

    One thread sends everything, so that a request follows what stands before it in the file.
    """
    environment = {"REPLAY_FILE": str(file), "REPLAY_AUTHORIZATION": headers.get("Authorization", "")}
    return _judged(_told(run(url, script=SCRIPT, environment=environment, clients=clients, seconds=seconds)), url=url)


def run(
    url: str,
    *,
    script: Path,
    environment: Mapping[str, str],
    clients: int,
    seconds: float,
    threads: int = 1,
    over: threading.Event | None = None,
) -> "subprocess.CompletedProcess[str]":
    """What wrk came to by that script, for whole seconds and one at least, or until `over` is set.

    Raises Unmeasured when it does not end.
    """
    whole = max(1, round(seconds))
    command = ["wrk", f"-t{threads}", f"-c{clients}", f"-d{whole}s", f"--timeout={TIMEOUT_SECONDS}s", "-s", str(script)]
    deadline = time.monotonic() + whole + PATIENCE_SECONDS
    with subprocess.Popen(  # noqa: S603  -- our own command line
        [*command, url], env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                stdout, stderr = process.communicate(timeout=POLL_SECONDS)
                return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
            if over is not None and over.is_set():
                process.send_signal(signal.SIGINT)  # it tells what it has seen, as at the end of its time
        process.kill()
    raise Unmeasured("wrk did not come to an end")


def _told(done: "subprocess.CompletedProcess[str]") -> dict[str, float]:
    for line in done.stdout.splitlines():
        if line.startswith(TOLD):
            body: dict[str, float] = json.loads(line.removeprefix(TOLD))
            return body
    raise Unmeasured(f"wrk failed: {' '.join((done.stderr or done.stdout).split())[-300:]}")


def _judged(summary: Mapping[str, float], *, url: str) -> Drive:
    if summary["refused"] or summary["broken"]:
        raise Unmeasured(
            f"{url} refused {summary['refused']:.0f} and did not answer {summary['broken']:.0f} "
            f"of {summary['answers']:.0f} calls that should all have succeeded"
        )
    if not summary["answers"]:
        raise Unmeasured(f"{url} answered nothing in {summary['seconds']:.0f} s")
    return Drive(int(summary["answers"]), summary["seconds"], summary["p50_ms"], summary["p99_ms"])
