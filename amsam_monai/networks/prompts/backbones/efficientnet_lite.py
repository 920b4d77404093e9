"""EfficientNet-Lite0: a light backbone whose ImageNet weights a package index can give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.networks.sam import PIXEL_MEAN, PIXEL_STD

# Blocks of each stage. The catalogue's file numbers its blocks through; timm numbers them within their stage.
DEPTHS = (1, 2, 2, 3, 3, 4, 1)
CHANNELS = (24, 40, 112, 320)  # at strides 4, 8, 16 and 32
LAST_STAGES = (1, 2, 4, 6)  # of each stride


class EfficientNetLite0(nn.Module):
    """Feature maps of EfficientNet-Lite0 at strides 4, 8 and 16 (700,768 parameters), or down to 32 (2,958,848).

    Its ImageNet weights were trained on pixels in [-1, 1], so SAM's normalisation is exchanged for that one inside.

    Args:
        deep: go on to stride 32.
        trains_from: the stage, of 0 to 6, from which weights train. Those before it, and all statistics of batch
            normalisation, stay as they are loaded. None trains everything, statistics too; 7 trains nothing.

    Shape: (B, 3, H, W), normalised as for SAM -> [(B, 24, H/4, W/4), (B, 40, H/8, W/8), (B, 112, H/16, W/16)], and
        (B, 320, H/32, W/32) where `deep`.

    Raises:
        ImportError: timm is not installed.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, *, deep: bool = False, trains_from: int | None = None) -> None:
        super().__init__()
        net = _timm_lite0()
        self.conv_stem: nn.Module = net.conv_stem
        self.bn1: nn.Module = net.bn1
        self.channels = CHANNELS if deep else CHANNELS[:-1]
        self.blocks: nn.Sequential = net.blocks[: LAST_STAGES[len(self.channels) - 1] + 1]
        scale = torch.tensor(PIXEL_STD).reshape(1, 3, 1, 1) / 0.5
        shift = (torch.tensor(PIXEL_MEAN).reshape(1, 3, 1, 1) - 0.5) / 0.5
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.fixed = trains_from is not None
        self.requires_grad_(not self.fixed)
        for stage in list(self.blocks)[trains_from:] if self.fixed else ():
            stage.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Training mode, which a backbone with fixed statistics never enters."""
        return super().train(mode and not self.fixed)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps, the finest first."""
        x = self.bn1(self.conv_stem(pixels * self.scale + self.shift))
        maps = []
        for stage in self.blocks:
            x = stage(x)
            maps.append(x)
        return [maps[stage] for stage in LAST_STAGES[: len(self.channels)]]


def lite0_state_dict(state: dict[str, Tensor], *, deep: bool = False) -> dict[str, Tensor]:
    """The catalogue's `efficientnet_lite0` file in the names of `EfficientNetLite0`; what lies deeper is left out.

    Args:
        state: the file's.
        deep: down to stride 32.

    Raises:
        ValueError: the file holds names that EfficientNet-Lite0 does not have.
    """
    stem = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
    ours = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        if head in stem:
            ours[f"{stem[head]}.{rest}"] = value
        elif head == "_blocks":
            number, layer, leaf = rest.split(".")
            stage, block = _stage_and_block(int(number))
            if stage <= LAST_STAGES[3 if deep else 2]:
                ours[f"blocks.{stage}.{block}.{_layer(layer, expands=stage > 0)}.{leaf}"] = value
        elif head not in ("_conv_head", "_bn1", "_fc"):
            raise ValueError(f"weights must be EfficientNet-Lite0's, got {name!r}; fetch `efficientnet_lite0`.")
    return ours


def _stage_and_block(number: int) -> tuple[int, int]:
    for stage, depth in enumerate(DEPTHS):
        if number < depth:
            return stage, number
        number -= depth
    raise ValueError(f"EfficientNet-Lite0 has {sum(DEPTHS)} blocks, got number {number + sum(DEPTHS)}.")


def _layer(name: str, *, expands: bool) -> str:
    """timm's name of a block's layer; the first stage has no expansion, so its layers are numbered from one earlier."""
    if not expands:
        return {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}[name]
    return {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }[name]


def _timm_lite0() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError('backbone "efficientnet_lite0" needs timm; install it with `pip install timm`.') from error
    return timm.create_model("tf_efficientnet_lite0", pretrained=False)
