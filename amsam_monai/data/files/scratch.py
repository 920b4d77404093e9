"""Temporary folders that go with what made them, also where that is killed: the next one removes what is left."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from amsam_monai.data.files.claim import claim, release

CLAIM = ".lock"


@contextmanager
def scratch(prefix: str, folder: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A new folder of this user alone while the block runs.

    Args:
        prefix: of its name, by which `remove_leftovers` finds it.
        folder: where it lies; by default among the system's temporary files.
    """
    place, lock = new_scratch(prefix, folder)
    try:
        yield place
    finally:
        end_scratch(place, lock)


def new_scratch(prefix: str, folder: str | os.PathLike[str] | None = None) -> tuple[Path, FileLock]:
    """A new folder, and the claim by which others see that this process lives."""
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
    return place, claim(place / CLAIM, "another process")


def end_scratch(place: Path, lock: FileLock) -> None:
    """Remove a folder."""
    release(lock)
    shutil.rmtree(place, ignore_errors=True)


def remove_leftovers(prefix: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """Remove this user's folders that no living process holds, links never; gives them."""
    removed = []
    for place in sorted(Path(folder or tempfile.gettempdir()).glob(f"{prefix}*")):
        if not (_is_own_folder(place) and os.path.isfile(place / CLAIM)):
            continue
        try:
            release(claim(place / CLAIM, "another process"))
        except OSError:  # a living one's
            continue
        shutil.rmtree(place, ignore_errors=True)
        removed.append(place)
    return removed


def _is_own_folder(place: Path) -> bool:
    """Whether this is a folder of this user, and no link to one."""
    try:
        found = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
