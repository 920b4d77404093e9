"""A published AI-SAM filled by formula, and what its prompter, classifier and loss gave for it.

The numbers were measured by running the authors' public code (github ymp5078/AI-SAM, commit 29b1a96) in float64 on a
CPU, with every parameter filled by `filled` as described there.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

NUM_CLASSES, NUM_POINTS, NUM_CLASS_TOKENS = 3, 4, 16

PRESENCE_LOGITS = [0.60998046, 0.29931970, 0.87196334]
IMAGE_0_100_7, IMAGE_LAST, IMAGE_ABS_SUM = 0.26842558066, -0.75650804700, 827825.51769
LARGEST_WEIGHTS = [
    [0.89447442, 0.5533802, 0.9265891, 0.61973946],
    [0.35681998, 0.74337295, 0.84517877, 0.695146],
    [0.83559078, 0.80290836, 0.9917646, 0.74399696],
]
LARGEST_CELLS = [[1687, 4092, 2030, 3643], [1936, 1480, 2030, 1247], [2030, 551, 2030, 2665]]
SPARSE_CLASS_1_CHANNEL_5 = [
    *(0.80079527, 0.79522772, 1.17865863, 0.58752778, -0.50731821, -1.05017592),
    *(-0.56757282, -0.74291744, -0.56260319, -1.49983639, -0.55706368, -0.38631408),
]
FEATURES_0_2_3 = [0.03869826, -0.90220672, 0.99088842, 0.55833595]
BOXED_WEIGHTS_CLASS_1, BOXED_CELLS_CLASS_1 = [0.43833685, 0.32531413, 0.97335075, 0.70837404], [1303, 1305, 1305, 1175]


def formula(count: int, seed: int) -> Tensor:
    """R(n, s): numbers in [-1, 1) that any language can repeat."""
    k = torch.arange(1, count + 1, dtype=torch.float64)
    u = torch.sin(12.9898 * k + 78.233 * seed) * 43758.5453
    return 2 * (u - u.floor()) - 1


def published_shapes(
    classes: int = NUM_CLASSES, points: int = NUM_POINTS, tokens: int = NUM_CLASS_TOKENS, width: int = 1280
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published `auto_prompt`, with what it never calls."""
    shapes: dict[str, tuple[int, ...]] = {
        "class_emb": (classes, tokens, 256),
        "prompt_emb": (points, 256),
        "layer_emb": (1, 1, 256),
        "classifier_class_emb": (classes, 256),
    }

    def linear(name: str, out: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, inputs), (out,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (256,)

    def attention(name: str, inner: int) -> None:
        for part in "qkv":
            linear(f"{name}.{part}_proj", inner, 256)
        linear(f"{name}.out_proj", 256, inner)

    for stack, norms in (("auto_prompt_encoder", 5), ("classifier", 3)):
        for index in range(4):
            layer = f"{stack}.layers.{index}"
            if norms == 5:
                attention(f"{layer}.self_attn", 256)
                attention(f"{layer}.cross_attn_image_to_token", 128)
            attention(f"{layer}.cross_attn_token_to_image", 128)
            linear(f"{layer}.mlp.lin1", 512, 256)
            linear(f"{layer}.mlp.lin2", 256, 512)
            linear(f"{layer}.conv_mlp.0", 256, 256)
            linear(f"{layer}.conv_mlp.3", 256, 256)
            shapes[f"{layer}.conv_mlp.0.weight"] = (256, 256, 3, 3)
            shapes[f"{layer}.conv_mlp.3.weight"] = (256, 256, 1, 1)
            for name in (*(f"norm{n}" for n in range(1, norms + 1)), "conv_mlp.1"):
                norm(f"{layer}.{name}")
        attention(f"{stack}.final_attn_token_to_image", 128)
        norm(f"{stack}.norm_final_attn")
    linear("classifier_head", 1, 256)
    for point in range(points):
        for layer in range(3):
            linear(f"point_loc_project_mlps.{point}.layers.{layer}", 256, 256)
    norm("point_loc_project_norm")
    shapes["image_proj.0.weight"], shapes["image_proj.2.weight"] = (256, width, 1, 1), (256, 256, 3, 3)
    attention("layer_selecter", 128)
    for name in ("image_proj.1", "image_proj.3", "selecter_norm", "image_norm"):
        norm(name)
    return shapes


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Every parameter by formula, seeded by its name."""
    state = {}
    for name, shape in shapes.items():
        values = formula(torch.Size(shape).numel(), zlib.crc32(name.encode()) % 1000).reshape(shape)
        owner = name.rpartition(".")[0]
        if owner.rpartition(".")[2].startswith(("norm", "image_norm")) or owner.endswith(
            ("conv_mlp.1", "point_loc_project_norm", "selecter_norm", "image_proj.1", "image_proj.3")
        ):
            state[name] = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
        else:
            state[name] = (0.5 if name.endswith("_emb") else 0.1) * values
    return state


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Embedding, position and point labels."""
    grid = (1, 256, 64, 64)
    return (
        formula(256 * 64 * 64, 1001).reshape(grid),
        formula(256 * 64 * 64, 1002).reshape(grid),
        formula(768, 1003).reshape(3, 256),
    )
