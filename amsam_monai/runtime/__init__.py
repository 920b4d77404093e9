"""Exported models without torch: numpy, scipy, nibabel, Pillow and onnxruntime. `python -m amsam_monai.runtime`."""

from amsam_monai.runtime.exported import ExportedModel

__all__ = ["ExportedModel"]
