"""A light head that reads boxes out of SAM's embedding: whether an object's middle is at a cell, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import complete_box_iou_loss, sigmoid_focal_loss

from amsam_monai.networks.prompts.boxes import box_iou
from amsam_monai.networks.sam import EMBED_DIM

MIDDLE = 0.5  # share of a box's sides about its centre in which cells answer for it
RARE = 0.01  # probability of an object at a cell, where training begins
FARTHEST = 5.0  # log2 of how far an edge lies, in cells, is kept within this many of 0
LARGEST = {"width": 1024, "dilations": 32}  # more takes memory without end
MOST_BLOCKS = 16


class Cells(NamedTuple):
    """What a head says of each cell and class.

    Shape: there (B, K, g, g) and fit (B, K, g, g), logits; boxes (B, K, g, g, 4) x1, y1, x2, y2, 0 to g: in cells.
    """

    there: Tensor
    fit: Tensor
    boxes: Tensor

    def scores(self) -> Tensor:
        """Geometric mean of the probability of an object and of the overlap that its box should have, in [0, 1]."""
        return (self.there.sigmoid() * self.fit.sigmoid()).sqrt()


class BoxHead(nn.Module):
    """Boxes from SAM's embedding, without anchors, as FCOS has them (arXiv:1904.01355): classes each by themselves.

    Args:
        num_classes: K.
        width: channels.
        dilations: of the blocks, one after the other; their sum is how many cells each cell looks about itself.

    Shape: embedding (B, 256, g, g) -> `Cells`.

    Raises:
        ValueError: a width that is no multiple of 8, or a size that is out of range.
    """

    def __init__(self, num_classes: int, *, width: int = 64, dilations: Sequence[int] = (1, 2, 4, 8)) -> None:
        super().__init__()
        architecture = known_head({"width": width, "dilations": list(dilations)})
        self.num_classes, self.architecture = num_classes, architecture
        self.stem = nn.Sequential(nn.Conv2d(EMBED_DIM, width, 1), nn.GroupNorm(8, width), nn.GELU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.GroupNorm(8, width), nn.GELU()
            )
            for dilation in architecture["dilations"]
        )
        self.out = nn.Conv2d(width, 6 * num_classes, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self._bias)
        nn.init.constant_(self._bias[:num_classes], math.log(RARE / (1 - RARE)))

    @property
    def _bias(self) -> Tensor:
        """Of what comes out: K of objects, K of fits, 4 K of sides."""
        return cast(Tensor, self.out.bias)

    def expect_sides(self, boxes: Tensor, classes: Tensor) -> None:
        """Begin with the usual size of the boxes (N, 4), in cells, of each class (N,), 1..K."""
        with torch.no_grad():
            sides = self._bias[2 * self.num_classes :].view(self.num_classes, 4)
            for k in range(self.num_classes):
                own = boxes[classes == k + 1]
                if len(own):
                    half = ((own[:, 2:] - own[:, :2]) / 2).clamp(min=0.25).log2().mean(0)
                    sides[k] = half.repeat(2)

    def forward(self, embedding: Tensor) -> Cells:
        """What each cell says."""
        x = self.stem(embedding)
        for block in self.blocks:
            x = x + block(x)
        there, fit, sides = self.out(x).split([self.num_classes, self.num_classes, 4 * self.num_classes], dim=1)
        sides = sides.unflatten(1, (self.num_classes, 4)).movedim(2, -1)  # (B, K, g, g, 4): left, top, right, bottom
        sides = torch.exp2(FARTHEST * torch.tanh(sides.float() / FARTHEST))
        middle = cell_centres(embedding.shape[-1], embedding.device)
        boxes = torch.cat([middle - sides[..., :2], middle + sides[..., 2:]], dim=-1)
        return Cells(there.float(), fit.float(), boxes)


def cell_centres(grid: int, device: torch.device | str = "cpu") -> Tensor:
    """Middle of each cell, in cells, (g, g, 2) of x and y."""
    at = torch.arange(grid, device=device) + 0.5
    return torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1)


def known_head(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a head's architecture.

    Raises:
        ValueError: other entries than width and dilations, or numbers out of range.
    """
    width: Any = architecture.get("width")
    dilations: Any = architecture.get("dilations")
    known = set(architecture) == set(LARGEST) and isinstance(dilations, list | tuple) and len(dilations) <= MOST_BLOCKS
    if (
        not known
        or not _is_count(width, LARGEST["width"])
        or width % 8
        or not all(_is_count(dilation, LARGEST["dilations"]) for dilation in dilations)
    ):
        raise ValueError(
            f"detector architecture: a head must have a width (a multiple of 8 up to {LARGEST['width']}) and up to "
            f"{MOST_BLOCKS} dilations (up to {LARGEST['dilations']}), got {str(dict(architecture))[:100]}; it is not "
            "built."
        )
    return {"width": width, "dilations": list(dilations)}


def _is_count(number: Any, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most


def answering_cells(boxes: Tensor, classes: Tensor, num_classes: int, grid: int) -> tuple[Tensor, Tensor]:
    """Which cells answer for an object of each class, and with which box: those about its centre.

    One cell at least answers for each object; where several objects of a class claim a cell, it is the smallest one's.

    Args:
        boxes: of the objects of an image, in cells.
        classes: of each, 1..K.
        num_classes: K.
        grid: g.

    Shape: boxes (N, 4), classes (N,) -> (K, g, g) of bool, (K, g, g, 4), 0 where none.
    """
    claimed = torch.zeros(num_classes, grid, grid, dtype=torch.bool)
    wanted = torch.zeros(num_classes, grid, grid, 4)
    centres = cell_centres(grid)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    for index in areas.argsort(descending=True).tolist():  # the smallest comes last and stays
        box, k = boxes[index], int(classes[index]) - 1
        middle, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        mine = ((centres - middle).abs() < MIDDLE * sides / 2).all(-1)
        column, row = middle.long().clamp(0, grid - 1).tolist()
        mine[row, column] = True
        claimed[k] |= mine
        wanted[k][mine] = box
    return claimed, wanted


def head_loss(cells: Cells, claimed: Tensor, wanted: Tensor) -> Tensor:
    """Focal loss of where objects are, complete IoU loss of their boxes, and cross entropy of the boxes' overlap.

    Shape: claimed (B, K, g, g) of bool, wanted (B, K, g, g, 4) -> ().
    """
    count = claimed.sum().clamp(min=1)
    there = sigmoid_focal_loss(cells.there, claimed.to(cells.there), alpha=0.5, gamma=2.0, reduction="sum") / count
    found, true = cells.boxes[claimed], wanted[claimed]
    sides = complete_box_iou_loss(found, true, reduction="sum") / count
    overlap = box_iou(found, true).detach()
    fit = F.binary_cross_entropy_with_logits(cells.fit[claimed], overlap, reduction="sum") / count
    return there + 2 * sides + 0.5 * fit
