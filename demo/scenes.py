"""What the terminal shows while the demo plays. A log gets one line for each scene, when it is over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

TITLE_WIDTH = 29
BAR_WIDTH = 14


@contextmanager
def waiting(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """A bar that moves to and fro until the work is done; the function given sets what is said beside it."""
    with _progress(console) as progress:
        task = progress.add_task(title, total=None, note="")
        yield lambda note: progress.update(task, note=note)
        progress.update(task, total=1, completed=1)


@contextmanager
def counting(console: Console, title: str, *, total: float) -> Iterator[Callable[[float, str], None]]:
    """A bar up to `total`; the function given sets how far it is and what is said beside it."""
    with _progress(console) as progress:
        task = progress.add_task(title, total=total, note="")
        yield lambda done, note: progress.update(task, completed=min(done, total), note=note)


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(finished_text="[green]✔[/]"),
        TextColumn(f"{{task.description:<{TITLE_WIDTH}}}"),
        BarColumn(bar_width=BAR_WIDTH),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
