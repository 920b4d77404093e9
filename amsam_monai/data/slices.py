"""A volume as a stack of slices that look the same however the volume is stored, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from amsam_monai.data.files.loaded_image import spacing_of

if TYPE_CHECKING:  # a program without torch sees slices, too
    from torch import Tensor

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # world axis that the slices follow: right-left, front-back, up-down
ORIENTATIONS = ("radiological", "stored")
TIE = 1.01  # spacings within one per cent count as equal

# plane -> world directions of (slices, rows, columns) as signs on the RAS axes: feet to head, front to back,
# patient's right to left; so axial slices are seen from the feet, coronal ones from the front
DISPLAY = {
    "axial": (+1, -1, -1),
    "coronal": (-1, -1, -1),
    "sagittal": (-1, -1, -1),
}


@dataclass(frozen=True)
class SliceView:
    """How a stored volume (I, J, K) is seen as slices (D, H, W): which axis is which, and which run backwards.

    Args:
        axes: stored axes of (slices, rows, columns).
        reverse: whether (slices, rows, columns) run against the stored index.
        shape: (I, J, K).
    """

    axes: tuple[int, int, int]
    reverse: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        affine: np.ndarray | None = None,
        *,
        axis: int | str = "thickest",
        orientation: str = "radiological",
    ) -> SliceView:
        """Choose the slices of a volume.

        Args:
            shape: (I, J, K).
            affine: voxel index to RAS millimetres; None or the identity, a mere placeholder, where unknown: slices as
                stored, along the last axis. A plane that is named is cut by the identity as if it were real.
            axis: a stored axis (0, 1, 2), "thickest" (the largest spacing; of equal ones the axis nearest to
                feet-head, then front-back), or a plane: "axial", "coronal", "sagittal".
            orientation: "radiological" turns slices as they are read (rows front to back or head to feet, columns
                patient's right to left or front to back); "stored" keeps the order of the array.

        Raises:
            ValueError: not three axes, or an unknown axis or orientation.
        """
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"volume must have three axes, none empty, got {tuple(shape)}; split 4D series first.")
        if orientation not in ORIENTATIONS:
            raise ValueError(f"orientation must be one of {ORIENTATIONS}, got {orientation!r}.")
        if axis not in PLANES and spacing_of(affine) is None:
            affine = None
        world, signs = world_axes(affine)
        chosen = choose_axis(affine, axis, world)
        rest = [stored for stored in range(3) if stored != chosen]
        if affine is None or orientation == "stored":
            return cls((chosen, rest[0], rest[1]), (False, False, False), _triple(shape))
        plane = {number: name for name, number in PLANES.items()}[world[chosen]]
        wanted_rows = 2 if plane != "axial" else 1  # rows run along up-down, in axial slices along front-back
        rows, columns = sorted(rest, key=lambda stored: world[stored] != wanted_rows)
        axes = (chosen, rows, columns)
        reverse = [signs[stored] != wanted for stored, wanted in zip(axes, DISPLAY[plane], strict=True)]
        return cls(axes, (reverse[0], reverse[1], reverse[2]), _triple(shape))

    @property
    def depth(self) -> int:
        """Number of slices."""
        return self.shape[self.axes[0]]

    @property
    def slice_shape(self) -> tuple[int, int]:
        """(H, W) of a slice."""
        return self.shape[self.axes[1]], self.shape[self.axes[2]]

    def see(self, volume: np.ndarray) -> np.ndarray:
        """The volume as slices, a view: writing to it writes to the volume. Shape (I, J, K) -> (D, H, W)."""
        if volume.shape != self.shape:
            raise ValueError(f"volume must have shape {self.shape}, got {volume.shape}.")
        steps = tuple(slice(None, None, -1 if back else 1) for back in self.reverse)
        return volume.transpose(self.axes)[steps]

    def take(self, volume: Tensor, start: int, stop: int) -> Tensor:
        """Slices `start` to `stop` - 1 of a tensor. Shape (..., I, J, K) -> (..., D, H, W)."""
        first, last = (self.depth - stop, self.depth - start) if self.reverse[0] else (start, stop)
        lead = volume.ndim - 3
        part = volume.narrow(lead + self.axes[0], first, last - first)
        part = part.permute(*range(lead), *(lead + axis for axis in self.axes))
        return part.flip([lead + place for place in range(3) if self.reverse[place]])

    def put(self, volume: Tensor, slices: Tensor, start: int) -> None:
        """Write slices (..., D, H, W) where `take` found them, in place."""
        lead = volume.ndim - 3
        stop = start + slices.shape[lead]
        slices = slices.flip([lead + place for place in range(3) if self.reverse[place]])
        first, last = (self.depth - stop, self.depth - start) if self.reverse[0] else (start, stop)
        part = volume.narrow(lead + self.axes[0], first, last - first)
        part.permute(*range(lead), *(lead + axis for axis in self.axes)).copy_(slices)

    def plane_of(self, affine: np.ndarray) -> str:
        """The plane that the slices lie in: "axial", "coronal" or "sagittal"."""
        followed = world_axes(affine)[0][self.axes[0]]
        return next(name for name, axis in PLANES.items() if axis == followed)

    def renumbered(self, number: int) -> int:
        """The number along the stored axis of a slice that the view counts, and the other way round."""
        return self.depth - 1 - number if self.reverse[0] else number

    def to_slice(self, voxels: Any) -> np.ndarray:
        """Voxel indices (..., 3) in the stored order i, j, k -> (slice, x, y), x along columns, y along rows."""
        index = np.asarray(voxels, dtype=np.float64)[..., self.axes]
        ends = np.array([self.shape[axis] - 1 for axis in self.axes], dtype=np.float64)
        index = np.where(self.reverse, ends - index, index)
        return index[..., [0, 2, 1]]

    def to_voxel(self, places: Any) -> np.ndarray:
        """(slice, x, y) (..., 3) -> voxel indices i, j, k of the stored volume."""
        index = np.asarray(places, dtype=np.float64)[..., [0, 2, 1]]
        ends = np.array([self.shape[axis] - 1 for axis in self.axes], dtype=np.float64)
        index = np.where(self.reverse, ends - index, index)
        voxels = np.empty_like(index)
        voxels[..., self.axes] = index
        return voxels


def world_axes(affine: np.ndarray | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each stored axis: the nearest RAS axis (each taken once), and whether it runs along (+1) or against (-1)."""
    if affine is None:
        return (0, 1, 2), (1, 1, 1)
    from nibabel.orientations import io_orientation

    found = io_orientation(np.asarray(affine, dtype=np.float64))
    return tuple(int(axis) for axis in found[:, 0]), tuple(int(sign) for sign in found[:, 1])


def choose_axis(affine: np.ndarray | None, axis: int | str, world: Sequence[int]) -> int:
    """The stored axis that slices follow, see `SliceView.of`."""
    if isinstance(axis, int) and not isinstance(axis, bool) and axis in (0, 1, 2):
        return axis
    if axis in PLANES:
        if affine is None:
            raise ValueError(f"plane {axis!r} needs an affine; choose a stored axis 0, 1 or 2.")
        return list(world).index(PLANES[str(axis)])
    if axis != "thickest":
        raise ValueError(f"axis must be 0, 1, 2, 'thickest' or one of {tuple(PLANES)}, got {axis!r}.")
    if affine is None:
        return 2
    spacing = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    equal = [stored for stored in range(3) if spacing[stored] * TIE >= spacing.max()]
    return max(equal, key=lambda stored: world[stored])


def _triple(shape: Sequence[int]) -> tuple[int, int, int]:
    return int(shape[0]), int(shape[1]), int(shape[2])
