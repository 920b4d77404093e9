"""An opened image as a session needs it: slices for the network, and voxels to pixels and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.data.files.images import LoadedImage, read_image
from amsam_monai.data.files.load import picture_tensor
from amsam_monai.data.slices import SliceView
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.transforms.intensity import Intensity

Voxel = tuple[float, float, float]


class SessionImage:
    """An image or volume whose slices are numbered as the stored array counts them.

    Voxels are (i, j, k) of the stored volume; of a picture, (column, row, 0). A slice's number is the voxel index
    along `axis`. Pixels (x, y) are those of the slice as the network sees it.

    Args:
        source: what `read_image` gives.
        intensity: how stored values come to [0, 1].
        slices: arguments of `SliceInferer`; axis, orientation and neighbours are read.

    Raises:
        ValueError: the intensity refuses the values, or the slices do not fit the volume.
    """

    def __init__(self, source: LoadedImage, intensity: Intensity, slices: Mapping[str, Any]) -> None:
        inferer = SliceInferer(**slices)
        self.source, self.intensity, self.neighbours = source, intensity, inferer.neighbours
        self.view: SliceView | None = None
        if source.kind == "volume":
            self.view = inferer.view(source.array.shape, source.affine)
            self._raw = torch.from_numpy(np.ascontiguousarray(source.array))[None]
        else:
            self._raw = picture_tensor(source)
        by_slice = intensity.by_slice and self.view is not None
        values, bits = (source.array, source.bits) if self.view else (self._raw, None)
        self.limits = None if by_slice else intensity.limits(values, bits)
        self.key = key_of(source)
        scaling = (intensity.mode, intensity.low, intensity.high, intensity.per)
        self.settings = (self.view, self.neighbours, scaling)  # what makes slices of the stored values, to compare

    @property
    def axis(self) -> int:
        """The stored axis that slices follow; 2 for a picture."""
        return self.view.axes[0] if self.view else 2

    @property
    def depth(self) -> int:
        """Number of slices; 1 for a picture."""
        return self.view.depth if self.view else 1

    @property
    def slice_hw(self) -> tuple[int, int]:
        """(rows, columns) of a slice as the network sees it."""
        if self.view:
            return self.view.slice_shape
        rows, columns = self.source.spatial_shape
        return rows, columns

    @property
    def voxel_shape(self) -> tuple[int, int, int]:
        """How many voxels each index counts: (I, J, K), of a picture (columns, rows, 1)."""
        if self.view:
            return self.view.shape
        rows, columns = self.slice_hw
        return columns, rows, 1

    def shown(self, number: int) -> int:
        """The place of slice `number` in the order of the view; its own inverse."""
        return self.view.renumbered(number) if self.view else number

    def pixels(self, number: int) -> Tensor:
        """A slice for the network, in [0, 1]. Shape (1, 3, H, W)."""
        if self.view is None:
            image = self._scale(self._raw)
            return (image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1))[None]
        place, last = self.shown(number), self.depth - 1
        around = range(place - self.neighbours, place + self.neighbours + 1)
        slices = [self.view.take(self._raw, at, at + 1)[0, 0] for at in (min(max(at, 0), last) for at in around)]
        image = torch.stack([self._scale(one) for one in slices])
        return (image.expand(3, -1, -1) if len(slices) == 1 else image)[None]

    def own(self, pixels: Tensor) -> Tensor:
        """Of what `pixels` gives, the slice without its neighbours. Shape (1, 3, H, W) -> (1, 1 or 3, H, W)."""
        return pixels if self.view is None else pixels[:, pixels.shape[1] // 2][:, None]

    def _scale(self, values: Tensor) -> Tensor:
        return self.intensity.apply(values, self.limits or self.intensity.limits(values))

    def slice_of(self, voxel: Sequence[float]) -> int:
        """The slice in which a voxel lies."""
        return round(float(voxel[self.axis]))

    def pixel(self, voxel: Sequence[float]) -> tuple[float, float]:
        """Pixel (x, y) of a voxel in its slice."""
        if self.view is None:
            return float(voxel[0]), float(voxel[1])
        _, x, y = self.view.to_slice(voxel)
        return float(x), float(y)

    def voxel(self, number: int, x: float, y: float) -> Voxel:
        """Voxel of a pixel of slice `number`."""
        if self.view is None:
            return float(x), float(y), 0.0
        i, j, k = self.view.to_voxel((self.shown(number), x, y))
        return float(i), float(j), float(k)

    def check_voxel(self, voxel: Sequence[float]) -> Voxel:
        """Three finite numbers inside the image; a picture's voxel may lack the third.

        Raises:
            ValueError: another count of numbers, or outside the image.
        """
        try:
            numbers = [float(value) for value in voxel]
        except (TypeError, ValueError) as error:
            raise ValueError(f"a voxel must be numbers (i, j, k), got {voxel!r}.") from error
        if len(numbers) == 2 and self.view is None:
            numbers.append(0.0)
        shape = self.voxel_shape
        if len(numbers) != 3 or any(not -0.5 <= v < n - 0.5 + 1e-9 for v, n in zip(numbers, shape, strict=False)):
            raise ValueError(f"voxel must lie in the image, (i, j, k) below {shape}, got {tuple(numbers)}.")
        numbers[self.axis] = float(round(numbers[self.axis]))
        return numbers[0], numbers[1], numbers[2]

    def check_slice(self, number: int) -> int:
        """A slice's number.

        Raises:
            ValueError: not a whole number, or outside the volume.
        """
        if isinstance(number, bool) or int(number) != number or not 0 <= number < self.depth:
            raise ValueError(f"slice must be a whole number from 0 to {self.depth - 1}, got {number!r}.")
        return int(number)

    def no_label(self) -> np.ndarray:
        """A label map of background, whose slices lie one after the other in memory; uint8, shaped as the image."""
        if self.view is None:
            return np.zeros(self.source.spatial_shape, dtype=np.uint8)
        return np.zeros((self.depth, *self.slice_hw), dtype=np.uint8).transpose(np.argsort(self.view.axes))

    def plane(self, label: np.ndarray, number: int) -> np.ndarray:
        """Slice `number` of a label map in the view's orientation, a view to write to. Shape (H, W)."""
        if self.view is None:
            return label
        plane: np.ndarray = self.view.see(label)[self.shown(number)]
        return plane


def load_source(source: str | Path | np.ndarray | LoadedImage, affine: np.ndarray | None = None) -> LoadedImage:
    """A path, an array in memory or a loaded image as a loaded image.

    Args:
        source: arrays are volumes (I, J, K), pictures (H, W) or (H, W, 3).
        affine: voxel index to RAS millimetres, for arrays.

    Raises:
        ValueError: an array of another shape.
    """
    if isinstance(source, LoadedImage):
        return source
    if not isinstance(source, np.ndarray):
        return read_image(source)
    picture = source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (3, 4) and affine is None)
    if source.ndim not in (2, 3) or min(source.shape) < 1:
        raise ValueError(f"array must be (I, J, K), (H, W) or (H, W, 3), none empty, got {source.shape}.")
    kind, file_format = ("image", "picture") if picture else ("volume", "array")
    return LoadedImage(source, kind, Path("array"), file_format, affine=None if picture else affine)


def key_of(source: LoadedImage) -> str:
    """What tells an image from others: where its file is and when it changed, or the values of an array."""
    if source.path.exists():
        files = source.members or [source.path]
        state = [(file.stat().st_mtime_ns, file.stat().st_size) for file in files]
        return f"{source.path.resolve()}:{hashlib.blake2b(repr(state).encode(), digest_size=8).hexdigest()}"
    values = np.ascontiguousarray(source.array)
    digest = hashlib.blake2b(values.tobytes(), digest_size=16)
    digest.update(repr((values.shape, values.dtype.str)).encode())
    return f"array:{digest.hexdigest()}"
