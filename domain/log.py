"""Structured logs: constant event names with fields, one JSON object per line."""

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
_ENCODER = json.JSONEncoder(default=repr)  # made once: json.dumps with a default makes one per call
_bound: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=MappingProxyType({}))
SECRET_FIELDS = frozenset({"password", "password_sealed", "secret", "lease_id", "key", "authorization"})


def configure(*, level: str, style: str, stream: "TextIO | Scribe | None" = None) -> None:
    """Send the lines of structlog and of the standard library through one renderer to the stream, by default stderr.

    `style` is `json` for machines or `console` for people. Our own lines go from structlog directly to the stream,
    which takes a third of the time of the way through the standard library.
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
    logging.getLogger("alembic").setLevel("WARNING")  # it logs every read of the schema version
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Writer,
        cache_logger_on_first_use=True,
    )


class _Writer:
    """Writes the rendered lines of structlog. The stream belongs to the class, because loggers are cached for ever."""

    stream: ClassVar["TextIO | Scribe | None"] = None  # None: sys.stderr at the time of writing

    def __init__(self, name: str = "") -> None:
        self.name = name

    def _write(self, line: str) -> None:
        stream = self.stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = _write


class Routine:
    """A logger for one frequent event, whose fields are text or numbers.

    A JSON line is composed without structlog's chain of processors, which costs more than all other work around a
    request. The line is the same as structlog's.
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
        values = {**fields, "event": self._event, **_bound.get()}
        pairs = ", ".join(
            [
                f'"{name}": {encode_basestring_ascii(value) if isinstance(value, str) else repr(value)}'
                for name, value in values.items()
            ]
        )
        now = utc(datetime.now(UTC))  # noqa: TID251  -- the time of a log line
        self._writer.info(f'{{{pairs}{self._tail}{now}"}}')


class Scribe:
    """A text stream that writes in its own thread, 50 times a second at most, so that no request waits for a log line.

    A write releases the interpreter lock, and a busy event loop waits long to get it back. Lines keep their order. Each
    write holds whole lines and is atomic on a pipe, so lines of several processes never mix. `flush` does nothing; the
    end of the process waits for all lines, unless it is killed. When the reader stalls, the oldest lines beyond `most`
    are dropped.
    """

    def __init__(self, target: TextIO, *, most: int = 100_000) -> None:
        self._target = target
        self._lines: deque[str] = deque(maxlen=most)
        self._queued = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.drain)

    def write(self, text: str) -> None:
        self._lines.append(text)
        if not self._queued.is_set():
            self._queued.set()

    def flush(self) -> None:
        """Nothing: see the class."""

    def drain(self) -> None:
        """Write all queued lines."""
        with self._writing:
            for piece in _pieces([self._lines.popleft() for _ in range(len(self._lines))]):
                self._target.write(piece)
                self._target.flush()

    def _run(self) -> None:
        while True:
            self._queued.wait()
            time.sleep(GATHER_SECONDS)
            self._queued.clear()
            with contextlib.suppress(OSError, ValueError):  # the reader has closed: there is nowhere to log that
                self.drain()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines joined into pieces that a pipe takes atomically; a longer line is a piece by itself."""
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
    """Add these fields to every later line of this task or thread, instead of the fields bound before."""
    _bound.set(fields)


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in _bound.get().items():
        event.setdefault(name, value)
    return event


def _as_json(event: EventDict, **_options: Any) -> str:  # noqa: ANN401  -- structlog's signature
    return _ENCODER.encode(event)


def _drop_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Secrets never reach a log, even when one is passed by mistake."""
    for field in SECRET_FIELDS & event.keys():
        event[field] = "[secret]"
    return event
