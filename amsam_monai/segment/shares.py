"""Room for the probabilities of a volume, which may be many times what a machine's memory holds."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from amsam_monai.data.files.atomic import room_for

IN_MEMORY = 2**28  # bytes


def room_for_shares(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros in 32-bit floats, in the order in which NIfTI stores them: the first of all axes after the channel is
    the fastest.

    More than IN_MEMORY bytes of them lie in a file without a name in the folder of temporary files (TMPDIR), which
    ends with the array: memory holds what is worked on.

    Shape: (C, ...).

    Raises:
        OSError: the disk is full.
    """
    stored = (shape[0], *reversed(shape[1:]))
    if (size := 4 * math.prod(stored)) <= IN_MEMORY:
        array = np.zeros(stored, np.float32)
    else:
        with room_for(Path(tempfile.gettempdir(), "probabilities")), tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a map of a full disk would end the process
            else:
                file.truncate(size)
            array = np.memmap(file, np.float32, "r+", shape=stored)
    return array.transpose(0, *range(len(shape) - 1, 0, -1))
