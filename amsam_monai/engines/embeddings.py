"""The cache that belongs to a network."""

from __future__ import annotations

import os

from torch import nn

from amsam_monai.data.embeddings.cache import EmbeddingCache, state_sha256
from amsam_monai.handlers.checkpoints import unwrap


def embedding_cache(
    network: nn.Module,
    folder: str | os.PathLike[str] | None = None,
    *,
    dtype: str = "float16",
    enabled: bool = True,
    fixed: bool = False,
) -> EmbeddingCache:
    """The embedding cache of a system's frozen image encoder.

    Args:
        network: a system, as it is now; its encoder must not train.
        folder: see `amsam_monai.data.embeddings.folder.cache_folder`.
        dtype: "float16" or "float32".
        enabled: False computes every time (and rounds alike).
        fixed: the encoder's parameters are part of the adapter, but left out of the optimiser.

    Raises:
        ValueError: parameters of the image encoder train.
    """
    system = unwrap(network)
    if not (fixed or system.encoder_is_frozen):
        raise ValueError("embeddings can be kept only where the image encoder is frozen; train without the cache.")
    state = dict(system.sam.image_encoder.state_dict())
    for name in ("pixel_mean", "pixel_std"):
        state[f"sam.{name}"] = getattr(system.sam, name)
    for number, sam in enumerate(system.sams[1:], 1):  # of a mean of systems
        own = sam.image_encoder.state_dict()
        state |= {f"{number}.{sam.image_size}.{name}": value for name, value in own.items()}
    fingerprint = {
        "encoder": type(system.sam.image_encoder).__name__,
        "weights_sha256": state_sha256(state),
        "image_size": system.image_size,
        "resize": system.resize,
    }
    return EmbeddingCache(folder, fingerprint=fingerprint, dtype=dtype, enabled=enabled)
