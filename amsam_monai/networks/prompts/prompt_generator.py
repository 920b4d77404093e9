"""The prompt generator g of AutoSAM: an image becomes the dense prompt of its own segmentation."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.convert.autosam import hardnet85_state_dict
from amsam_monai.networks.prompts.backbones import EfficientNetLite0, HarDNet85
from amsam_monai.networks.prompts.backbones.efficientnet_lite import DEPTHS, lite0_state_dict
from amsam_monai.networks.prompts.prompt_decoders import EmbeddingDecoder, SkipDecoder
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import EMBED_DIM, PIXEL_MEAN, PIXEL_STD
from amsam_monai.networks.weights.store import load_weights

BACKBONES = ("hardnet85", "efficientnet_lite0", "sam")
LITE0_WIDTHS = (64, 96)
TUNED_FROM = 2  # the first stage at stride 8: those before it cost most of a training step, and know edges already


class PromptGenerator(nn.Module):
    """Dense prompts for SAM from the image itself (AutoSAM, arXiv:2306.06370, section 3).

    `of_images` takes images as they are; `forward` takes pixels normalised by SAM's mean and standard deviation.

    Args:
        backbone: "hardnet85" (the paper's; 24,052,124 parameters), "efficientnet_lite0" (light, stands alone) or
            "sam" (reads the frozen SAM's embedding beside the maps of a frozen EfficientNet-Lite0).
        num_classes: K, dense prompts an image.
        grid: side of SAM's embedding.
        weights: ImageNet weights of the backbone: a name of the catalogue, a file, or None for random ones.
        domains: number of data sets that share the generator, told apart by a learned token each; 0 is one data set.
        tuned: of "sam" alone: its EfficientNet-Lite0 goes on to stride 32 and learns from stride 8 on.

    Shape: pixels (B, 3, s, s), embedding (B, 256, grid, grid) -> (B, K*256, grid, grid), in [-1, 1].

    Raises:
        ValueError: unknown backbone, weights of another one, or `tuned` with another than "sam".
        ImportError: the library of the backbone is not installed.
        FileNotFoundError: the weights are not there.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @recorded
    def __init__(
        self,
        backbone: str = "hardnet85",
        *,
        num_classes: int = 1,
        grid: int = 64,
        weights: str | Path | None = None,
        domains: int = 0,
        tuned: bool = False,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}.")
        if tuned and backbone != "sam":
            raise ValueError(f'tuned must go with backbone "sam", got {backbone!r}, which trains as a whole anyway.')
        self.backbone_name, self.num_classes, self.grid, self.domains = backbone, num_classes, grid, domains
        self.tuned = tuned
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).reshape(1, 3, 1, 1), persistent=False)
        outputs = num_classes * EMBED_DIM
        self.backbone: nn.Module
        self.decoder: nn.Module
        if backbone == "sam":
            self.backbone = EfficientNetLite0(deep=tuned, trains_from=TUNED_FROM if tuned else len(DEPTHS))
            self.decoder = EmbeddingDecoder(self.backbone.channels[1:], outputs)
        elif backbone == "hardnet85":
            self.backbone = HarDNet85()
            self.decoder = SkipDecoder(self.backbone.channels, outputs)
        else:
            self.backbone = EfficientNetLite0()
            self.decoder = SkipDecoder(self.backbone.channels, outputs, widths=LITE0_WIDTHS)
        if domains:
            self.domain_token = nn.Embedding(domains, 2 * self.backbone.channels[-1])
            nn.init.zeros_(self.domain_token.weight)
        if weights is not None:
            self._load_backbone(load_weights(weights), weights)

    @property
    def reads_embedding(self) -> bool:
        """Whether `forward` needs SAM's embedding."""
        return self.backbone_name == "sam"

    @property
    def preferred_size(self) -> int:
        """Side at which to show the image: 256 as in the paper; beside SAM's embedding, 1/2 (tuned) or 5/8 of SAM's."""
        if not self.reads_embedding:
            return 256
        return (8 if self.tuned else 10) * self.grid

    def of_images(
        self,
        images: Tensor,
        embedding: Tensor | None = None,
        *,
        side: int | None = None,
        domain: Tensor | None = None,
    ) -> Tensor:
        """Dense prompts of images in SAM's square, normalised here, once.

        Args:
            images: in [0, 1].
            embedding: see `forward`.
            side: at which g sees them; None is `preferred_size`.
            domain: see `forward`.

        Shape: images (B, 3, S, S), embedding (B, 256, grid, grid) -> (B, K*256, grid, grid).
        """
        pixels = (images - self.pixel_mean) / self.pixel_std
        side = side or self.preferred_size
        if pixels.shape[-1] != side:
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return self(pixels, embedding, domain=domain)

    def forward(self, pixels: Tensor, embedding: Tensor | None = None, *, domain: Tensor | None = None) -> Tensor:
        """Dense prompts of K classes, class after class.

        Args:
            pixels: normalised, any side that is a multiple of 16.
            embedding: SAM's, needed by the "sam" backbone and ignored by the others.
            domain: index of each image's data set, needed where `domains` is not 0.

        Raises:
            ValueError: embedding or domain is missing.
        """
        maps = self.backbone(pixels.contiguous(memory_format=torch.channels_last))  # a quarter faster on CPUs
        if self.domains:
            maps[-1] = self._toned(maps[-1], domain)
        if self.reads_embedding:
            if embedding is None:
                raise ValueError(
                    'backbone "sam" must be given SAM\'s embedding, got None; pass embedding=sam.encode(...).'
                )
            maps = [*maps[1:], embedding]
        dense = torch.tanh(self.decoder(maps))
        if dense.shape[-2:] != (self.grid, self.grid):
            dense = F.interpolate(dense, (self.grid, self.grid), mode="bilinear", align_corners=True)
        return dense

    def _toned(self, x: Tensor, domain: Tensor | None) -> Tensor:
        """The deepest map, scaled and shifted per channel by the token of its data set; untouched before training."""
        if domain is None:
            raise ValueError(f"domain must name one of {self.domains} data sets for each image, got None.")
        scale, shift = self.domain_token(domain)[..., None, None].chunk(2, dim=1)
        return x * (1 + scale) + shift

    def _load_backbone(self, state: dict[str, Tensor], source: str | Path) -> None:
        if isinstance(self.backbone, EfficientNetLite0):
            state = lite0_state_dict(state, deep=len(self.backbone.channels) > 3)
        else:
            state = hardnet85_state_dict(state)
        try:
            self.backbone.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"weights {source} must be those of {self.backbone_name}: {str(error)[:300]}") from error
