"""Low-rank updates on named projections (LoRA), as BLO-SAM, SAMed and AI-SAM place them in SAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.networks.kept import Kept


class LoRALinear(nn.Linear):
    """A frozen linear layer with low-rank updates on chosen output rows: y = Wx + b + scale * B A x.

    The layer keeps the names `weight` and `bias`, so that SAM's own state dict still loads.
    A is Kaiming-uniform with a = sqrt(5), B is zero: the update starts at zero.

    Args:
        linear: the layer to update; its parameters are taken over and frozen.
        rank: r, width of the update.
        alpha: numerator of the scale alpha / r; None gives scale 1, as in the papers' code.
        parts: output rows of each update; None is one update of all rows.
        folded: add the updates to the weight first, and then multiply once. Faster where a layer is narrow and its
            input long, so that one more pass over the input costs more than the product itself.

    Shape: (..., in) -> (..., out).

    Raises:
        ValueError: rank below 1.
    """

    rows: Tensor

    def __init__(
        self,
        linear: nn.Linear,
        *,
        rank: int = 4,
        alpha: float | None = None,
        parts: Sequence[Tensor] | None = None,
        folded: bool = False,
    ) -> None:
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}.")
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        linear.requires_grad_(False)
        self.weight = linear.weight
        if linear.bias is not None:
            self.bias = linear.bias
        whole = torch.arange(linear.out_features)
        parts = [whole] if parts is None else list(parts)
        like = linear.weight
        self.scale = 1.0 if alpha is None else alpha / rank
        self.folded = folded
        self._updated = Kept()
        self.lora_a = nn.ParameterList([nn.Parameter(like.new_empty(rank, linear.in_features)) for _ in parts])
        self.lora_b = nn.ParameterList([nn.Parameter(like.new_zeros(len(part), rank)) for part in parts])
        self.covers_all = len(parts) == 1 and len(parts[0]) == linear.out_features
        self.register_buffer("rows", torch.cat(list(parts)).to(linear.weight.device), persistent=False)
        for matrix in self.lora_a:
            nn.init.kaiming_uniform_(matrix, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Wx + b, plus the low-rank updates on their rows."""
        if self.folded:
            return F.linear(x, self.updated_weight(), self.bias)
        base = F.linear(x, self.weight, self.bias)
        update = torch.cat([F.linear(F.linear(x, a), b) for a, b in zip(self.lora_a, self.lora_b, strict=True)], dim=-1)
        if self.covers_all:
            return base + self.scale * update
        return base.index_add(-1, self.rows, (self.scale * update).to(base.dtype))

    def updated_weight(self) -> Tensor:
        """W + scale * B A, through which gradients reach A and B; not to be changed. Shape (out, in)."""
        return self._updated.of([self.weight, *self.lora_a, *self.lora_b], self._update)

    def _update(self) -> Tensor:
        if self.covers_all:
            return torch.add(self.weight, self.lora_b[0] @ self.lora_a[0], alpha=self.scale)
        update = torch.cat([b @ a for a, b in zip(self.lora_a, self.lora_b, strict=True)])
        return self.weight.index_add(0, self.rows, self.scale * update)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain linear layer with the same outputs."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight = nn.Parameter(self._update())
        plain.bias = self.bias
        return plain


def updated_weight(layer: nn.Linear) -> Tensor:
    """The weight that a layer multiplies by, low-rank updates included where it has some. Shape (out, in)."""
    return layer.updated_weight() if isinstance(layer, LoRALinear) else layer.weight


DECODER_ATTENTIONS = (
    *(
        f"layers.{n}.{name}"
        for n in (0, 1)
        for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")
    ),
    "final_attn_token_to_image",
)


def add_decoder_lora(
    mask_decoder: nn.Module, *, rank: int = 4, alpha: float | None = None, projections: Sequence[str] = ("q", "v")
) -> None:
    """Put low-rank updates on projections of the mask decoder's seven attentions, in place.

    Args:
        mask_decoder: segment-anything's.
        rank: r; 23,552 parameters at the default 4.
        alpha: see `LoRALinear`.
        projections: of "q", "k", "v" and "out".

    Raises:
        ValueError: unknown projection.
    """
    unknown = set(projections) - {"q", "k", "v", "out"}
    if unknown:
        raise ValueError(f"projections must be of q, k, v and out, got {sorted(unknown)}.")
    transformer = cast(nn.Module, mask_decoder.transformer)
    for name in DECODER_ATTENTIONS:
        attention = transformer.get_submodule(name)
        for projection in projections:
            linear = cast(nn.Linear, getattr(attention, f"{projection}_proj"))
            setattr(attention, f"{projection}_proj", LoRALinear(linear, rank=rank, alpha=alpha, folded=True))


def add_encoder_lora(
    image_encoder: nn.Module, *, rank: int = 4, alpha: float | None = None, projections: Sequence[str] = ("q", "v")
) -> None:
    """Put low-rank updates on rows of every fused qkv projection of an image encoder, in place; the rest is frozen.

    ViT stacks its rows as q, k, v; TinyViT interleaves them per head.

    Args:
        image_encoder: segment-anything's ViT, or `TinyViT`.
        rank: r; 147,456 parameters for ViT-B at the default 4.
        alpha: see `LoRALinear`.
        projections: of "q", "k" and "v".

    Raises:
        ValueError: unknown projection, or no fused qkv in this encoder.
    """
    unknown = set(projections) - {"q", "k", "v"}
    if unknown:
        raise ValueError(f"projections must be of q, k and v, got {sorted(unknown)}.")
    image_encoder.requires_grad_(False)
    attentions = [module for module in image_encoder.modules() if isinstance(getattr(module, "qkv", None), nn.Linear)]
    if not attentions:
        raise ValueError(
            f"image encoder must have fused qkv projections, got a {type(image_encoder).__name__} without."
        )
    for attention in attentions:
        rows = qkv_rows(attention)
        attention.qkv = LoRALinear(
            cast(nn.Linear, attention.qkv), rank=rank, alpha=alpha, parts=[rows[part] for part in projections]
        )


def qkv_rows(attention: nn.Module) -> dict[str, Tensor]:
    """Output rows of q, k and v in an attention's fused projection."""
    out = cast(nn.Linear, attention.qkv).out_features
    if not hasattr(attention, "key_dim"):  # ViT: q, k, v one after the other
        return dict(zip("qkv", torch.arange(out).chunk(3), strict=True))
    heads, key = int(attention.num_heads), int(attention.key_dim)  # type: ignore[arg-type]
    per_head = torch.arange(out).reshape(heads, -1)  # TinyViT: q, k, v of head 0, then of head 1, ...
    return {
        "q": per_head[:, :key].flatten(),
        "k": per_head[:, key : 2 * key].flatten(),
        "v": per_head[:, 2 * key :].flatten(),
    }


def merge_lora(module: nn.Module) -> nn.Module:
    """Fold every low-rank update below `module` into its layer, in place; outputs stay the same. Returns `module`."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                setattr(parent, name, child.merged())
    return module
