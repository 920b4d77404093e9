"""AI-SAM's published checkpoints to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

PREFIX = "auto_prompt."

# Built by the published network and never called: a mix of all encoder layers.
_DEAD = ("layer_emb", "image_proj.", "layer_selecter.", "selecter_norm.", "image_norm.")
_LAYER_NAMES = (
    ("self_attn.", "self_attention."),
    ("cross_attn_token_to_image.", "token_to_image."),
    ("cross_attn_image_to_token.", "image_to_token."),
    ("final_attn_token_to_image.", "final_attention."),
    ("norm_final_attn.", "norm_final."),
    ("mlp.lin1.", "mlp.0."),
    ("mlp.lin2.", "mlp.2."),
    ("conv_mlp.0.", "conv_mlp.conv."),
    ("conv_mlp.1.", "conv_mlp.norm."),
    ("conv_mlp.3.", "conv_mlp.mix."),
)
# beginning of a published name -> (part, beginning of ours)
_PARTS = (
    ("prompt_emb", "prompter", "point_queries"),
    ("class_emb", "prompter", "class_tokens"),
    ("auto_prompt_encoder.", "prompter", "transformer."),
    ("point_loc_project_mlps.", "prompter", "point_mlps."),
    ("point_loc_project_norm.", "prompter", "point_norm."),
    ("classifier_class_emb", "classifier", "class_queries"),
    ("classifier_head.", "classifier", "head."),
    ("classifier.", "classifier", ""),
)
_SAM_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_LORA = re.compile(r"(image_encoder\.blocks\.\d+\.attn\.qkv)\.linear_([ab])_([qv])\.weight")


def aisam_state_dict(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The prompter and the presence classifier of a published AI-SAM.

    Args:
        state: names and tensors of its `auto_prompt`, with or without that prefix; with it, other
            names are passed over.

    Returns:
        {"prompter": state of `AIPrompter`, "classifier": state of `PresenceClassifier`}; parameters that the published
        network never calls are left behind.

    Raises:
        ValueError: a name that no published AI-SAM has, or one of the two parts is not there.
    """
    if any(name.startswith(PREFIX) for name in state):
        state = {name[len(PREFIX) :]: value for name, value in state.items() if name.startswith(PREFIX)}
    parts: dict[str, dict[str, Tensor]] = {"prompter": {}, "classifier": {}}
    unknown = []
    for name, value in state.items():
        if name.startswith(_DEAD):
            continue
        match = next((row for row in _PARTS if name.startswith(row[0])), None)
        if match is None:
            unknown.append(name)
            continue
        published, part, ours = match
        renamed = _rename(ours + name[len(published) :])
        # A 1x1 convolution is a linear layer on channels.
        parts[part][renamed] = value[..., 0, 0] if renamed.endswith("conv_mlp.mix.weight") else value
    if unknown:
        raise ValueError(
            f"state must hold an AI-SAM's auto_prompt, got {len(unknown)} unknown names, as {unknown[0]!r}."
        )
    for part, wanted in (("prompter", "prompt_emb"), ("classifier", "classifier_class_emb")):
        if not parts[part]:
            raise ValueError(f"state must hold an AI-SAM's auto_prompt, got no {part} ({PREFIX}{wanted} and others).")
    return parts


def aisam_checkpoint(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A whole published AI-SAM as the adapter of `AISAM(build_sam("vit_h"), num_classes=K)`.

    That is encoder LoRA, mask decoder, prompter and classifier; the frozen rest is SAM's own. The published file holds
    SAM twice; names beginning with `sam.` are the second copy and are passed over.

    Raises:
        ValueError: a part is missing.
    """
    parts = aisam_state_dict({name: value for name, value in state.items() if name.startswith(PREFIX)})
    adapter = {f"{part}.{name}": value for part, names in parts.items() for name, value in names.items()}
    lora = {}
    for name, value in state.items():
        if match := _LORA.fullmatch(name):
            qkv, matrix, projection = match.groups()
            lora[f"sam.{qkv}.lora_{matrix}.{'qv'.index(projection)}"] = value
    decoder = {f"sam.{name}": value for name, value in state.items() if name.startswith("mask_decoder.")}
    unread = re.compile(r"sam\.mask_decoder\.output_hypernetworks_mlps\.[1-9]\d*\.")  # of mask tokens without a mask
    decoder = {name: value for name, value in decoder.items() if not unread.match(name)}
    for part, found, wanted in (
        ("encoder LoRA", lora, "image_encoder.blocks.0.attn.qkv.linear_a_q.weight"),
        ("mask decoder", decoder, "mask_decoder.mask_tokens.weight"),
    ):
        if not found:
            raise ValueError(f"state must be a whole AI-SAM checkpoint, got no {part} ({wanted} and others).")
    return {**lora, **decoder, **adapter}


def _rename(name: str) -> str:
    for published, ours in _LAYER_NAMES:
        name = name.replace(published, ours)
    return name
