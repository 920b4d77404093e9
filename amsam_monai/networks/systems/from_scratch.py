"""Segmentation networks without SAM that are called as systems are: what few images give without pretraining."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from monai.networks.nets import BasicUNet, SwinUNETR
from monai.utils import optional_import
from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

from amsam_monai.framing import SquareFrame

_, has_einops = optional_import("einops")
NETWORKS = ("unet", "swin_unetr", "deeplabv3")


class FromScratch(nn.Module):
    """A U-Net, SwinUNETR (MONAI) or DeepLabV3 on MobileNetV3 (torchvision) with random weights, for images of any size.

    Args:
        name: one of NETWORKS.
        num_classes: K, foreground classes.
        image_size: side of the square that the network sees, a multiple of 32.
        resize: how images are fitted into the square, see `SquareFrame`.

    Shape: image (B, 3, H, W) in [0, 1] -> logits (B, K+1, H, W); with `low_res` (B, K+1, h, w) inside the square.

    Raises:
        ValueError: unknown name.
        ImportError: einops, which SwinUNETR needs, is not installed.
    """

    def __init__(self, name: str, *, num_classes: int = 1, image_size: int = 256, resize: str = "pad") -> None:
        super().__init__()
        if name not in NETWORKS:
            raise ValueError(f"name must be one of {', '.join(NETWORKS)}, got {name!r}.")
        self.name, self.num_classes, self.image_size, self.resize = name, num_classes, image_size, resize
        outputs = num_classes + 1
        self.net: nn.Module
        if name == "unet":
            self.net = BasicUNet(spatial_dims=2, in_channels=3, out_channels=outputs)
        elif name == "swin_unetr":
            if not has_einops:
                raise ImportError("swin_unetr needs einops, which is not installed; pip install einops")
            self.net = SwinUNETR(in_channels=3, out_channels=outputs, feature_size=24, spatial_dims=2)
        else:
            self.net = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=outputs)
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = 0.1  # MobileNetV3's 0.01 wants thousands of steps to know the statistics

    def encode(self, image: Tensor) -> Tensor:
        """A placeholder for the embedding that trainers ask for. Shape (B, 3, H, W) -> (B, 1)."""
        return image.new_zeros(len(image), 1)

    def forward(self, image: Tensor, *, low_res: bool = False, **_: Any) -> Tensor:
        """Logits of an image, called as a system is; prompts are not read."""
        frame = SquareFrame(image.shape[-2], image.shape[-1], self.image_size, self.resize)
        pixels = frame.image(image, (0.5,) * 3)
        logits = self.net(2 * pixels - 1)
        logits = logits["out"] if isinstance(logits, dict) else logits
        logits = F.interpolate(logits, pixels.shape[-2:], mode="bilinear", align_corners=False)
        return frame.crop(logits) if low_res else frame.restore(logits)
