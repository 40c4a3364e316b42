"""`python -m demo`: load, fight, die, wait, compare."""

import io
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
from rich.console import Console

from demo import options, performances, report, scenes, servers
from demo.errors import DemoError
from demo.options import Options
from demo.servers import Server

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """0 when every law held, 1 when not or when it could not be played, 130 when it was interrupted."""
    chosen = options.parse(arguments)
    console = _console()
    _listen_to_signals()
    try:
        with tempfile.TemporaryDirectory(prefix="botfarm-demo-") as folder:
            return _play(console, chosen, Path(folder))
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted: everything has been stopped.[/]")
        return INTERRUPTED
    except DemoError as error:
        _complain(str(error), *error.log_lines)
    except httpx.HTTPError as error:
        _complain(f"the API fails: {str(error).splitlines()[0]}")
    return 1


def _play(console: Console, chosen: Options, folder: Path) -> int:
    with ExitStack() as stack:
        try:
            server = _server(console, chosen, folder, stack)
            outcome = performances.perform(console, chosen, server=server, folder=folder)
            report.show(console, outcome)
        finally:
            _ignore_signals()  # what is being taken down is taken down whole
    return 0 if outcome.passed else 1


def _server(console: Console, chosen: Options, folder: Path, stack: ExitStack) -> Server:
    if chosen.server is not None:
        return chosen.server
    with scenes.waiting(console, "Starting a Botfarm of our own") as note:
        server = stack.enter_context(servers.own(folder))
        note(server.api_url)
    return server


def _console() -> Console:
    """A terminal of an odd encoding gets question marks, not a crash."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(highlight=False)


def _complain(line: str, *log_lines: str) -> None:
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    for log_line in log_lines:
        console.print(f"  | {log_line}")
    console.print(f"botfarm: {line}")


def _listen_to_signals() -> None:
    for number in STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Once: a second Ctrl-C must not interrupt the taking down."""
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """By a handler that does nothing: a signal already on its way to Python would complain about SIG_IGN."""
    for number in STOPPING:
        signal.signal(number, lambda _number, _frame: None)


if __name__ == "__main__":
    sys.exit(main())
