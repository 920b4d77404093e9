"""Segment Anything: its parts at any size, and what adapts them."""

from amsam_monai.networks.sam.build import BACKBONES, build_sam
from amsam_monai.networks.sam.sam import EMBED_DIM, PIXEL_MEAN, PIXEL_STD, SAM

__all__ = ["BACKBONES", "EMBED_DIM", "PIXEL_MEAN", "PIXEL_STD", "SAM", "build_sam"]
