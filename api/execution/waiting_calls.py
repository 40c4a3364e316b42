"""A call that waits in line."""

import asyncio
from dataclasses import dataclass

from domain.requests import Granted


@dataclass(eq=False, slots=True)
class Waiter:
    """An open call; its future gets what its request was granted, or None when there is nothing to wait for any more.

    `joined` once its request is in line. `leaving` when it has stopped waiting and the line does not know yet: a grant
    of that moment is still its own. `shared` when another call was answered with its grant too, and may have received
    it.
    """

    loop: asyncio.AbstractEventLoop
    granted: asyncio.Future[Granted | None]
    joined: bool = False
    leaving: bool = False
    shared: bool = False

    def outcome(self) -> Granted | None:
        return self.granted.result() if self.granted.done() else None


def resolve(waiter: Waiter, granted: Granted | None) -> None:
    if not waiter.granted.done():
        waiter.granted.set_result(granted)
