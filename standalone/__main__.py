"""`python -m standalone`: everything runs until Ctrl-C, or until a part dies for good."""

import signal
import sys
from types import FrameType
from typing import NoReturn

from standalone import folders, options
from standalone.errors import StandaloneError
from standalone.farms import Farm
from standalone.output import accept_any_encoding, complain, say

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopAsked(BaseException):
    """Somebody wants everything stopped; like KeyboardInterrupt it is not for those who handle failures."""


def main(arguments: list[str] | None = None) -> int:
    accept_any_encoding()
    try:
        _listen_to_signals()
        chosen = options.parse(arguments)
        with folders.temporary() if chosen.ephemeral else folders.lasting(chosen.data_dir) as data_dir:
            _run(Farm(chosen, data_dir=data_dir))
    except StopAsked:
        return 0
    except StandaloneError as error:
        complain(error)
    except OSError as error:
        complain(StandaloneError(f"{error.filename or 'the system'}: {(error.strerror or str(error)).lower()}"))
    return 1


def _run(farm: Farm) -> None:
    """Raises StopAsked, or StandaloneError, after everything has stopped."""
    try:
        farm.start()
        farm.watch()
    except StopAsked as asked:
        say(f"\n{asked}: stopping everything")
        raise
    finally:
        try:
            _ignore_signals()
        finally:  # also when a signal got in just before
            farm.stop()


def _listen_to_signals() -> None:
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, _ask_to_stop)


def _ask_to_stop(number: int, _frame: FrameType | None) -> NoReturn:
    """Once: a second Ctrl-C, or make's own SIGTERM after it, must not interrupt the stopping."""
    _ignore_signals()
    raise StopAsked(signal.Signals(number).name)


def _ignore_signals() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
