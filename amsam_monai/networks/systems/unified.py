"""All three methods in one network: AutoSAM's dense prompt, AI-SAM's points, AM-SAM's detector and calibration."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import SAM
from amsam_monai.networks.systems.aisam import AISAM


class DensePrompter(nn.Module):
    """AutoSAM's generator as a part of another network.

    Args:
        generator: g, for the grid of the network's SAM.

    Shape: pixels (B, 3, S, S) in [0, 1], embedding (B, 256, g, g) -> dense prompts (B, K*256, g, g).
    """

    def __init__(self, generator: PromptGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, pixels: Tensor, embedding: Tensor) -> Tensor:
        """The dense prompts."""
        return self.generator.of_images(pixels, embedding)


@recorded
def build_unified(
    sam: SAM,
    *,
    num_classes: int = 1,
    points: bool = True,
    detector: nn.Module | None = None,
    generator: PromptGenerator | None = None,
    calibration: str = "fused",
    encoder: str = "frozen",
    decoder: str = "lora",
    **settings: Any,
) -> AISAM:
    """AI-SAM with the other methods' parts, each of which can be left out.

    Args:
        sam: Segment Anything's parts.
        num_classes: K, foreground classes.
        points: AI-SAM's automatic points.
        detector: AM-SAM's; its boxes prompt the decoder and confine points and masks. None is no box.
        generator: AutoSAM's; its dense prompts take the place of SAM's "no mask". None keeps that.
        calibration: AM-SAM's mask calibration: "none", "paper" or "fused".
        encoder: see `AISAM`; frozen, so that embeddings may be cached.
        decoder: see `AISAM`.
        settings: further ones of `AISAM`.

    Raises:
        ValueError: neither points nor a detector nor a generator, or a setting that `AISAM` refuses.
    """
    return AISAM(
        sam,
        num_classes=num_classes,
        automatic_points=points,
        detector=detector,
        box_source="user" if detector is None else "detector",
        box_tokens=detector is not None,
        dense_prompter=None if generator is None else DensePrompter(generator),
        calibration=calibration,
        encoder=encoder,
        decoder=decoder,
        **settings,
    )
