"""The later half of an image encoder, which trains by itself in less time than all of it."""

from __future__ import annotations

from torch import nn


def late_stages(encoder: nn.Module) -> list[nn.Module]:
    """The second half of TinyViT's stages or of ViT's blocks, and the neck: what comes before needs no gradient.

    Args:
        encoder: of SAM.

    Raises:
        ValueError: an encoder of another kind.
    """
    parts = getattr(encoder, "layers", None) or getattr(encoder, "blocks", None)
    if not isinstance(parts, nn.ModuleList) or not isinstance(getattr(encoder, "neck", None), nn.Module):
        raise ValueError(f"the encoder must have layers or blocks, and a neck, got {type(encoder).__name__}.")
    return [*parts[len(parts) // 2 :], encoder.neck]


def train_encoder(encoder: nn.Module, mode: str) -> None:
    """Let all of it train ("full"), its `late_stages` ("late"), or none ("frozen")."""
    encoder.requires_grad_(mode == "full")
    if mode == "late":
        for part in late_stages(encoder):
            part.requires_grad_(True)
