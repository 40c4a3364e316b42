"""Random UUIDs without a system call each.

`os.urandom` lets go of the interpreter lock, and under load the event loop then waits for its turn: up to 5 ms, for 16
bytes. So they are drawn in bulk. They are as unguessable as `uuid.uuid4`: the same bytes, fetched earlier.
"""

import os
import threading
from uuid import UUID

SIZE = 16
DRAWN = 256  # UUIDs a system call


class _Source:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._bytes = b""

    def forget(self) -> None:
        """For the child of a fork, which must not draw what its parent draws."""
        self._bytes = b""

    def draw(self) -> bytes:
        with self._guard:
            if not self._bytes:
                self._bytes = os.urandom(SIZE * DRAWN)
            drawn, self._bytes = self._bytes[:SIZE], self._bytes[SIZE:]
        return drawn


_source = _Source()
os.register_at_fork(after_in_child=_source.forget)


def new_hex() -> str:
    """What tells one thing from all others, as 32 hexadecimal digits: for whoever needs no UUID."""
    return _source.draw().hex()


def new() -> UUID:
    """A random UUID (version 4)."""
    return UUID(bytes=_source.draw(), version=4)
