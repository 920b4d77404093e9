"""What browsers send to the page: a folder that only this user reads, and that goes when the page ends."""

from __future__ import annotations

import atexit
import functools
import os
from pathlib import Path

from amsam_monai.data.files.scratch import end_scratch, new_scratch, remove_leftovers

VARIABLE = "GRADIO_TEMP_DIR"
PREFIX = "amsam-page-"


@functools.cache
def browser_files() -> Path:
    """The folder, which Gradio takes too; $GRADIO_TEMP_DIR, where it is set, or a new one for this process.

    Those of pages that were killed are removed.
    """
    if not os.environ.get(VARIABLE):
        remove_leftovers(PREFIX)
        folder, lock = new_scratch(PREFIX)
        atexit.register(end_scratch, folder, lock)
        os.environ[VARIABLE] = str(folder)
    return Path(os.environ[VARIABLE])
