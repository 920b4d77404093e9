"""Image backbones of the prompt generator: feature maps at strides 4, 8 and 16."""

from amsam_monai.networks.prompts.backbones.efficientnet_lite import EfficientNetLite0
from amsam_monai.networks.prompts.backbones.hardnet import HarDNet85

__all__ = ["EfficientNetLite0", "HarDNet85"]
