"""A server that is there and says nothing: its machine still takes packets, and no process answers them."""

import contextlib
import signal
from collections.abc import Iterable, Iterator

import psutil

from standalone.processes.parts import Server


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop all its processes, the leader first, so that it starts no other; one that ends meanwhile is none of them."""
    leader = psutil.Process(server.pid)
    leader.send_signal(signal.SIGSTOP)
    family = [leader, *leader.children(recursive=True)]
    try:
        _send(family, signal.SIGSTOP)
        yield
    finally:
        _send(reversed(family), signal.SIGCONT)


def _send(family: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
