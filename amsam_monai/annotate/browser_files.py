"""What browsers send to the page: a folder that only this user reads, and that goes when the page ends."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from amsam_monai.data.files.claim import claim, release

VARIABLE = "GRADIO_TEMP_DIR"
PREFIX = "amsam-page-"
CLAIM = ".lock"


@functools.cache
def browser_files() -> Path:
    """The folder, which Gradio takes too; $GRADIO_TEMP_DIR, where it is set, or a new one for this process.

    Those of pages that were killed are removed.
    """
    if not os.environ.get(VARIABLE):
        remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = claim(folder / CLAIM, "another page")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(release, lock)  # first: the last one registered is called first
        os.environ[VARIABLE] = str(folder)
    return Path(os.environ[VARIABLE])


def remove_leftovers() -> None:
    """Remove the folders that no process holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if not (folder / CLAIM).is_file():
            continue
        try:
            release(claim(folder / CLAIM, "another page"))
        except OSError:  # a living one's, or another user's
            continue
        shutil.rmtree(folder, ignore_errors=True)
