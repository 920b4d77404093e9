"""Segment Anything adapted to medical images from a few labels: AM-SAM, AI-SAM and AutoSAM for MONAI."""

from typing import TYPE_CHECKING

from amsam_monai.lazy import lazily

if TYPE_CHECKING:
    from amsam_monai.version import __version__

__all__ = ["__version__"]

__getattr__ = lazily(__name__, {"__version__": "version"})
