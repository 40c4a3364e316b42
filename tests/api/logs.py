"""Logging as the process does it, within a test."""

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any, TextIO, TypeVar

import structlog

from domain import log

Stream = TypeVar("Stream", bound=TextIO)


@contextlib.contextmanager
def logging_to(stream: Stream) -> Iterator[Stream]:
    """Log to the stream until the end of the block; afterwards everything is as it was."""
    handlers, level, configured = logging.root.handlers[:], logging.root.level, structlog.get_config()
    log.configure(level="INFO", style="json", stream=stream)
    structlog.configure(cache_logger_on_first_use=False)  # a logger that is kept could not be set back
    try:
        yield stream
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        structlog.configure(**configured)
        log._Writer.stream = None
        log.Routine.short_cut = False


def lines(text: str) -> list[dict[str, Any]]:
    """Every line as the JSON object that it must be."""
    return [dict(json.loads(line)) for line in text.splitlines()]
