"""Values of DICOM planes, as slope and intercept of each make them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amsam_monai.data.files.dicom.frames import Frame
from amsam_monai.data.files.dicom.headers import Header
from amsam_monai.data.files.dicom.stack import Stack
from amsam_monai.data.files.loaded_image import ImageFileError
from amsam_monai.data.files.readers import native


class PixelReader:
    """Planes of DICOM files with slope and intercept of each applied, whatever the file's compression.

    Args:
        headers: of the files.
    """

    def __init__(self, headers: Sequence[Header]) -> None:
        self.headers = {header.path: header for header in headers}
        self._open: tuple[Path, np.ndarray] | None = None  # the last file, since its frames come one after another

    def __call__(self, frame: Frame) -> np.ndarray:
        """One plane. Shape (rows, columns), or (rows, columns, C) in colour."""
        if self._open is None or self._open[0] != frame.path:
            self._open = (frame.path, self._read(self.headers[frame.path]))
        plane: np.ndarray = self._open[1][frame.number]
        return plane

    def volume(self, found: Stack) -> np.ndarray:
        """All planes of a stack in a type that holds every slice. Shape (I, J, K): columns, rows, slices."""
        rows, columns = found.frames[0].size
        array = np.empty((0,))
        for place, frame in enumerate(found.frames):
            plane = native(self(frame))
            if plane.shape != (rows, columns):
                raise ImageFileError(frame.path, f"slice must be grey, {rows} x {columns}, got {plane.shape}.")
            if not place:
                array = np.empty((len(found.frames), rows, columns), plane.dtype)
            wider = np.result_type(array.dtype, plane.dtype)
            array = array.astype(wider, copy=False)
            array[place] = plane
        return native(array).transpose(2, 1, 0)

    def _read(self, header: Header) -> np.ndarray:
        import SimpleITK as sitk  # noqa: N813

        if header.rescales:
            return rescaled_by_frame(header)
        try:
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(header.path), imageIO="GDCMImageIO"))
        except RuntimeError as error:
            raise ImageFileError(header.path, "the file is damaged or truncated; copy it again.") from error
        if header.inverted is not None and header.kind == "slices":  # Hounsfield units stay what they are
            array = (header.inverted - array.astype(np.float64)).astype(array.dtype)
        tail = array.shape[-3:] if header.colour else array.shape[-2:]
        return array.reshape(len(header.frames), *tail)


def rescaled_by_frame(header: Header) -> np.ndarray:
    """Frames of a file whose slopes differ from frame to frame, as 32-bit floats."""
    import pydicom

    raw = pydicom.dcmread(header.path, force=True).pixel_array
    slopes, intercepts = np.array(header.rescales, dtype=np.float64).T
    return (raw * slopes[:, None, None] + intercepts[:, None, None]).astype(np.float32)
