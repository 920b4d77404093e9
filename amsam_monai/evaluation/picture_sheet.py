"""AutoSAM's answers side by side, as in Fig. 4 of its paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from amsam_monai.handlers.overlays import draw_overlay
from amsam_monai.networks.systems.autosam import AutoSAM


@torch.no_grad()
def picture_sheet(net: AutoSAM, samples: Sequence[dict[str, Any]], *, side: int = 200) -> Image.Image:
    """A column per image: the image, h(g(I)), AutoSAM, the truth.

    Args:
        net: with h.
        samples: "image" (3, H, W) in [0, 1] and "label" (1, H, W).
        side: of each picture, in pixels.
    """
    device = next(net.parameters()).device
    sheet = Image.new("RGB", (side * len(samples), side * 4))
    for column, sample in enumerate(samples):
        image = torch.as_tensor(np.asarray(sample["image"]))
        light = net.use_light()(image[None].to(device))[0].cpu()
        full = net.use_light(False)(image[None].to(device))[0].cpu()
        truth = torch.as_tensor(np.asarray(sample["label"]))
        for row, pred in enumerate((None, light, full, truth)):
            sheet.paste(draw_overlay(image, pred=pred, side=side), (column * side, row * side))
    return sheet
