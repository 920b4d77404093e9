"""The interactive session: a person's clicks, boxes and corrections on an image or volume, with any system."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.data.files.images import LoadedImage
from amsam_monai.segment.components import keep_largest_components
from amsam_monai.session.edits import SessionPoint
from amsam_monai.session.files import restore_session, save_session
from amsam_monai.session.image import SessionImage, load_source
from amsam_monai.session.propagation import SessionPropagation
from amsam_monai.session.slices import SliceResult


class InteractiveSession(SessionPropagation):
    """Segment an image or volume with a person in the loop.

    Coordinates at the door are voxels (i, j, k) of the stored image as it is loaded, whatever its orientation; of a
    picture (column, row). A slice's number is the voxel index along the axis that slices follow (`slice_axis`).
    Edits wait until `segment` is called; `undo` and `redo` bring edits and masks back together.

    Args:
        net: a system; it is put into evaluation mode.
        labels: name of every class index above 0; "class 1", ... by default.
        intensity: `Intensity`, or its arguments.
        slices: arguments of `SliceInferer`: axis, orientation, neighbours.
        largest_component: keep the largest component of these classes (True: all) where `segment("all")` found
            them and nobody has edited them.
        cache: embeddings, shared between sessions; 512 MiB of its own by default.
        lock: taken while the network runs, where sessions in several threads share it.

    Raises:
        ValueError: labels that are not the network's classes.
    """

    @classmethod
    def of_bundle(cls, bundle: Any, **options: Any) -> InteractiveSession:
        """A session with a bundle's network and settings; `options` as of the class."""
        settings = {
            "intensity": bundle.intensity,
            "slices": bundle.slices,
            "largest_component": bundle.largest_component,
        }
        return cls(bundle.network, bundle.labels, **{**settings, **options})

    def open(
        self,
        source: str | Path | np.ndarray | LoadedImage,
        *,
        affine: np.ndarray | None = None,
        state: str | Path | None = None,
    ) -> SessionImage:
        """Open an image, volume or array; what was open is dropped.

        Args:
            source: a path, a loaded image, or an array in memory.
            affine: voxel index to RAS millimetres, for arrays.
            state: a saved session (.session.json) of this image to go on with.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
            ValueError: the intensity refuses the values, or the saved session is of another image.
        """
        image = SessionImage(load_source(source, affine), self.intensity, self.slices)
        self._begin(image)
        if state is not None:
            restore_session(self, state)
        return image

    def segment(
        self, slice: int | str | Iterable[int] = "all", *, progress: Callable[[int, int], None] | None = None
    ) -> SliceResult | list[SliceResult]:
        """Segment a slice, several, or "all", with the prompts there are; masks go into `label`.

        Args:
            slice: a slice's number gives its result; several numbers or "all" give a list.
            progress: called with the number of slices done and of all.
        """
        if isinstance(slice, int):
            return self._segment_slice(self.image.check_slice(slice))
        if isinstance(slice, str) and slice != "all":
            raise ValueError(f"slice must be a number, several, or 'all', got {slice!r}.")
        numbers = range(self.depth) if isinstance(slice, str) else [self.image.check_slice(at) for at in slice]
        results = []
        for done, number in enumerate(numbers, start=1):
            results.append(self._segment_slice(number))
            if progress is not None:
                progress(done, len(numbers))
        if isinstance(slice, str):
            edited = {index for edits in self.edits.values() for index in edits}
            keep_largest_components(self.label, [index for index in self.largest if index not in edited])
        return results

    def save(self, path: str | Path) -> Path:
        """Write the label map, and beside it the session as <name>.session.json; the ending chooses the format.

        Raises:
            ValueError: the ending does not fit the image.
        """
        return save_session(self, Path(path))


__all__ = ["InteractiveSession", "SessionPoint", "SliceResult"]
