"""Films (mp4) of pictures that come one by one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.atomic import partial_beside, refuse_full


class FilmWriter:
    """Write an mp4, whole or not at all; nothing is there before `close`.

    Needs OpenCV, which comes with Ultralytics (`pip install ultralytics`) or alone
    (`pip install opencv-python-headless`).

    Args:
        path: ends in .mp4.
        rate: frames per second.
    """

    def __init__(self, path: str | Path, rate: float = 25.0) -> None:
        self.path, self.rate = Path(path), rate
        self.partial = partial_beside(self.path)
        self.size: tuple[int, int] | None = None  # columns, rows
        self._writer: Any = None

    @staticmethod
    def check() -> Any:
        """OpenCV.

        Raises:
            ImportError: it is not installed.
        """
        try:
            import cv2
        except ImportError as error:
            raise ImportError("films need OpenCV; install it with `pip install opencv-python-headless`.") from error
        return cv2

    def add(self, picture: np.ndarray) -> None:
        """Append a picture; one of another size than the first is resized.

        Shape: (H, W, 3), uint8 RGB.

        Raises:
            ImportError: OpenCV is not installed.
            OSError: this OpenCV cannot write mp4.
        """
        cv2 = self.check()
        if self._writer is None:
            self.size = (picture.shape[1] + picture.shape[1] % 2, picture.shape[0] + picture.shape[0] % 2)  # codecs ask
            self.path.parent.mkdir(parents=True, exist_ok=True)
            code = cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.partial), code, self.rate, self.size)
            if not self._writer.isOpened():
                raise OSError(f"{self.path}: this OpenCV must be able to write mp4 and is not; install another build.")
        if (picture.shape[1], picture.shape[0]) != self.size:
            picture = cv2.resize(picture, self.size, interpolation=cv2.INTER_NEAREST)
        self._writer.write(np.ascontiguousarray(picture[..., ::-1]))

    def close(self) -> Path:
        """Finish the film; its path.

        Raises:
            ValueError: no picture was added.
            OSError: the disk is full.
        """
        if self._writer is None:
            raise ValueError(f"{self.path}: a film must have at least one picture, got none.")
        self._writer.release()
        self._writer = None
        try:
            refuse_full(self.path)  # OpenCV does not tell
            os.replace(self.partial, self.path)
        finally:
            self.partial.unlink(missing_ok=True)
        return self.path

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finish the film; after an error leave nothing behind."""
        if kind is None:
            self.close()
        elif self._writer is not None:
            self._writer.release()
            self.partial.unlink(missing_ok=True)
