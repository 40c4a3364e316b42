"""Child processes on a leash: none outlives this process, not even after kill -9."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

import psutil

from standalone.accounts import Account
from standalone.errors import StandaloneError

LEASH = Path(__file__).with_name("leash.py")
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.02
SHOWN_LINES = 15
ROTATED_BYTES = 20_000_000
HELD_BACK = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

T = TypeVar("T")


class Process:
    """One program that is started, watched, stopped and started again, with its output in `log`.

    It leads a session of its own: Ctrl-C in the terminal reaches only us, and we stop the parts in order.
    `parting_signal` is what the system sends it when we die.
    """

    def __init__(self, name: str, *, log: Path, parting_signal: signal.Signals) -> None:
        self.name = name
        self.log = log
        self._parting_signal = parting_signal
        self._popen: subprocess.Popen[bytes] | None = None
        self._has_group = False
        self._log_began = 0

    @property
    def alive(self) -> bool:
        return self.living_pid is not None

    @property
    def living_pid(self) -> int | None:
        """None while it does not run."""
        return self._popen.pid if self._popen is not None and self._popen.poll() is None else None

    @property
    def pid(self) -> int:
        """Raises StandaloneError while it does not run."""
        if (pid := self.living_pid) is None:
            raise StandaloneError(f"{self.name} does not run")
        return pid

    @property
    def ending(self) -> str:
        """How it ended, for a person."""
        code = None if self._popen is None else self._popen.poll()
        if code is None:
            return "still runs" if self._popen else "never ran"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def launch(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        folder: Path | None = None,
    ) -> None:
        """Start it without waiting for an answer."""
        command = leashed(command, parting_signal=self._parting_signal, account=account)
        with open_log(self.log) as output:
            self._log_began = output.tell()
            self._popen = _spawn(
                lambda: subprocess.Popen(  # noqa: S603  -- our own command lines only
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=folder,
                    pass_fds=[lifeline()],
                    start_new_session=True,
                )
            )
            self._has_group = True

    def stop(self, *, by: Mapping[signal.Signals, float]) -> None:
        """Send each signal in turn and give it its seconds; who does not listen is killed."""
        for number, seconds in by.items():
            if not self.alive:
                break
            self._send(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert self._popen is not None
                self._popen.wait(timeout=seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL, as the kernel would when memory is out; returns when the children it left have gone as well."""
        if self._popen is None:
            return
        family = self._stopped_family()
        self._send(signal.SIGKILL)
        self._popen.wait()
        self._clear_group()
        if not passes(lambda: all(map(gone, family)), seconds=KILLED_SECONDS):
            for child in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            passes(lambda: all(map(gone, family)), seconds=KILLED_SECONDS)

    def last_lines(self) -> list[str]:
        """The end of what this run has written."""
        with contextlib.suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_began)
            return log.read().decode(errors="replace").splitlines()[-SHOWN_LINES:]
        return []

    def _send(self, number: signal.Signals) -> None:
        if self.alive:
            assert self._popen is not None
            self._popen.send_signal(number)

    def _clear_group(self) -> None:
        """Take along what it left in its group, once: later the number may be somebody else's."""
        if self._popen is not None and self._has_group:
            self._has_group = False
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def _stopped_family(self) -> list[psutil.Process]:
        """The children, with their parent stopped so that no further one is born."""
        if not self.alive:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self.pid)
            leader.suspend()
            return leader.children(recursive=True)
        return []


def leashed(command: Sequence[str], *, parting_signal: signal.Signals, account: Account | None = None) -> list[str]:
    """The command line that runs `command` on a leash of ours, as `account` where one is given.

    Whoever starts it passes the `lifeline` on.
    """
    user = f"{account.uid}:{account.gid}" if account else "-"
    numbers = (os.getpid(), int(parting_signal), lifeline())
    return [sys.executable, "-I", "-S", str(LEASH), *map(str, numbers), user, *command]


@functools.cache
def lifeline() -> int:
    """The end of a pipe at which the end of this process can be read, for nobody else has the other one."""
    reading, _ = os.pipe()
    return reading


def run(
    command: Sequence[str],
    *,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, on the leash too; both of its outputs are kept."""
    command = leashed(command, parting_signal=signal.SIGTERM, account=account)
    return _lastingly(
        lambda: subprocess.run(  # noqa: S603  -- our own command lines only
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            cwd=folder,
            pass_fds=[lifeline()],
            check=False,
        )
    )


def passes(condition: Callable[[], bool], *, seconds: float, poll_seconds: float = POLL_SECONDS) -> bool:
    """Whether the condition becomes true in time; it is looked at so often."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def gone(process: psutil.Process) -> bool:
    """Whether it has ended; that its parent has not noticed yet does not matter."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def open_log(path: Path) -> BinaryIO:
    """The log opened for more, and set aside first when it has grown long. Only its owner may read it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > ROTATED_BYTES:
        path.replace(path.with_suffix(".1.log"))
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _spawn(start: Callable[[], T]) -> T:
    """Start a process with signals held back: an interruption in the middle would lose the child's number."""

    def undisturbed() -> T:
        held = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            return start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    return _lastingly(undisturbed)


def _lastingly(call: Callable[[], T]) -> T:
    """Call in a thread that lives as long as the process: Linux takes the end of a child's THREAD for its parent's."""
    if threading.current_thread() is threading.main_thread():
        return call()
    return _spawner().submit(call).result()


@functools.cache
def _spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
