"""Files that are whole or not there, and folders that are looked at before anything is computed for them."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MIB = 2**20


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The temporary name keeps the suffixes, by which writers choose a format; folders are made.

    Raises:
        OSError: in the block, there is no room left; `path` is named.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{threading.get_native_id()}-{path.name}")
    try:
        with room_for(path):
            yield partial
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def room_for(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file there was no room for, whatever the library that writes it raises.

    Raises:
        OSError: in the block, the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _no_room(path, error.errno) from error
        raise
    except RuntimeError as error:  # what torch and ITK raise, whatever the reason
        if _is_full(Path(path).parent):
            raise _no_room(path, errno.ENOSPC) from error
        raise


def taken(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that a new folder would have to replace: anything but an empty folder."""
    path = Path(path)
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be written to, before anything is computed for it; nothing is made.

    Raises:
        OSError: it is a file or lies below one, it may not be written to, or its disk is full.
    """
    folder = Path(folder)
    place = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(one))
    try:
        with tempfile.NamedTemporaryFile(prefix=".partial-", dir=place) as file:
            file.write(b"\0")
    except OSError as error:
        problem = f"must be a folder that can be written to, got {error.strerror} at {place}"
        raise OSError(f"{folder}: {problem}; choose another one.") from error


def _no_room(path: str | os.PathLike[str], number: int) -> OSError:
    words = f"{os.strerror(number)}; make room, or write to another disk"
    return OSError(number, words, os.fspath(path))


def _is_full(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < MIB
