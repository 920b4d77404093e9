"""U-Nets of MONAI: from scratch in 2D or 3D, and on an EfficientNet that knows ImageNet."""

from __future__ import annotations

import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets import DynUNet, FlexibleUNet
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import Tensor, nn

from amsam_monai.networks.prompts.backbones.efficientnet_lite import EfficientNetLite0, lite0_state_dict
from amsam_monai.networks.sam import PIXEL_MEAN, PIXEL_STD
from amsam_monai.networks.weights.store import load_weights
from benchmarks.own.unet_plan import Plan

FILTERS = {2: (16, 32, 64, 128, 256, 320), 3: (16, 32, 64, 128, 256)}
SMALLEST = 4  # side of the deepest map, at least
NETWORKS = ("scratch", "imagenet")
ENCODER = "efficientnet-lite0"


class Lite0Encoder(EfficientNetLite0, BaseEncoder):
    """EfficientNet-Lite0 as an encoder of MONAI's FlexibleUNet: maps at strides 2, 4, 8, 16 and 32."""

    STAGES = (0, 1, 2, 4, 6)

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3, pretrained: bool = True) -> None:
        super().__init__(deep=True)
        if pretrained:
            self.load_state_dict(lite0_state_dict(load_weights("efficientnet_lite0"), deep=True))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps, the finest first."""
        x, maps = self.bn1(self.conv_stem(pixels * self.scale + self.shift)), []
        for stage in self.blocks:
            x = stage(x)
            maps.append(x)
        return [maps[stage] for stage in self.STAGES]

    @classmethod
    def get_encoder_parameters(cls) -> list[dict]:
        """Arguments, which FlexibleUNet fills in."""
        return [{"spatial_dims": 2, "in_channels": 3, "pretrained": True}]

    @classmethod
    def num_channels_per_output(cls) -> list[tuple[int, ...]]:
        """Channels of the maps."""
        return [(16, 24, 40, 112, 320)]

    @classmethod
    def num_outputs(cls) -> list[int]:
        """Number of maps."""
        return [5]

    @classmethod
    def get_encoder_names(cls) -> list[str]:
        """Name in FlexibleUNet's list."""
        return [ENCODER]


class Normalised(nn.Module):
    """A network after the normalisation of its pixels.

    Args:
        network: what follows.
        mean: per channel, or one for all.
        std: the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], dims: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, *[1] * dims))
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, *[1] * dims))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits. Shape (B, C, ...) in [0, 1] -> (B, K+1, ...)."""
        return self.network((pixels - self.mean) / self.std)


def build_unet(kind: str, plan: Plan, classes: int, *, pretrained: bool = True) -> nn.Module:
    """A U-Net for a plan.

    Args:
        kind: one of NETWORKS.
        plan: of the task.
        classes: K, background aside.
        pretrained: load ImageNet weights, where the kind has them.

    Shape: pixels (B, C, ...) in [0, 1], C 3 in 2D and 1 in 3D -> logits (B, K+1, ...).

    Raises:
        ValueError: an unknown kind, or ImageNet in 3D.
    """
    if kind not in NETWORKS or (kind == "imagenet" and plan.dims == 3):
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, and imagenet in 2D, got {kind} {plan.dims}D.")
    if kind == "imagenet":
        FLEXUNET_BACKBONE.register_class(Lite0Encoder)
        flexible = FlexibleUNet(3, classes + 1, ENCODER, pretrained=pretrained, decoder_channels=(128, 64, 48, 32, 16))
        return Normalised(flexible, PIXEL_MEAN, PIXEL_STD, 2)
    levels = 1
    while levels < len(FILTERS[plan.dims]) and all(
        length % 2**levels == 0 and length // 2**levels >= SMALLEST for length in plan.patch
    ):
        levels += 1
    network = DynUNet(
        spatial_dims=plan.dims,
        in_channels=3 if plan.dims == 2 else 1,
        out_channels=classes + 1,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=FILTERS[plan.dims][:levels],
        norm_name=("INSTANCE", {"affine": True}),
    )
    return Normalised(network, (0.5,), (0.25,), plan.dims)
