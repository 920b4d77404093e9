"""SAMs by name, with pretrained weights or random. With `vit` the only importer of segment-anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from amsam_monai.networks.sam.origin import Origin
from amsam_monai.networks.sam.position_tables import resize_position_tables
from amsam_monai.networks.sam.sam import EMBED_DIM, SAM
from amsam_monai.networks.sam.tiny_vit import TinyViT
from amsam_monai.networks.sam.vit import lean
from amsam_monai.networks.weights.catalogue import CATALOGUE
from amsam_monai.networks.weights.store import catalogued, load_weights
from amsam_monai.networks.weights.store import path as weights_path


@dataclass(frozen=True)
class Backbone:
    """What distinguishes one SAM from another.

    Args:
        kind: "vit" (segment-anything's) or "tiny" (TinyViT).
        stride: pixels of the square per cell of the embedding.
        image_sizes: the only sizes that it takes, or None for any multiple of 16.
        normalise: whether pixels are normalised by SAM's mean and standard deviation.
    """

    kind: str
    width: int = 0
    depth: int = 0
    heads: int = 0
    global_blocks: tuple[int, ...] = ()
    stride: int = 16
    image_sizes: tuple[int, ...] | None = None
    normalise: bool = True


BACKBONES = {
    "vit_b": Backbone("vit", 768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Backbone("vit", 1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Backbone("vit", 1280, 32, 16, (7, 15, 23, 31)),
    "vit_t": Backbone("tiny"),
    "lite_medsam": Backbone("tiny", stride=4, image_sizes=(256,), normalise=False),
    "vit_nano": Backbone("vit", 32, 2, 2, (1,)),
}


def build_sam(
    backbone: str, *, image_size: int = 1024, weights: str | Path | None = None, normalise: bool | None = None
) -> SAM:
    """Build a SAM, with pretrained weights or random.

    Args:
        backbone: "vit_b", "vit_l", "vit_h" (segment-anything), "vit_t" (MobileSAM), "lite_medsam", or "vit_nano"
            (tiny and untrained, for tests).
        image_size: side of the square input, a multiple of 16; LiteMedSAM takes 256 only.
        weights: a name of the catalogue (`amsam weights list`), a file, or None for random weights.
        normalise: whether pixels are normalised by SAM's mean and standard deviation; None does as the catalogue says
            of the weights (MedSAM and LiteMedSAM take plain [0, 1]), which knows a file by its content; a file that it
            does not know is taken for one of the backbyour own training.

    Raises:
        ValueError: unknown backbone, a size it does not take, or weights that do not fit it.
        FileNotFoundError: the weights are not there.
    """
    if backbone not in BACKBONES:
        raise ValueError(f"backbone must be one of {', '.join(BACKBONES)}, got {backbone!r}.")
    spec = BACKBONES[backbone]
    if spec.image_sizes and image_size not in spec.image_sizes:
        raise ValueError(f"{backbone} takes image_size {spec.image_sizes[0]} only, got {image_size}.")
    if image_size < 16 or image_size % 16:
        raise ValueError(f"image_size must be a positive multiple of 16, got {image_size}.")
    if normalise is None:
        normalise = spec.normalise and _trained_normalised(weights)
    grid = image_size // spec.stride
    sam = SAM(
        _image_encoder(spec, image_size),
        PromptEncoder(EMBED_DIM, (grid, grid), (image_size, image_size), mask_in_chans=16),
        MaskDecoder(
            transformer_dim=EMBED_DIM,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, mlp_dim=2048, num_heads=8),
        ),
        image_size=image_size,
        normalise=normalise,
    )
    if weights is not None:
        _load(sam, spec, load_weights(weights), f"{weights}")
    file = None if weights is None else weights_path(weights)
    sam.origin = Origin(backbone, None if weights is None else str(weights), image_size, normalise, file)
    return sam.eval()


def _trained_normalised(weights: str | Path | None) -> bool:
    """Whether the weights were trained on normalised pixels, as far as the catalogue knows."""
    if weights is None:
        return True
    item = CATALOGUE.get(str(weights)) or catalogued(weights_path(weights))
    return item is None or item.normalised


def _image_encoder(spec: Backbone, image_size: int) -> nn.Module:
    if spec.kind == "tiny":
        return TinyViT(image_size=image_size, stride=spec.stride)
    vit = ImageEncoderViT(
        img_size=image_size,
        embed_dim=spec.width,
        depth=spec.depth,
        num_heads=spec.heads,
        out_chans=EMBED_DIM,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),  # type: ignore[arg-type]
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=spec.global_blocks,
    )
    return lean(vit)


def _load(sam: SAM, spec: Backbone, state: dict[str, Tensor], source: str) -> None:
    prefix = "image_encoder."
    encoder = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    rest = {name: value for name, value in state.items() if not name.startswith(prefix)}
    if spec.kind == "vit" and "pos_embed" in encoder and f"blocks.{spec.depth - 1}.attn.rel_pos_h" in encoder:
        encoder = resize_position_tables(encoder, grid=sam.grid, global_blocks=spec.global_blocks)
    if spec.kind == "tiny":  # the classification head of the distilled network is not part of SAM
        encoder = {name: value for name, value in encoder.items() if not name.startswith(("head.", "norm_head."))}
    rest.pop("pixel_mean", None)
    rest.pop("pixel_std", None)
    try:
        sam.load_state_dict({**{prefix + name: value for name, value in encoder.items()}, **rest})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise ValueError(
            f"weights {source} do not fit this backbone ({' '.join(lines)[:400]}). Choose the backbone they belong to."
        ) from error
