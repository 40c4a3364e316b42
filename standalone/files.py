"""Files that others read while we write."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace the file as a whole; only its owner may read it. A reader sees the old or the new text, never half."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)
