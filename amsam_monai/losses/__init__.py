"""Losses: CE + Dice (BLO-SAM), BCE + Dice (AutoSAM) and the prompt heuristic loss (AI-SAM)."""

from amsam_monai.losses.bce_dice import BCEDiceLoss
from amsam_monai.losses.prompt_heuristic import PromptHeuristicLoss
from amsam_monai.losses.segmentation import CEDiceLoss

__all__ = ["BCEDiceLoss", "CEDiceLoss", "PromptHeuristicLoss"]
