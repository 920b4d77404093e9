"""A network whose answers are known by hand: bright regions, picked by points and cut by boxes."""

from types import SimpleNamespace

import torch
from scipy import ndimage
from torch import nn

from amsam_monai.networks.prompts import Prompts, Segmentation


class BrightRegions(nn.Module):
    """Class k is what is brighter than 0.5; with points, the regions that hold a positive one; inside its box.

    A mask prompt holds the class inside it. A positive point on dark ground gives its own pixel. `automatic` lists
    classes found without prompts.
    """

    def __init__(self, num_classes: int = 1, automatic: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.num_classes, self.automatic = num_classes, automatic
        self.sam = SimpleNamespace(pixel_mean=torch.zeros(1, 3, 1, 1))
        self.encoded = self.decoded = 0
        self.classes_alone = self.takes_objects = False

    def load_adapter_state_dict(self, state):
        if state:
            raise ValueError("bright regions have no adapter.")

    def encode(self, image):
        self.encoded += 1
        return image.mean(1, keepdim=True)

    def mask_prompt(self, masks):
        return masks

    def segment(self, image, prompts=None, embedding=None, *, classes=None):
        self.decoded += 1
        prompts = prompts or Prompts()
        bright = (embedding[0, 0] > 0.5).numpy()
        logits = torch.zeros(1, self.num_classes + 1, *bright.shape)
        for k in range(self.num_classes):
            mask = torch.from_numpy(self._mask(bright, prompts, k))
            logits[0, k + 1] = torch.where(mask, 5.0 + k, -5.0)
        size = (logits[0, 1:] > 0).flatten(1).sum(1).float()[None]
        return Segmentation(logits, prompts, presence=(size > 0).float(), quality=(size > 3).float())

    def _mask(self, bright, prompts, k):
        mask = bright.copy() if k + 1 in self.automatic else bright & False
        if prompts.points_xy is not None and (there := ~prompts.points_xy[0, k].isnan().any(-1)).any():
            regions, _ = ndimage.label(bright)
            mask = bright & False
            for (x, y), sign in zip(prompts.points_xy[0, k][there], prompts.point_labels[0, k][there], strict=True):
                row, column = round(float(y)), round(float(x))
                region = (regions == regions[row, column]) & bright
                region[row, column] = True
                mask = mask | region if sign else mask & ~region
        if prompts.box_xyxy is not None and not prompts.box_xyxy[0, k].isnan().any():
            x1, y1, x2, y2 = (round(float(edge)) for edge in prompts.box_xyxy[0, k])
            inside = bright & False
            inside[y1:y2, x1:x2] = True
            mask = (bright if not mask.any() else mask) & inside
        if prompts.mask is not None and not prompts.mask[0, k].isnan().any():
            mask = mask & (prompts.mask[0, k] > 0).numpy()
        return mask


def bright_system(sam, *, num_classes, resize):
    """`BrightRegions` that finds nothing by itself, as `build_network` builds systems."""
    return BrightRegions(num_classes, automatic=())
