"""Dice of samples in memory, over mirror images where wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amsam_monai import keys
from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.from_scratch import FromScratch
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.flips import flip_prompts, flip_sets, mean_logits


@torch.no_grad()
def dice_of_samples(
    network: System | FromScratch,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache | None,
    *,
    boxes: dict[str, Tensor] | None = None,
    flips: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground Dice of each sample of a two-class task, at native size and on the logits' grid; (N,), (N,).

    Args:
        network: a system.
        samples: "image" (3, H, W) in [0, 1], "label" (1, H, W) and "case_id".
        cache: of the network's embeddings, or None.
        boxes: (1, 4) by case id, in pixels of the image, where the detector has run already.
        flips: mirror images to average over, see `segment_flipped`; boxes are turned along.
        device: where the network is.
    """
    network.eval()
    native, coarse = [], []
    for sample in samples:
        image = torch.as_tensor(sample[keys.IMAGE])[None].to(device)
        prompts = None if boxes is None else Prompts(box_xyxy=boxes[sample[keys.CASE_ID]][None].to(device))
        turned = []
        for dims in flip_sets(flips):
            view = image.flip(dims)
            embedding = None
            if cache is not None:
                embedding = cache.get_or_compute(view[0], network.encode, device=device)[None].to(image)
            asked = None if prompts is None else flip_prompts(prompts, image.shape[-2:], dims)
            turned.append(network(view, embedding=embedding, prompts=asked).flip(dims))
        logits = mean_logits(turned)
        label = (sample[keys.LABEL][None] == 1).float()  # (1, 1, H, W)
        native.append(_dice(logits, label))
        small = F.interpolate(logits, (64, 64), mode="bilinear", align_corners=False, antialias=True)
        coarse.append(_dice(small, F.interpolate(label, (64, 64), mode="nearest-exact")))
    return np.array(native), np.array(coarse)


def _dice(logits: Tensor, label: Tensor) -> float:
    pred, label = logits.argmax(1).cpu() == 1, label[:, 0].cpu() > 0
    total = int(pred.sum()) + int(label.sum())
    return 2.0 * int((pred & label).sum()) / total if total else float("nan")
