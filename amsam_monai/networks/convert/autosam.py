"""Published AutoSAM checkpoints, and HarDNet-85's, in our names."""

from __future__ import annotations

from torch import Tensor

# Unit of the published `base` -> our module; conv and norm follow. Blocks have their layers below.
_UNITS = {
    0: "stem.conv1",
    1: "stem.conv2",
    4: "stages.0.unit1.conv",
    7: "stages.1.unit1.conv",
    9: "stages.1.unit2.conv",
    12: "stages.2.unit1.conv",
    14: "stages.2.unit2.conv",
}
_BLOCKS = {
    3: "stages.0.unit1.blocks",
    6: "stages.1.unit1.blocks",
    8: "stages.1.unit2.blocks",
    11: "stages.2.unit1.blocks",
    13: "stages.2.unit2.blocks",
}
_DEAD = (16, 18, 19)  # the stage at stride 32 and the classifier, which AutoSAM never reads
_DECODER = {
    **{f"up{n}.conv{k}": f"up{n}.conv{k}" for n in (1, 2) for k in (1, 2)},
    "up1.BN": "up1.norm",
    "up2.BN": "up2.norm",
    "final.conv1": "final.0",
    "final.BN1": "final.1",
    "final.conv2": "final.3",
}
_SURROGATE = {"conv1": "up1", "norm1": "norm1", "conv2": "up2", "norm2": "norm2", "conv3": "head"}


def autosam_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published prompt generator g in the names of `PromptGenerator("hardnet85")`.

    What the published module computes and never reads (stride 32, the decoder's second normalisation) is left out.

    Raises:
        ValueError: names that a published g does not have.
    """
    ours = {}
    for name, value in _bare(state).items():
        part, _, rest = name.partition(".")
        if part == "backbone":
            new = _backbone_name(rest)
            if new:
                ours[f"backbone.{new}"] = value
        elif part == "decoder" and rest.rpartition(".")[0] in _DECODER:
            layer, _, leaf = rest.rpartition(".")
            ours[f"decoder.{_DECODER[layer]}.{leaf}"] = value
        elif not rest.startswith("final.BN2."):
            raise ValueError(f"state must be a published AutoSAM prompt generator's, got {name!r}.")
    return ours


def hardnet85_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official ImageNet HarDNet-85 (`base.0.conv.weight`, ...) in the names of `HarDNet85`.

    Raises:
        ValueError: names that HarDNet-85 does not have.
    """
    named = {_backbone_name(name): value for name, value in _bare(state).items()}
    return {name: value for name, value in named.items() if name}


def surrogate_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A surrogate decoder h in the names of `SurrogateDecoder`.

    Raises:
        ValueError: names that h does not have.
    """
    ours = {}
    for name, value in _bare(state).items():
        layer, _, leaf = name.rpartition(".")
        if layer not in _SURROGATE:
            raise ValueError(f"state must be a published AutoSAM surrogate decoder's, got {name!r}.")
        ours[f"{_SURROGATE[layer]}.{leaf}"] = value
    return ours


def _bare(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that data-parallel training leaves."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def _backbone_name(name: str) -> str | None:
    """Our name of a published HarDNet-85 entry; None where we have no use for it."""
    parts = name.split(".")
    if parts[0] == "base" and len(parts) > 3 and parts[1].isdigit():
        index = int(parts[1])
        if index in _DEAD:
            return None
        leaf = {"conv": "conv", "norm": "bn"}.get(parts[-2])
        if index in _UNITS and leaf and len(parts) == 4:
            return f"{_UNITS[index]}.{leaf}.{parts[-1]}"
        if index in _BLOCKS and leaf and parts[2] == "layers" and len(parts) == 6:
            return f"{_BLOCKS[index]}.block{int(parts[3]) + 1}.{leaf}.{parts[-1]}"
    raise ValueError(f"state must be a published HarDNet-85's, got {name!r}.")
