"""Segment Anything adapted to medical images from a few labels: AM-SAM, AI-SAM and AutoSAM for MONAI."""

from typing import TYPE_CHECKING

from amsam_monai.lazy import lazily

if TYPE_CHECKING:
    from amsam_monai.auto.refine import refine
    from amsam_monai.auto.train import train
    from amsam_monai.bundles.model import load
    from amsam_monai.graphs.export import export
    from amsam_monai.networks.prompts import Prompts
    from amsam_monai.networks.sam import build_sam
    from amsam_monai.networks.systems.aisam import AISAM
    from amsam_monai.networks.systems.amsam import AMSAM
    from amsam_monai.networks.systems.autosam import AutoSAM
    from amsam_monai.version import __version__

__all__ = ["AISAM", "AMSAM", "AutoSAM", "Prompts", "__version__", "build_sam", "export", "load", "refine", "train"]

__getattr__ = lazily(
    __name__,
    {
        "AISAM": "networks.systems.aisam",
        "AMSAM": "networks.systems.amsam",
        "AutoSAM": "networks.systems.autosam",
        "Prompts": "networks.prompts",
        "__version__": "version",
        "build_sam": "networks.sam",
        "export": "graphs.export",
        "load": "bundles.model",
        "refine": "auto.refine",
        "train": "auto.train",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
