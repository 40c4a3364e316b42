"""What keeps Botfarm from running on this machine."""

from collections.abc import Sequence


class StandaloneError(Exception):
    """One clear line for whoever started it, and the last lines of the log that explain it."""

    def __init__(self, line: str, *, log_lines: Sequence[str] = ()) -> None:
        super().__init__(line)
        self.log_lines = tuple(log_lines)
