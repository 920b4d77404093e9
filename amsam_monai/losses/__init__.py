"""Losses: CE + Dice (BLO-SAM), BCE + Dice (AutoSAM) and AI-SAM's, with its prompt heuristic loss."""

from amsam_monai.losses.aisam import AISAMLoss
from amsam_monai.losses.bce_dice import BCEDiceLoss
from amsam_monai.losses.low_res import LowResLoss
from amsam_monai.losses.prompt_heuristic import PromptHeuristicLoss
from amsam_monai.losses.segmentation import CEDiceLoss

__all__ = ["AISAMLoss", "BCEDiceLoss", "CEDiceLoss", "LowResLoss", "PromptHeuristicLoss"]
