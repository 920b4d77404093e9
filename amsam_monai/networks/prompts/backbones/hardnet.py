"""HarDNet-85 without its stride-32 stage, the backbone of AutoSAM's paper."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class HarDNet85(nn.Module):
    """Feature maps of HarDNet-85 (Chao et al., ICCV 2019) at strides 4, 8 and 16.

    Built of pytorchcv's units. Two things differ from its own network: every unit ends in ReLU6, as in the published
    HarDNet-85 (pytorchcv takes ReLU inside the blocks); and the stage at stride 32 is left out, since AutoSAM computes
    it and never reads it. 17,883,548 parameters.

    Shape: (B, 3, H, W), normalised -> [(B, 192, H/4, W/4), (B, 320, H/8, W/8), (B, 720, H/16, W/16)].

    Raises:
        ImportError: pytorchcv is not installed.
    """

    channels = (192, 320, 720)

    def __init__(self) -> None:
        super().__init__()
        features = _pytorchcv_hardnet85().features
        self.stem: nn.Module = features.init_block
        self.stages = nn.ModuleList([features.stage1, features.stage2, features.stage3])
        for stage in (features.stage1, features.stage2, features.stage3):
            for unit in stage:
                for block in unit.blocks:
                    block.activ = nn.ReLU6(inplace=True)
            unit.downsampling = False  # the last unit's pooling comes after the tap, in forward

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps at strides 4, 8 and 16."""
        maps = [self.stages[0](self.stem(pixels))]
        for stage in self.stages[1:]:
            maps.append(stage(F.max_pool2d(maps[-1], 2)))
        return maps


def _pytorchcv_hardnet85() -> Any:
    try:
        from pytorchcv.models.hardnet import hardnet85
    except ImportError as error:
        raise ImportError('backbone "hardnet85" needs pytorchcv; install it with `pip install pytorchcv`.') from error
    return hardnet85()
