"""What keeps the demo from being played."""

from collections.abc import Sequence


class DemoError(Exception):
    """One clear line, and the last lines of the log that explain it."""

    def __init__(self, line: str, *, log_lines: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.log_lines = tuple(log_lines)
