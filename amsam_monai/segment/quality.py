"""How sure a network is of its masks: a few numbers for each class and slice, summed up while it segments.

FEATURES, of a class in a slice or in a whole case, the higher the surer:

- confidence: the Dice that the mask would have if the probabilities were true, 2 sum(p m) / (sum p + sum m).
- firmness: the same with the square roots of the probabilities, which tells sure networks' masks apart.
- agreement: Dice of the mask with those of the image's flips, where there are flips.
- whole: share of the mask that lies in its largest part, of each slice.
- continuity: Dice of the mask with those of the slices before and after, where there are any.
- size: log10 of the mask's share of the image.

SAM's own predicted IoU is not among them: of hearts, hippocampi and polyps that a network had not seen it told less
than each of these. Nor is anything that depends on the size of a pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

FEATURES = ("confidence", "firmness", "agreement", "whole", "continuity", "size")
SEEN = ("mask", "mass", "both", "soft_mass", "soft_both", "flips", "flips_both")  # while it segments
SUMS = (*SEEN, "kept", "largest", "beside", "beside_both", "pixels")  # and of the final mask
EDGES = np.ones((3, 3))


class QualityMeter:
    """Sums of each slice and class, to be shown the logits of a volume's slices batch by batch (`observe`).

    What it keeps does not grow with the slices' size. On the processor it takes a few per cent of the encoder's time.
    """

    def __init__(self) -> None:
        self._sums: list[np.ndarray] = []

    def __call__(self, logits: Tensor, parts: Sequence[Tensor]) -> None:
        """Take in a batch: logits (n, K+1, H, W), and those of the image and of each flip of it."""
        self._sums.append(seen_sums(logits, parts))

    def sums(self, label: np.ndarray) -> np.ndarray:
        """The SUMS of each slice and class of the final mask, of which some parts may have been taken away since.

        Shape: label (D, H, W), class indices, in the order in which slices were shown -> (D, K, SUMS).
        """
        seen = np.concatenate(self._sums)
        return np.concatenate([seen, mask_sums(label, seen.shape[1])], axis=2)


def seen_sums(logits: Tensor, parts: Sequence[Tensor]) -> np.ndarray:
    """What is SEEN of each slice and class.

    Shape: logits (n, K+1, H, W), parts the same, of the image and of each flip of it -> (n, K, SEEN).
    """
    flips = [part.max(1).indices for part in parts] if len(parts) > 1 else []
    seen = slice_sums(logits.float().softmax(1), logits.max(1).indices, flips)
    return seen[:, 1:].cpu().double().numpy()


def slice_sums(share: Tensor, index: Tensor, flips: Sequence[Tensor]) -> Tensor:
    """What is SEEN of each slice and class, background included.

    Shape: share (n, K+1, H, W), index and each of flips (n, H, W), class indices -> (n, K+1, SEEN).
    """
    count, classes = share.shape[:2]
    places = torch.arange(count, device=share.device)[:, None, None] * classes

    def counted(which: Tensor, weights: Tensor | None = None) -> Tensor:
        chosen = torch.bincount(which.flatten(), None if weights is None else weights.flatten(), count * classes)
        return chosen.reshape(count, classes).to(share.dtype)

    own = index + places
    roots = share.sqrt()
    roots /= roots.sum(1, keepdim=True)
    turned, agreed = torch.zeros_like(share[:, :, 0, 0]), torch.zeros_like(share[:, :, 0, 0])
    for flip in flips:
        turned += counted(flip + places) / len(flips)
        agreed += counted(own[flip == index]) / len(flips)
    masses = [share.sum((2, 3)), counted(own, share.amax(1)), roots.sum((2, 3)), counted(own, roots.amax(1))]
    return torch.stack([counted(own), *masses, turned, agreed], dim=2)


def mask_sums(label: np.ndarray, classes: int) -> np.ndarray:
    """The SUMS that are not SEEN. Shape: label (D, H, W), class indices -> (D, K, 5)."""
    found = np.zeros((len(label), classes, len(SUMS) - len(SEEN)))
    found[..., -1] = label[0].size
    for place, plane in enumerate(label):
        for index, box in enumerate(ndimage.find_objects(plane), start=1):
            if box is not None:
                found[place, index - 1, :2] = sizes(plane[box] == index)
    kept = found[..., 0]
    for place in range(len(label) - 1):
        same = label[place][label[place] == label[place + 1]]
        both = np.bincount(same, minlength=classes + 1)[1 : classes + 1]
        for one in (place, place + 1):
            found[one, :, 2] += kept[place] + kept[place + 1]
            found[one, :, 3] += both
    return found


def sizes(mask: np.ndarray) -> tuple[int, int]:
    """Pixels of a mask, and of its largest part. Shape (H, W)."""
    components, count = ndimage.label(mask, EDGES)
    total = int(np.count_nonzero(mask))
    return total, total if count == 1 else int(np.bincount(components.reshape(-1))[1:].max())


def features(sums: np.ndarray) -> dict[str, float]:
    """FEATURES of a class from its sums over slices; NaN for what is not there.

    Of a class without a voxel there are `mass`, log10 of one and its probability mass in pixels, and `beside`, the same
    of its masks in the slices before and after. A mask of which parts were taken away is as sure as the rest of it, and
    what it lost is doubt.

    Shape: sums (SUMS,), of a slice, or added up over those of a case.
    """
    one = dict(zip(SUMS, (float(value) for value in sums), strict=True))
    kept, flips = one["kept"], one["flips"]
    if not kept:
        empty = {"mass": float(np.log10(1 + one["mass"])), "beside": float(np.log10(1 + one["beside"]))}
        return {**dict.fromkeys(FEATURES, math.nan), **empty}
    left = kept / max(one["mask"], kept)
    return {
        "confidence": 2 * left * one["both"] / (one["mass"] + kept),
        "firmness": 2 * left * one["soft_both"] / (one["soft_mass"] + kept),
        "agreement": 2 * left * one["flips_both"] / (flips + kept) if flips else math.nan,
        "whole": one["largest"] / kept,
        "continuity": 2 * one["beside_both"] / one["beside"] if one["beside"] else math.nan,
        "size": float(np.log10(kept / one["pixels"])),
    }
