"""Random UUIDs without one system call per id.

`os.urandom` releases the interpreter lock, and under load the event loop waits up to 5 ms to get it back. So random
bytes are drawn in bulk. The ids are as unguessable as those of `uuid.uuid4`: the same bytes, drawn earlier.
"""

import os
import threading
from uuid import UUID

SIZE = 16
IDS_PER_DRAW = 256


class _Source:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._bytes = b""

    def forget(self) -> None:
        """Drop the bytes: the child of a fork must not draw the same ids as its parent."""
        self._bytes = b""

    def draw(self) -> bytes:
        with self._guard:
            if not self._bytes:
                self._bytes = os.urandom(SIZE * IDS_PER_DRAW)
            drawn, self._bytes = self._bytes[:SIZE], self._bytes[SIZE:]
        return drawn


_source = _Source()
os.register_at_fork(after_in_child=_source.forget)


def new_hex() -> str:
    """A unique id of 32 hexadecimal digits, where a UUID is not needed."""
    return _source.draw().hex()


def new() -> UUID:
    """A random UUID (version 4)."""
    return UUID(bytes=_source.draw(), version=4)
