"""Batches of random views of labelled images, in the form of Ultralytics' losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.detector import GREY
from amsam_monai.networks.detector.views import Augmentation, Scene, random_view
from amsam_monai.networks.prompts.boxes import instances_of

T = TypeVar("T")


def scene_of(
    image: Tensor,
    label: Tensor,
    num_classes: int,
    *,
    size: int,
    per: str | Sequence[str] = "class",
    resize: str = "pad",
) -> Scene:
    """A labelled image ready for random views: small, in 8 bits, its objects numbered.

    Args:
        image: in [0, 1].
        label: class indices, 0 background.
        num_classes: K.
        size: side of the square that it is made to fit.
        per: an object per "class", or per connected "component"; or a word for each class.
        resize: how it fits, see `SquareFrame`.

    Shape: image (3, H, W), label (H, W) or (1, H, W).

    Raises:
        ValueError: other shapes.
    """
    if image.ndim != 3 or image.shape[0] != 3 or tuple(image.shape[1:]) != tuple(label.shape[-2:]):
        raise ValueError(
            f"image must have shape (3, H, W) and its label (H, W), got {tuple(image.shape)} and {tuple(label.shape)}."
        )
    numbered, classes = instances_of(np.asarray(label).reshape(label.shape[-2:]), num_classes, per=per)
    frame = SquareFrame(numbered.shape[0], numbered.shape[1], size, resize)
    rows, columns = frame.scaled_hw
    pixels = frame.image(torch.as_tensor(image)[None].float())[0, :, :rows, :columns]
    objects = frame.label(torch.from_numpy(numbered)[None, None].int(), 0)[0, 0, :rows, :columns]
    return Scene((pixels * 255).round().clamp(0, 255).to(torch.uint8), objects.to(torch.int16), classes)


class ViewBatches:
    """A fixed number of batches of random views, the same for the same seed.

    Args:
        scenes: labelled images.
        others: further ones, such as phantoms.
        steps: batches.
        batch_size: views in a batch.
        extra_share: share of a batch that `others` fill, where there are some.
        size: side of a view.
        augmentation: how far views go.
        seed: of choice and views.

    Shape: "img" (B, 3, S, S) in [0, 1]; of all N objects "batch_idx" (N,), "cls" (N, 1) from 0, "bboxes" (N, 4) with
        centre and size as shares of S.
    """

    def __init__(
        self,
        scenes: Sequence[Scene],
        others: Sequence[Scene] = (),
        *,
        steps: int,
        batch_size: int,
        extra_share: float,
        size: int,
        augmentation: Augmentation,
        seed: int = 0,
    ) -> None:
        self.scenes, self.others, self.steps = scenes, others, steps
        self.share = round(batch_size * extra_share) if others else 0
        self.batch_size, self.size, self.augmentation, self.seed = batch_size, size, augmentation, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.steps):
            yield self._draw(generator)

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        chosen = pick(self.scenes, self.batch_size - self.share, generator)
        chosen += pick(self.others, self.share, generator)
        drawn = [random_view(scene, self.size, self.augmentation, generator, GREY[0]) for scene in chosen]
        boxes = torch.from_numpy(np.concatenate([boxes for _, boxes, _ in drawn])) / self.size
        classes = torch.from_numpy(np.concatenate([classes for _, _, classes in drawn]))
        counts = torch.tensor([len(classes) for _, _, classes in drawn])
        return {
            "img": torch.stack([view for view, _, _ in drawn]),
            "batch_idx": torch.arange(len(drawn)).repeat_interleave(counts).float(),
            "cls": classes.float()[:, None] - 1,
            "bboxes": torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1),
        }


def pick(scenes: Sequence[T], count: int, generator: torch.Generator) -> list[T]:
    """`count` random ones, each once before any comes twice."""
    rounds = -(-count // max(1, len(scenes)))
    order = [torch.randperm(len(scenes), generator=generator) for _ in range(rounds)]
    return [scenes[index] for index in torch.cat(order)[:count].tolist()] if order else []
