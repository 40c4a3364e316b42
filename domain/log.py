"""Structured logs: constant event names with fields, one JSON object a line."""

import atexit
import contextlib
import json
import logging
import logging.config
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from types import MappingProxyType
from typing import Any, ClassVar, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from domain.timestamps import utc

GATHER_SECONDS = 0.02
_ENCODER = json.JSONEncoder(default=repr)  # made once: json.dumps would make one a line
_bound: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))
SECRET_FIELDS = frozenset({"password", "password_sealed", "secret", "lease_id", "key", "authorization"})


def configure(*, level: str, style: str, stream: "TextIO | Scribe | None" = None) -> None:
    """Send structlog and the standard library's loggers through one renderer to the stream, stderr if none is given.

    `style` is `json` for machines or `console` for people. Our own lines go to the stream straight from structlog,
    which takes a third of the time that they would need through the standard library.
    """
    shared: list[Processor] = [
        _add_bound,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_secrets,
    ]
    rendering: list[Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(_as_json) if style == "json" else structlog.dev.ConsoleRenderer(),
    ]
    _Writer.stream = stream
    Routine.short_cut = style == "json" and logging.getLevelNamesMapping()[level] <= logging.INFO
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(level)
    logging.getLogger("alembic").setLevel("WARNING")  # it tells of every look at the schema
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Writer,
        cache_logger_on_first_use=True,
    )


class _Writer:
    """What structlog hands finished lines to. Loggers are kept for ever, so the stream is the class's, not theirs."""

    stream: ClassVar["TextIO | Scribe | None"] = None  # stderr, whatever that is when a line is written

    def __init__(self, name: str = "") -> None:
        self.name = name

    def _write(self, line: str) -> None:
        stream = self.stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = _write


class Routine:
    """A logger for one frequent event with fixed fields, all text or numbers.

    As JSON it is put together without structlog's chain of processors, which costs more than everything else that is
    done around a request. The line is the same.
    """

    short_cut: ClassVar[bool] = False

    def __init__(self, name: str, *, event: str) -> None:
        self._event = event
        self._tail = f', "level": "info", "logger": {encode_basestring_ascii(name)}, "timestamp": "'
        self._writer = _Writer(name)
        self._logger = get(name)

    def info(self, **fields: str | float) -> None:
        if not self.short_cut:
            self._logger.info(self._event, **fields)
            return
        body = {**fields, "event": self._event, **_bound.get()}
        pairs = ", ".join(
            [
                f'"{name}": {encode_basestring_ascii(value) if isinstance(value, str) else repr(value)}'
                for name, value in body.items()
            ]
        )
        now = utc(datetime.now(UTC))  # noqa: TID251  -- of a log line
        self._writer.info(f'{{{pairs}{self._tail}{now}"}}')


class Scribe:
    """A text stream that writes on a thread of its own, some times a second, so that no request waits for its log line.

    A write lets go of the interpreter lock, and a busy event loop waits long to get it back. Lines keep their order,
    and some go out in one piece, so that those of other processes never get into the middle of one. `flush` waits for
    nothing, and the end of the process for all of them, unless it is killed. A reader who takes nothing costs the
    oldest lines beyond `most`.
    """

    def __init__(self, target: TextIO, *, most: int = 100_000) -> None:
        self._target = target
        self._lines: deque[str] = deque(maxlen=most)
        self._some = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.drain)

    def write(self, text: str) -> None:
        self._lines.append(text)
        if not self._some.is_set():
            self._some.set()

    def flush(self) -> None:
        """Nothing: see the class."""

    def drain(self) -> None:
        """Write all that waits."""
        with self._writing:
            for piece in _pieces([self._lines.popleft() for _ in range(len(self._lines))]):
                self._target.write(piece)
                self._target.flush()

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(GATHER_SECONDS)
            self._some.clear()
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more: there is nowhere to say so
                self.drain()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Whole lines together, as far as a pipe takes them in one piece; a line longer than that by itself."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = ""
        piece += line
    if piece:
        yield piece


def get(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger


def bind(**fields: str) -> None:
    """Have each line that is logged from here on, in this task or thread, tell these fields and no others bound."""
    _bound.set(fields)


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in _bound.get().items():
        event.setdefault(name, value)
    return event


def _as_json(event: EventDict, **_options: Any) -> str:  # noqa: ANN401  -- structlog's signature
    return _ENCODER.encode(event)


def _drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Secrets never reach a log, even where somebody passes them by mistake."""
    for field in SECRET_FIELDS & event.keys():
        event[field] = "[secret]"
    return event
