"""Files that are whole or not there, and folders that are looked at before anything is computed for them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amsam_monai.installed import is_installed

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)  # the last: its folder is a file
MIB = 2**20


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    The temporary name keeps the suffixes, by which writers choose a format; folders are made.

    Raises:
        OSError: in the block, there is no room left, or the folder cannot be written to any more; `path` is named.
    """
    path = Path(path)
    partial = partial_beside(path)
    try:
        with room_for(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # where the folder was shut meanwhile
            partial.unlink(missing_ok=True)


def partial_beside(path: Path) -> Path:
    """A hidden name beside `path` that nobody else writes to: processes in several containers have one number."""
    return path.with_name(f".partial-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


@contextmanager
def room_for(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say which file could not be written for lack of room or right, whatever the library that writes it raises.

    Raises:
        OSError: in the block, the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise _no_room(path, error.errno) from error
        if error.errno in NO_RIGHT and _lies_beside(error.filename, Path(path)):
            raise _no_right(path, error.errno) from error
        raise
    except RuntimeError as error:  # what torch and ITK raise, whatever the reason
        folder = Path(path).parent
        if is_full(folder):
            raise _no_room(path, errno.ENOSPC) from error
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise _no_right(path, errno.EACCES if folder.is_dir() else errno.ENOTDIR) from error
        raise


def refuse_full(path: str | os.PathLike[str]) -> None:
    """Refuse what a library wrote without telling whether there was room.

    Raises:
        OSError: the disk is full now.
    """
    if is_full(Path(path).parent):
        raise _no_room(path, errno.ENOSPC)


def taken(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that a new folder would have to replace: anything but an empty folder."""
    path = Path(path)
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be written to, before anything is computed for it; nothing is made.

    Raises:
        OSError: it is a file or lies below one, it may not be written to, its disk is full, or it is among the
            installed bundles, which stay as they were installed.
    """
    folder = Path(folder)
    if is_installed(folder):
        raise OSError(
            f"{folder}: must not be among the installed bundles, which stay as they are; choose another folder, or "
            "copy the bundle (cp -r) and run the copy."
        )
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


def _no_right(path: str | os.PathLike[str], number: int) -> OSError:
    number = errno.ENOTDIR if number == errno.EEXIST else number
    words = f"{os.strerror(number)}; its folder must stay one that can be written to"
    return OSError(number, words, os.fspath(path))


def _lies_beside(name: object, path: Path) -> bool:
    """Whether an error names something in the file's folder or above it, and not what is read."""
    return isinstance(name, str | os.PathLike) and (Path(name).parent == path.parent or Path(name) in path.parents)


def is_full(folder: Path) -> bool:
    """Whether a folder's disk has next to no room."""
    if not hasattr(os, "statvfs"):
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < MIB
