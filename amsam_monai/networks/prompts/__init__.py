"""Prompts: what a person or a prompter says, and the prompters."""

from amsam_monai.networks.prompts.prompts import Prompts, Segmentation

__all__ = ["Prompts", "Segmentation"]
