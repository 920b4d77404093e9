"""The rows of AM-SAM's tables: AM-SAM, its parts left out, and its baselines, all as settings of the same code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from amsam_monai.engines.few_shot import FewShotSettings
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.from_scratch import FromScratch


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        detector: its boxes prompt the network.
        network: options of `AMSAM`.
        settings: fields of `FewShotSettings` that are not the default's.
        trains: False scores the network as it comes.
        from_scratch: a name of `FromScratch` instead of SAM.
        encoder_trains: no embedding can be kept.
        image_size: side of the square by the least number of shots it is for; empty is the run's.
        confidence: floor of the detector's boxes by the least number of shots it is for; a box less sure is none. The
            more images, the better the learned prompt that takes its place.
        steps: of all epochs together, by the least number of shots; empty is as the settings say.
    """

    detector: bool = False
    network: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True
    from_scratch: str | None = None
    encoder_trains: bool = False
    image_size: Mapping[int, int] = field(default_factory=dict)
    confidence: Mapping[int, float] = field(default_factory=dict)
    steps: Mapping[int, int] = field(default_factory=dict)

    def settings_for(self, settings: FewShotSettings, shots: int) -> FewShotSettings:
        """`settings` with the row's own, for so many shots."""
        chosen = replace(settings, **self.settings)
        steps = _for_shots(self.steps, shots)
        return chosen if steps is None else replace(chosen, steps_per_epoch=max(1, round(steps / chosen.epochs)))

    def floor(self, shots: int) -> float:
        """Confidence below which a box is none."""
        return _for_shots(self.confidence, shots) or 0.0

    def side(self, shots: int) -> int | None:
        """Of the square, where it is not the run's."""
        return _for_shots(self.image_size, shots)

    def build(
        self, *, shots: int, image_size: int, alpha: float, dark_object_weight: float = 0.0
    ) -> AMSAM | FromScratch:
        """The network, before training, for one class; `dark_object_weight` is for rows with a trained detector."""
        side = self.side(shots) or image_size
        if self.from_scratch is not None:
            return FromScratch(self.from_scratch, image_size=side)
        sam = build_sam("vit_t", image_size=side, weights="mobile_sam")
        dark_object_weight = (
            dark_object_weight if self.detector and self.trains and not self.network.get("joint") else 0.0
        )
        return AMSAM(sam, alpha=alpha, **{"dark_object_weight": dark_object_weight, **self.network})


def _for_shots(values: Mapping[int, Any], shots: int) -> Any:
    """The value of the largest number that is not above `shots`; None where there is none."""
    reached = [number for number in values if number <= shots]
    return values[max(reached)] if reached else None


NONE, FUSED, PAPER = ({"calibration": mode} for mode in ("none", "fused", "paper"))
TWO = {"bilevel": True}
ONE = {"bilevel": False}
# BLO-SAM as its code runs: 256 pixels stretched, batches of one, both learning rates as in the paper, no augmentation.
PAPERS = {
    "batch_size": 1,
    "learning_rate": 5e-3,
    "upper_learning_rate": 1e-3,
    "views": 1,
    "extra_share": 0.0,
    "bilevel": True,
}
# The encoder runs at each step: fewer views of smaller images, and smaller ones again for networks from scratch, which
# can afford it: they miss objects, not edges.
DEEP = {"bilevel": False, "views": 2}
# All of the network trains, on ever new views, as AI-SAM on lesions does.
WHOLE_NETWORK = {**FUSED, "encoder": "full", "decoder": "all", "lora_rank": 0}
WHOLE = {
    "bilevel": False,
    "random_views": True,
    "epochs": 40,
    "learning_rate": 2e-4,
    "weight_decay": 0.05,
    "warmup": 20,
    "clip": 1.0,
    "box_drop": 0.3,
}
WHOLE_STEPS = {0: 160, 16: 240}
WHOLE_SIZE = {0: 256, 16: 384}
PAPERS_SIZE, SMALLER, SMALLEST = {0: 256}, {0: 128}, {0: 96}
FULL_WINDOWS = {0: 224}  # TinyViT's windows of 7 and 14 cells fill it, without padding that costs time

ROWS: dict[str, Row] = {
    "SAM + detector": Row(detector=True, network=NONE, trains=False),
    "BLO-SAM": Row(network=NONE, settings=ONE),
    "AM-SAM, calibration alone": Row(network=FUSED, settings=ONE),
    "AM-SAM, detector alone": Row(detector=True, network=NONE, settings=ONE),
    "AM-SAM": Row(detector=True, network=FUSED, settings=ONE),
    "AM-SAM, without dark objects": Row(detector=True, network={**FUSED, "dark_object_weight": 0.0}, settings=ONE),
    "AM-SAM, without phantoms": Row(detector=True, network=FUSED, settings={**ONE, "extra_share": 0.0}),
    "AM-SAM, encoder trained": Row(
        detector=True,
        network=WHOLE_NETWORK,
        settings=WHOLE,
        encoder_trains=True,
        image_size=WHOLE_SIZE,
        confidence={0: 0.35, 16: 0.5},
        steps=WHOLE_STEPS,
    ),
    "BLO-SAM, encoder trained": Row(
        network={**WHOLE_NETWORK, **NONE},
        settings=WHOLE,
        encoder_trains=True,
        image_size=WHOLE_SIZE,
        steps=WHOLE_STEPS,
    ),
    "BLO-SAM, two levels": Row(network=NONE, settings=TWO),
    "AM-SAM, two levels": Row(detector=True, network=FUSED, settings=TWO),
    "AM-SAM, paper calibration": Row(detector=True, network=PAPER, settings=ONE),
    "BLO-SAM, paper's settings": Row(
        network={**NONE, "joint": True, "resize": "stretch"}, settings=PAPERS, image_size=PAPERS_SIZE
    ),
    "AM-SAM, paper's settings": Row(
        detector=True, network={**PAPER, "joint": True, "resize": "stretch"}, settings=PAPERS, image_size=PAPERS_SIZE
    ),
    "SAMed": Row(
        network={**NONE, "lora_rank": 0, "encoder_lora_rank": 4, "decoder": "all", "joint": True},
        settings={**DEEP, "learning_rate": 5e-3, "warmup": 25, "clip": 1.0},
        encoder_trains=True,
        image_size=FULL_WINDOWS,
    ),
    "Med-SA": Row(
        network={**NONE, "lora_rank": 0, "encoder_adapters": 0.25, "decoder": "all"},
        settings={**DEEP, "learning_rate": 1e-3, "clip": 1.0},
        encoder_trains=True,
        image_size=FULL_WINDOWS,
    ),
    "U-Net": Row(from_scratch="unet", settings=DEEP, image_size=SMALLEST),
    "SwinUNETR": Row(from_scratch="swin_unetr", settings={**DEEP, "learning_rate": 5e-4}, image_size=SMALLEST),
    "DeepLabV3": Row(from_scratch="deeplabv3", settings=DEEP, image_size=SMALLER),
}
