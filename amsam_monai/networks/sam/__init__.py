"""Segment Anything: its parts at any size, and what adapts them."""

from amsam_monai.networks.sam.sam import BACKBONES, EMBED_DIM, PIXEL_MEAN, PIXEL_STD, SAM, build_sam

__all__ = ["BACKBONES", "EMBED_DIM", "PIXEL_MEAN", "PIXEL_STD", "SAM", "build_sam"]
