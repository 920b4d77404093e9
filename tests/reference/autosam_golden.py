"""A published AutoSAM filled by formula, and what its g and h gave for it.

The numbers were measured by running the authors' public code (github talshaharabany/AutoSAM, commit 3959d72) in
float64 on a CPU, in evaluation mode, with every entry of the state dict filled by `filled`.
"""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

INPUT_SEED, SUM_SEED = 2001, 9
G_0_TO_4_10_20 = [-0.0277597532, 0.0425466310, -0.0860246765, -0.0821209550]
G_LAST_63_0 = [-0.0454754320, -0.0865296527, -0.0326288652]
G_MEAN_ABS, G_WEIGHTED_SUM = 0.1090291664, 22.6151029896
H_VALUES = {(0, 0, 0, 0): 0.4991044564, (0, 0, 100, 37): 0.6153821621, (1, 0, 255, 255): 0.7769861509}
H_MEAN_ABS = 0.6097618631

# index in the published `base`: (input channels, layers, growth) of the harmonic dense blocks
BLOCKS = {
    3: (96, 8, 24),
    6: (192, 16, 24),
    8: (256, 16, 28),
    11: (320, 16, 36),
    13: (480, 16, 48),
    16: (720, 4, 256),
}
# index: (kernel, input channels, output channels) of the single convolutions
UNITS = {
    0: (3, 3, 48),
    1: (3, 48, 96),
    4: (1, 214, 192),
    7: (1, 392, 256),
    9: (1, 458, 320),
    12: (1, 588, 480),
    14: (1, 784, 720),
    18: (1, 1252, 1280),
}
# parameters of each item, as measured on the published module
UNIT_PARAMETERS = {
    0: 1_392,
    1: 41_664,
    3: 475_964,
    4: 41_472,
    6: 1_751_292,
    7: 100_864,
    8: 2_540_724,
    9: 147_200,
    11: 4_143_232,
    12: 283_200,
    13: 7_790_624,
    14: 565_920,
    16: 15_900_544,
    18: 1_605_120,
}


def formula(count: int, seed: int) -> Tensor:
    """R(n, s): numbers in [-1, 1) that any language can repeat."""
    k = torch.arange(1, count + 1, dtype=torch.float64)
    u = torch.sin(12.9898 * k + 78.233 * seed) * 43758.5453
    return 2 * (u - u.floor()) - 1


def filled(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state dict of these names and shapes."""
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        values = formula(math.prod(shape), zlib.crc32(name.encode()) % 1000).reshape(shape)
        if len(shape) == 4:
            state[name] = values * math.sqrt(3 / math.prod(shape[1:]))
        else:
            state[name] = 0.1 * values + (1 if name.endswith(("running_var", "weight")) else 0)
    return state


def block_layers(inputs: int, layers: int, growth: int) -> list[tuple[int, int]]:
    """(input, output) channels of the layers of a harmonic dense block: layer l reads l - 2^i where 2^i divides l."""
    widths = [inputs]
    for layer in range(1, layers + 1):
        links = [i for i in range(10) if layer % 2**i == 0]
        widths.append(int(int(growth * 1.7 ** (len(links) - 1) + 1) / 2) * 2)
    return [
        (sum(widths[layer - 2**i] for i in range(10) if layer % 2**i == 0), widths[layer])
        for layer in range(1, layers + 1)
    ]


def published_g() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published g, with what it computes and never reads."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, channels: int) -> None:
        shapes.update({f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{name}.num_batches_tracked"] = ()

    def unit(name: str, kernel: int, inputs: int, outputs: int) -> None:
        shapes[f"{name}.conv.weight"] = (outputs, inputs, kernel, kernel)
        norm(f"{name}.norm", outputs)

    for index in sorted([*BLOCKS, *UNITS]):
        if index in UNITS:
            unit(f"backbone.base.{index}", *UNITS[index])
        else:
            for number, (inputs, outputs) in enumerate(block_layers(*BLOCKS[index])):
                unit(f"backbone.base.{index}.layers.{number}", 3, inputs, outputs)
    steps = {"up1": (1040, 320, 320, ["BN"]), "up2": (512, 192, 192, ["BN"]), "final": (192, 256, 256, ["BN1", "BN2"])}
    for step, (inputs, middle, outputs, norms) in steps.items():
        for name, shape in {"conv1": (middle, inputs, 3, 3), "conv2": (outputs, middle, 3, 3)}.items():
            shapes[f"decoder.{step}.{name}.weight"], shapes[f"decoder.{step}.{name}.bias"] = shape, shape[:1]
        for name in norms:
            norm(f"decoder.{step}.{name}", outputs)
    return shapes


def published_h() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published h."""
    weights = {
        "conv1": (256, 64, 3, 3),
        "norm1": (64,),
        "conv2": (64, 16, 2, 2),
        "norm2": (16,),
        "conv3": (1, 16, 1, 1),
    }
    biases = {"conv1": 64, "norm1": 64, "conv2": 16, "norm2": 16, "conv3": 1}
    return {
        f"{name}.{leaf}": shape if leaf == "weight" else (biases[name],)
        for name, shape in weights.items()
        for leaf in ("weight", "bias")
    }
