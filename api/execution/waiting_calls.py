"""A call that waits in line: everything that can happen to it, as states of one class.

A call that does not wait never comes here.

                       stop (it is not known whether it joined)
        ┌─────────────────────────────────────────────────────────┐
        │                                                         ▼
    JOINING ──── joined ────▶ WAITING ──── stop ────▶ LEAVING   UNSURE
        │                        │                       │         │
        │ refused, or granted    │ granted               │ left    │ left
        │ at once                ▼                       │         │
        └─────────────────────▶ ENDED ◀──────────────────┴─────────┘

A call stops because its time is over or its request left the line elsewhere, because its connection closed, or because
its key ended. While it is LEAVING or UNSURE the line does not know yet, so a grant of that moment is still its own.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from enum import Enum, auto
from typing import Any
from uuid import UUID

from domain.requests import Ask, Detach, Granted
from domain.requests.records import Key

Watch = Callable[[Callable[[], object]], Callable[[], None]]


class State(Enum):
    JOINING = auto()  # its request is on the way into the line
    WAITING = auto()  # its request is in line
    LEAVING = auto()  # it waits no longer, and its request is still in line
    UNSURE = auto()  # it waits no longer, and its request may be in line
    ENDED = auto()  # it has its answer


class Stop(Enum):
    """Why a call waits no longer."""

    TIME_OVER = auto()  # also when its request left the line elsewhere
    HUNG_UP = auto()  # its connection was closed, or nobody can be answered for another cause
    KEY_ENDED = auto()


FOLLOWING = {
    State.JOINING: {State.WAITING, State.UNSURE, State.ENDED},
    State.WAITING: {State.LEAVING, State.ENDED},
    State.LEAVING: {State.ENDED},
    State.UNSURE: {State.ENDED},
    State.ENDED: set[State](),
}


class WaitingCall:
    """One open call for `ask`, made and used on the event loop; `resolve` may be called from any thread.

    `shared` says that another call was answered with its grant too, and may have received it.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.state = State.JOINING
        self.shared = False
        self._loop = asyncio.get_running_loop()
        self._granted: asyncio.Future[Granted | None] = self._loop.create_future()
        self._hung_up: asyncio.Future[None] = self._loop.create_future()
        self._key_ended: asyncio.Future[None] = self._loop.create_future()
        self._why: Stop | None = None

    @property
    def key(self) -> Key:
        return self.ask.key

    @property
    def in_line(self) -> bool:
        """Whether its request is known to have joined the line."""
        return self.state in {State.WAITING, State.LEAVING}

    @property
    def stopped(self) -> bool:
        return self._why is not None

    @property
    def resolved(self) -> bool:
        return self._granted.done()

    @property
    def grant(self) -> Granted | None:
        """What its request was granted; None before that, and when its request left the line elsewhere."""
        return self._granted.result() if self._granted.done() else None

    @contextlib.contextmanager
    def watching(self, disconnected: Coroutine[Any, Any, None], watch_key: Watch) -> Iterator[None]:
        """Notice meanwhile that the connection closes (`disconnected` returns) or that the key ends."""
        self._hung_up = asyncio.ensure_future(disconnected)
        unwatch = watch_key(self._key_ended.cancel)
        try:
            yield
        finally:
            unwatch()
            self._hung_up.cancel()

    def joined(self) -> None:
        self._enter(State.WAITING)

    async def wait(self, seconds: float) -> Stop | None:
        """Wait for the grant; why it stopped instead, None when it was granted."""
        ends: set[asyncio.Future[Any]] = {self._granted, self._hung_up, self._key_ended}
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self._key_ended.done():
            return Stop.KEY_ENDED
        if self._hung_up.done():
            return Stop.HUNG_UP
        return Stop.TIME_OVER if self.grant is None else None

    def stop(self, why: Stop) -> None:
        self._enter(State.UNSURE if self.state is State.JOINING else State.LEAVING)
        self._why = why

    def end(self) -> None:
        self._enter(State.ENDED)

    def detach(self, *, home: UUID) -> Detach:
        """What the line is to do with the request of a call that stopped; it leaves alone what another call shares."""
        alone = self._why is not Stop.TIME_OVER and not self.shared
        return Detach(self.ask, home, gone=alone, for_good=alone and self._why is Stop.KEY_ENDED)

    def resolve(self, granted: Granted | None) -> None:
        """Give it the grant, or None when its request left the line. Raises RuntimeError when its loop has ended."""
        self._loop.call_soon_threadsafe(self._resolve, granted)

    def _resolve(self, granted: Granted | None) -> None:
        """No await between the check and `set_result`, so a caller cannot time out in between."""
        if not self._granted.done():
            self._granted.set_result(granted)

    def _enter(self, state: State) -> None:
        if state not in FOLLOWING[self.state]:
            raise RuntimeError(f"a waiting call went from {self.state.name} to {state.name}")
        self.state = state
