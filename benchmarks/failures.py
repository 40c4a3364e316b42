"""Why something could not be measured."""


class Unmeasured(Exception):  # noqa: N818  -- a state of affairs
    """One line for whoever started it."""


class ProgramMissing(Unmeasured):
    """A program that this machine lacks; the line says how to get it."""
