"""Random windows of a slice as they lie in SAM's square, turned and magnified: cheap training samples at full scale."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import ensure_tuple
from torch import Tensor

from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX, IMAGE, LABEL
from amsam_monai.transforms.sam_input import SAM_MEAN


class RandWindowd(RandomizableTransform, MapTransform):
    """A random window of an image as it lies in SAM's square: rotated, magnified, mirrored, in one interpolation.

    With `window` equal to `size` and no random change it is the whole image, centred in the square. Windows stay inside
    the image as far as they fit; beyond its edge there is `fill`, and nothing is scored.

    Args:
        keys: entries of one height and width.
        size: side of SAM's square, which the image's longest side fills.
        window: side of the window, in pixels of the square.
        follow: share of windows that lie about the labelled object; the others lie anywhere.
        stray: how far from the object's middle the former may lie, as a share of the window.
        degrees: largest rotation to either side.
        scale: smallest and largest magnification.
        turn: probability of a quarter turn or more with a mirror image, as AI-SAM's augmentation has it.
        fill: colour beyond the edge, in [0, 1].
        label_keys: those of the entries that are label maps: nearest neighbours.
        allow_missing_keys: pass over keys that a sample lacks.

    Shape: (C, H, W) -> (C, window, window); an image of one channel takes the mean of `fill`.

    Raises:
        ValueError: the window is larger than the square.
    """

    def __init__(
        self,
        keys: KeysCollection = (IMAGE, LABEL),
        *,
        size: int,
        window: int,
        follow: float = 0.8,
        stray: float = 0.25,
        degrees: float = 20,
        scale: tuple[float, float] = (0.8, 1.25),
        turn: float = 0.5,
        fill: Sequence[float] = SAM_MEAN,
        label_keys: KeysCollection = (LABEL,),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self)
        if not 0 < window <= size:
            raise ValueError(f"window must lie in the square of {size} pixels, got {window}.")
        self.size, self.window, self.follow, self.stray = size, window, follow, stray
        self.degrees, self.scale, self.turn = degrees, tuple(scale), turn
        self.fill, self.label_keys = tuple(fill), ensure_tuple(label_keys)

    def randomize(self, data: Tensor) -> None:
        """Draw where the window lies in a label (1, H, W), and how it is turned."""
        rows, columns = data.shape[-2:]
        step = math.exp(-self.R.uniform(math.log(self.scale[0]), math.log(self.scale[1]))) / max(
            SquareFrame(rows, columns, self.size).scale_xy
        )
        angle = math.radians(self.R.uniform(-self.degrees, self.degrees))
        mirror = 1.0
        if self.R.uniform() < self.turn:
            angle += math.pi / 2 * self.R.randint(4)
            mirror = -1.0
        found = ((data[0] > 0) & (data[0] != IGNORE_INDEX)).nonzero().float()
        if len(found) and self.R.uniform() < self.follow:
            away = self.R.uniform(-1, 1, 2) * self.stray * self.window * step
            middle = found.mean(0) + 0.5 + torch.as_tensor(away, dtype=torch.float32)
        else:
            middle = torch.as_tensor(self.R.uniform(size=2), dtype=torch.float32) * torch.tensor([rows, columns])
        half = self.window * step / 2
        room = torch.tensor([min(half, side / 2) for side in (rows, columns)])
        self._middle = middle.clamp(room, torch.tensor([rows, columns]) - room)
        cos, sin = math.cos(angle) * step, math.sin(angle) * step
        self._turn = torch.tensor([[cos, -sin * mirror], [sin, cos * mirror]])  # of (row, column)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample with the window in place of image and label."""
        sample = dict(data)
        self.randomize(torch.as_tensor(sample[self.label_keys[0]]))
        for key in self.key_iterator(sample):
            entry = torch.as_tensor(sample[key])
            grid = self._grid(entry.shape[-2], entry.shape[-1])
            if key in self.label_keys:  # one more, so that 0 is what lies beyond the edge
                taken = F.grid_sample(entry[None].float() + 1, grid, mode="nearest", align_corners=False)[0]
                sample[key] = torch.where(taken > 0, taken - 1, IGNORE_INDEX).to(entry.dtype)
                continue
            taken = F.grid_sample(entry[None], grid, mode="bilinear", align_corners=False, padding_mode="border")[0]
            fill = taken.new_tensor(self.fill if len(entry) == len(self.fill) else [sum(self.fill) / len(self.fill)])
            sample[key] = torch.where((grid[0].abs() <= 1).all(-1), taken, fill.reshape(-1, 1, 1))
        return sample

    def _grid(self, rows: int, columns: int) -> Tensor:
        """Where each pixel of the window lies in the image, as grid_sample counts. Shape (1, window, window, 2)."""
        line = torch.arange(self.window) + 0.5 - self.window / 2
        offsets = torch.stack(torch.meshgrid(line, line, indexing="ij"), dim=-1)  # (w, w, 2), row and column
        places = self._middle + offsets @ self._turn.T
        return (2 * places / torch.tensor([rows, columns]) - 1).flip(-1)[None]
