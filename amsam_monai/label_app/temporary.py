"""Temporary files of the label server: in a folder of this user alone, which goes with it or as the next one starts."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amsam_monai.data.files.scratch import remove_leftovers, scratch

logger = logging.getLogger(__name__)

SERVER, TRAINING = "amsam-server-", "amsam-train-"


@contextmanager
def own_temporary_files() -> Iterator[Path]:
    """Have this process's temporary files lie in a folder of their own while the block runs; gives it.

    Uploads, answers and archives of MONAI Label's own are among them. What servers and trainings that were killed left
    is removed first.
    """
    left = [*remove_leftovers(SERVER), *remove_leftovers(TRAINING)]
    if left:
        logger.info("removed what %d killed process(es) left among the temporary files", len(left))
    with scratch(SERVER) as folder:
        before, tempfile.tempdir = tempfile.tempdir, str(folder)
        try:
            yield folder
        finally:
            tempfile.tempdir = before
            remove_leftovers(TRAINING)  # of one that was stopped with the server
