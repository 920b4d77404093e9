"""Segment Anything adapted to medical images from a few labels: AM-SAM, AI-SAM and AutoSAM for MONAI."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("amsam-monai")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"
