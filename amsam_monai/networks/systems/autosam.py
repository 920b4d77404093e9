"""AutoSAM: the image itself prompts a frozen SAM; and its light form, which needs no SAM at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.prompt_sets import decode_sets, set_tokens
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import EMBED_DIM, PIXEL_MEAN, PIXEL_STD, SAM
from amsam_monai.networks.sam.lora import add_decoder_lora
from amsam_monai.networks.systems.system import Prediction, System


class AutoSAM(System):
    """A frozen SAM prompted by a generator that sees the image (AutoSAM, arXiv:2306.06370).

    Each class is one dense prompt, which takes the place of the prompt encoder's; the sparse prompt is empty unless a
    person gives points or a box, and the mask is SAM's first. Background has logit 0: one class is SAM's own sigmoid,
    several compete by softmax. A person's mask prompt takes the place of the generated one for its class.

    Args:
        sam: Segment Anything's parts; frozen.
        generator: g, for the grid of this SAM.
        num_classes: K, foreground classes.
        resize: how images are fitted into SAM's square, see `SquareFrame`.
        prompt_size: side at which g sees the square; None is the generator's preferred size.
        lora_rank: rank of a LoRA on SAM's decoder, trained with g; 0 is none, as in the paper.
        surrogate: h, the decoder of the light form; None if there is no light form.
        light: predict h(g(I)) instead of SAM's mask, and train h alone, with g fixed.
        domain: index of the data set, for a generator that is shared by several.
        normalise_twice: normalise pixels twice before SAM's encoder, as the authors' code does. For comparison only,
            since it leaves SAM nearly blind; never mix embeddings made this way with others.

    Raises:
        ValueError: a generator for another grid or number of classes, or `light` without h.
    """

    @recorded
    def __init__(
        self,
        sam: SAM,
        generator: PromptGenerator,
        *,
        num_classes: int = 1,
        resize: str = "pad",
        prompt_size: int | None = None,
        lora_rank: int = 0,
        surrogate: SurrogateDecoder | None = None,
        light: bool = False,
        domain: int | None = None,
        normalise_twice: bool = False,
    ) -> None:
        super().__init__(sam, num_classes=num_classes, resize=resize)
        if generator.grid != sam.grid:
            raise ValueError(
                f"generator must have SAM's grid {sam.grid}, got {generator.grid}; build it with grid={sam.grid}."
            )
        if generator.num_classes != num_classes:
            raise ValueError(f"generator must have {num_classes} classes, got {generator.num_classes}.")
        self.generator, self.surrogate, self.domain = generator, surrogate, domain
        self.prompt_size = prompt_size or generator.preferred_size
        self._fixed = _frozen_names(generator)
        sam.requires_grad_(False)
        if lora_rank:
            add_decoder_lora(sam.mask_decoder, rank=lora_rank)
        if normalise_twice:
            sam.image_encoder.register_forward_pre_hook(_normalise_again)
        self.use_light(light)

    def use_light(self, light: bool = True) -> AutoSAM:
        """Switch between SAM's mask and h(g(I)), and with it what trains. Returns the network.

        Raises:
            ValueError: there is no h.
        """
        if light and self.surrogate is None:
            raise ValueError("light must come with a surrogate decoder, got none; pass surrogate=SurrogateDecoder().")
        self.light = light
        for name, parameter in self.named_parameters():
            of_g = name.startswith("generator.") and name.removeprefix("generator.") not in self._fixed
            parameter.requires_grad_(name.startswith("surrogate.") if light else of_g or ".lora_" in name)
        return self.train(self.training)

    def train(self, mode: bool = True) -> AutoSAM:
        """Training mode; SAM, and g under a light network, stay in evaluation mode."""
        super().train(mode)
        self.sam.eval()
        if self.light:
            self.generator.eval()
        return self

    @property
    def heeds_prompts(self) -> bool:
        """See `System.heeds_prompts`: in training the image alone prompts."""
        return False

    def adapter_keys(self) -> list[str]:
        """Names of g, h and LoRA, whichever of them trains now."""
        names = [name for name in self.state_dict() if name.removeprefix("generator.") not in self._fixed]
        return [name for name in names if name.startswith(("generator.", "surrogate.")) or ".lora_" in name]

    def dense_prompt(self, pixels: Tensor, embedding: Tensor | None, *, domain: Tensor | None = None) -> Tensor:
        """g of framed images.

        Args:
            pixels: in [0, 1], not normalised.
            embedding: SAM's; read by the "sam" backbone only.
            domain: data set of each image (B,); None takes the network's own.

        Shape: pixels (B, 3, S, S) -> (B, K*256, g, g).
        """
        if domain is None and self.domain is not None:
            domain = torch.full((pixels.shape[0],), self.domain, device=pixels.device)
        return self.generator.of_images(pixels, embedding, side=self.prompt_size, domain=domain)

    def predict(
        self,
        pixels: Tensor,
        embedding: Tensor,
        prompts: Prompts,
        frame: SquareFrame,
        classes: Sequence[int] | None = None,
    ) -> Prediction:
        """See `System.predict`. The light form reads no prompts."""
        if self.light and self.surrogate is not None:
            with torch.no_grad():
                dense = self.dense_prompt(pixels, embedding)
            return Prediction(_with_background(self.surrogate(dense)), Prompts())
        logits, iou = self.decode(embedding, self.dense_prompt(pixels, embedding), prompts)
        return Prediction(_with_background(logits), prompts, quality=iou.clamp(0, 1))

    def decode(self, embedding: Tensor, dense: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """SAM's masks and predicted IoU under dense prompts and, where given, a person's.

        Args:
            embedding: of the images.
            dense: K prompts an image.
            prompts: in pixels of the square.

        Shape: embedding (B, 256, g, g), dense (B, K*256, g, g) -> logits (B, K, 4g, 4g), IoU (B, K).
        """
        batch, classes = embedding.shape[0], self.num_classes
        dense = dense.reshape(batch * classes, EMBED_DIM, *dense.shape[-2:])
        if prompts.mask is not None:
            dense = self._with_masks(dense, prompts.mask.flatten(0, 1)[:, None])

        def decode(rows: Tensor, sparse: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor]:
            output = self.sam.decode(embedding, sparse, dense[rows], images=rows // classes, there=there)
            masks = torch.einsum("nmc,nchw->nmhw", self.sam.hyper(output.mask_tokens[:, :1]), output.features)
            return output.picture(masks)[:, 0], self.sam.iou(output)[:, :1]

        logits, iou = decode_sets(decode, *set_tokens(self.sam, prompts, batch * classes))
        return logits.reshape(batch, classes, *logits.shape[-2:]), iou.reshape(batch, classes)

    def _with_masks(self, dense: Tensor, masks: Tensor) -> Tensor:
        given = ~masks.isnan().flatten(1).any(1)
        return torch.where(given[:, None, None, None], self.sam.mask_dense(masks.nan_to_num()), dense)

    def encode_framed(self, pixels: Tensor, frame: SquareFrame) -> Tensor:
        """See `System.encode_framed`; the light form spares SAM's encoder where g does not read its embedding."""
        if self.light and not self.generator.reads_embedding:
            return pixels.new_empty((0,))  # nobody reads it
        return super().encode_framed(pixels, frame)

    def predict_image(
        self,
        image: Tensor,
        *,
        embedding: Tensor | None = None,
        prompts: Prompts | None = None,
        classes: Sequence[int] | None = None,
    ) -> tuple[SquareFrame, Prediction]:
        """See `System.predict_image`."""
        if embedding is not None:
            embedding = embedding.to(image.dtype)  # the cache holds float16
        return super().predict_image(image, embedding=embedding, prompts=prompts, classes=classes)


@recorded
def build_autosam(
    sam: SAM,
    *,
    backbone: str = "sam",
    backbone_weights: str | Path | None = None,
    num_classes: int = 1,
    domains: int = 0,
    tuned: bool = False,
    **settings: Any,
) -> AutoSAM:
    """AutoSAM with its light form, as the bundles have it.

    Args:
        sam: Segment Anything's parts.
        backbone: of g, see `PromptGenerator`.
        backbone_weights: its ImageNet weights, None for random ones.
        num_classes: K, foreground classes.
        domains: data sets that share g.
        tuned: let g's EfficientNet-Lite0 beside SAM's embedding learn too, see `PromptGenerator`.
        settings: further ones of `AutoSAM`.
    """
    generator = PromptGenerator(
        backbone, num_classes=num_classes, grid=sam.grid, weights=backbone_weights, domains=domains, tuned=tuned
    )
    return AutoSAM(sam, generator, num_classes=num_classes, surrogate=SurrogateDecoder(), **settings)


def _with_background(logits: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def _frozen_names(generator: nn.Module) -> set[str]:
    """Entries of the generator's state whose module came frozen: their weights, and their statistics."""
    frozen = {name for name, p in generator.named_parameters() if not p.requires_grad}
    modules = {name.rpartition(".")[0] for name in frozen}
    return {name for name in generator.state_dict() if name.rpartition(".")[0] in modules}


def _normalise_again(encoder: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The authors' code hands normalised pixels to SAM's own preprocessing, which expects 0 to 255."""
    mean, std = (inputs[0].new_tensor(values).reshape(1, 3, 1, 1) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    return ((inputs[0] - mean) / std,)
