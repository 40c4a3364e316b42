"""What the parts of Botfarm have in common."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from standalone.errors import StandaloneError

LOOK_SECONDS = 0.02


class Part(Protocol):
    """A process that Botfarm consists of. The methods wait, `launch` does not."""

    @property
    def name(self) -> str: ...

    @property
    def alive(self) -> bool: ...

    @property
    def pid(self) -> int: ...

    @property
    def ending(self) -> str: ...

    @property
    def log(self) -> Path: ...

    def launch(self) -> None: ...

    def answers(self) -> bool: ...

    def last_lines(self) -> list[str]: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def await_answer(part: Part, *, seconds: float) -> None:
    """Return as soon as the part does its work. Raises StandaloneError when it ends instead, or takes too long."""
    if not passes(lambda: part.answers() or not part.alive, seconds=seconds):
        raise failed(part, f"did not answer within {seconds:.0f} s")
    if not part.alive:
        raise failed(part, f"ended at once ({part.ending})")


def failed(part: Part, what: str) -> StandaloneError:
    """What happened to the part, its log file, and the end of that."""
    return StandaloneError(f"{part.name} {what}; its log is {part.log}", log_lines=part.last_lines())


def passes(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True
