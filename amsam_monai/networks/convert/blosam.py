"""BLO-SAM's and SAMed's published checkpoints as adapters of AMSAM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

DECODER = "sam.mask_decoder."
# BLO-SAM's short names of the decoder's attentions, numbered over layers and (q, v)
ATTENTIONS = {"sa": "self_attn", "cti": "cross_attn_token_to_image", "cit": "cross_attn_image_to_token"}
TAIL = ("iou_token.", "mask_tokens.", "output_upscaling.", "output_hypernetworks_mlps.")


def blosam_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BLO-SAM's checkpoint as the adapter of a joint AMSAM without calibration.

    The network is `AMSAM(build_sam("vit_b", image_size=256, weights="sam_vit_b", normalise=False), num_classes=K,
    resize="stretch", joint=True, calibration="none")`.

    Args:
        state: sa_a_000, cti_a_000, cit_a_000 ... (LoRA of the attentions), fati_qa ... (of the last one),
            no_mask_embed and mask_decoder.*; the head that predicts the IoU was never trained and is left out.

    Raises:
        ValueError: keys are missing.
    """
    adapter = {f"{DECODER}{name}": _of(state, f"mask_decoder.{name}") for name in _tail(state)}
    for short, attention in ATTENTIONS.items():
        for layer in (0, 1):
            for place, projection in enumerate("qv"):
                target = f"{DECODER}transformer.layers.{layer}.{attention}.{projection}_proj.lora_"
                for side in "ab":
                    adapter[f"{target}{side}.0"] = _of(state, f"{short}_{side}_{2 * layer + place:03d}")
    for projection in "qv":
        for side in "ab":
            target = f"{DECODER}transformer.final_attn_token_to_image.{projection}_proj.lora_{side}.0"
            adapter[target] = _of(state, f"fati_{projection}{side}")
    return {**adapter, **_prompt(_of(state, "no_mask_embed"))}


def samed_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SAMed's checkpoint as the adapter of a joint AMSAM whose encoder has LoRA.

    The network is `AMSAM(build_sam("vit_b", image_size=512, weights="sam_vit_b", normalise=False), num_classes=8,
    resize="stretch", joint=True, calibration="none", lora_rank=0, encoder_lora_rank=4, decoder="all")`.

    Args:
        state: w_a_000, w_b_000 ... (LoRA of the encoder's blocks, q and v in turn), prompt_encoder.* and
            mask_decoder.*.

    Raises:
        ValueError: keys are missing.
    """
    prefix = "mask_decoder."
    transformer = [name.removeprefix(prefix) for name in state if name.startswith(f"{prefix}transformer.")]
    adapter = {f"{DECODER}{name}": _of(state, prefix + name) for name in [*transformer, *_tail(state)]}
    count = sum(name.startswith("w_a_") for name in state)
    if not count:
        raise ValueError(f"checkpoint must hold w_a_000 and so on, got {', '.join(list(state)[:4])} ...")
    for index in range(count):
        block, place = divmod(index, 2)
        for side in "ab":
            target = f"sam.image_encoder.blocks.{block}.attn.qkv.lora_{side}.{place}"
            adapter[target] = _of(state, f"w_{side}_{index:03d}")
    return {**adapter, **_prompt(_of(state, "prompt_encoder.no_mask_embed.weight"))}


def _tail(state: Mapping[str, Tensor]) -> list[str]:
    names = [name.removeprefix("mask_decoder.") for name in state if name.startswith("mask_decoder.")]
    return [name for name in names if name.startswith(TAIL)]


def _prompt(no_mask: Tensor) -> dict[str, Tensor]:
    return {"prompt_embedding": no_mask, "class_token": torch.zeros_like(no_mask)}


def _of(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"checkpoint must hold {name}, got {', '.join(list(state)[:4])} ...; is it another method's?")
    return state[name]
