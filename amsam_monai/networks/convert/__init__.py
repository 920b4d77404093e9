"""Published checkpoints to ours."""

from amsam_monai.networks.convert.aisam import aisam_checkpoint, aisam_state_dict
from amsam_monai.networks.convert.autosam import autosam_state_dict, hardnet85_state_dict, surrogate_state_dict
from amsam_monai.networks.convert.blosam import blosam_state_dict, samed_state_dict

__all__ = [
    "aisam_checkpoint",
    "aisam_state_dict",
    "autosam_state_dict",
    "blosam_state_dict",
    "hardnet85_state_dict",
    "samed_state_dict",
    "surrogate_state_dict",
]
