"""A folder for one process at a time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from filelock import FileLock, Timeout


def claim(path: str | os.PathLike[str], what: str) -> FileLock:
    """A lock that this process holds until it is released or the process ends, however it ends.

    Args:
        path: of the lock file, which is made with its folder and stays where nobody removes it.
        what: writes there, for the message.

    Raises:
        OSError: another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)  # so that a process that failed may try again
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(f"{path.parent}: {what} writes there already; wait for it, or choose another folder.") from None
    return lock


def release(lock: FileLock) -> None:
    """Give a claim back and take its file away."""
    with contextlib.suppress(OSError):  # while it is held: nobody else's is taken away
        os.unlink(lock.lock_file)
    lock.release(force=True)
