"""How a process learns that its supervisor has ended, however that ended: a child must not outlive it.

The supervisor holds the write end of a pipe and never writes. When it ends, by `kill -9` too, the system closes that
end and the children read end-of-file. On Linux a child also asks the kernel for SIGKILL at its parent's death
(prctl(2), PR_SET_PDEATHSIG), which works on a stopped or stuck process as well.
"""

import ctypes
import os
import signal
import threading

PR_SET_PDEATHSIG = 1
ORPHANED = 3  # exit code


def make() -> tuple[int, int]:
    """The read end, to be passed to the children, and the write end, to be held by the supervisor."""
    return os.pipe()


def hold(fileno: int) -> None:
    """End this process at once when the supervisor ends. Everything it does is safe to interrupt at any point."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    # After prctl: if the supervisor ended before that call, this thread reads end-of-file at once.
    threading.Thread(target=_watch, args=(fileno,), name="lifeline", daemon=True).start()


def _watch(fileno: int) -> None:
    os.read(fileno, 1)
    os._exit(ORPHANED)
