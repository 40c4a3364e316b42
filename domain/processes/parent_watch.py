"""How a process knows that its supervisor is gone, however it went: it must not outlive it.

The supervisor holds the writing end of a pipe and never writes. When it ends, `kill -9` included, the system closes
that end and the reading ends see the end of the file. On Linux the kernel is asked for the same besides (prctl(2),
PR_SET_PDEATHSIG), which works even on a process that is stopped or stuck.
"""

import ctypes
import os
import signal
import threading

PR_SET_PDEATHSIG = 1
ORPHANED = 3  # exit code


def make() -> tuple[int, int]:
    """The reading end, to be passed on to processes, and the writing end, to be held."""
    return os.pipe()


def hold(fileno: int) -> None:
    """End this process at once when the supervisor ends. What it was doing is safe to be cut off anywhere."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # After the wish: a supervisor that ended before it is seen here, at once.
    threading.Thread(target=_watch, args=(fileno,), name="lifeline", daemon=True).start()


def _watch(fileno: int) -> None:
    os.read(fileno, 1)
    os._exit(ORPHANED)
