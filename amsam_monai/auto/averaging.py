"""The mean of two methods on cases that were left out, from the probabilities of each: nothing is computed twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from amsam_monai.auto.plan import Plan
from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.files.images import LoadedImage
from amsam_monai.data.slices import SliceView
from amsam_monai.segment.quality import QualityMeter
from amsam_monai.segment.segmenter import SegmentedImage, Segmenter

SLICES = 4  # that are averaged at once


class Segments(Protocol):
    """What segments images: a `Segmenter`, or one of those here."""

    labels: dict[int, str]

    def __call__(self, source: LoadedImage, *, quality: bool) -> SegmentedImage:
        """Label map and, with `quality`, sums of an image."""


class Keeping:
    """A segmenter that keeps the probabilities of all it segments, 8 bits each.

    They are square roots, so that small ones, of which there are many, add up to what they were.

    Args:
        segment: the segmenter.
        folder: where they go, a file an image.
    """

    def __init__(self, segment: Segmenter, folder: Path) -> None:
        self.segment, self.labels, self.folder = segment, segment.labels, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, source: LoadedImage, *, quality: bool) -> SegmentedImage:
        """See `Segmenter`."""
        parts: list[np.ndarray] = []

        def observe(logits: Tensor, _: Sequence[Tensor]) -> None:
            parts.append((255 * logits.float().softmax(1).sqrt()).round().byte().cpu().numpy())

        result = self.segment(source, quality=quality, observe=observe)
        with whole_file(self.folder / _file_of(source)) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, roots=np.concatenate(parts))
        return result


class Averaging:
    """Segments by the mean of the probabilities that several `Keeping` kept.

    Args:
        folders: of each.
        plan: whose classes and slices they are.
    """

    def __init__(self, folders: Sequence[Path], plan: Plan) -> None:
        self.folders, self.plan, self.labels = list(folders), plan, plan.labels

    def __call__(self, source: LoadedImage, *, quality: bool) -> SegmentedImage:
        """See `Segmenter`; the sums are those of the mean's own masks.

        Raises:
            FileNotFoundError: an image that was not kept.
        """
        kept = []
        for folder in self.folders:
            with np.load(folder / _file_of(source)) as file:
                kept.append(torch.from_numpy(file["roots"]))  # (D, K+1, H, W)
        view, meter = None, QualityMeter()
        if source.kind == "volume":
            view = SliceView.of(source.array.shape, source.affine, axis=self.plan["axis"])
        label = torch.zeros(kept[0].shape[2:] if view is None else view.shape, dtype=torch.uint8)
        for start in range(0, len(kept[0]), SLICES):
            shares = [(one[start : start + SLICES].float() / 255).square() for one in kept]
            logits = torch.stack(shares).mean(0).clamp_min(torch.finfo(torch.float32).tiny).log()
            meter(logits, [logits])
            planes = logits.max(1).indices.byte()
            if view is None:
                label = planes[0]
            else:
                view.put(label, planes, start)
        result = SegmentedImage(source, label.numpy(), dict(self.labels), view=view)
        result.sums = meter.sums(result.label[None] if view is None else view.see(result.label)) if quality else None
        return result


def _file_of(source: LoadedImage) -> str:
    return f"{hashlib.sha256(str(source.path).encode()).hexdigest()[:24]}.npz"
