"""A frozen YOLO inside the network: one box per class (AM-SAM, arXiv:2410.09714)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.voting import VotingDetector, with_mirror
from amsam_monai.networks.detector.yolo import build_model, read_checkpoint

GREY = (114 / 255,) * 3  # what YOLO saw as padding when it was pretrained


class BoxDetector(VotingDetector):
    """The box of highest confidence per class, from a frozen YOLO; `objects` gives a box for each object.

    The image is scaled to `image_size` and padded; the network's dense predictions of one class vote: the box is the
    score-weighted mean of those that overlap the best one. With `flips` the mirrored image votes too, and with
    `more_sizes` the image at other scales.

    Args:
        model: an Ultralytics detection model, from `build_model`.
        class_names: names of the classes that it tells apart.
        image_size: side of the square that it sees, a multiple of 32.
        more_sizes: further sides at which it looks, for objects of very different sizes; each costs as much again.
        confidence: floor; below it a class counts as not detected.
        classes: which of its classes give boxes, in this order; None is all. `[0]` of a COCO detector is "person".
        flips: also look at the mirrored image.
        vote_iou: overlap with the best box at which a box votes; 1 keeps the best box alone.
        snap_to_dark_object: replace each box by that of the dark object under it (`dark_boxes`); for skin lesions.
        object_confidence: floor of a class's second and further objects; that of the first is `confidence`.
        object_overlap: IoU with a surer object from which on a box is that object's.
        most_objects: boxes of a class in an image, at most.
        cases: ids of the cases that it was fitted on, kept with it.

    Shape: image (B, 3, H, W) in [0, 1] -> boxes (B, K, 4) x1, y1, x2, y2 in pixels of image, NaN = none;
        confidence (B, K).

    Raises:
        ValueError: image_size is not a multiple of 32, or a class that the detector does not have.
    """

    architecture = "yolo"

    def __init__(
        self,
        model: nn.Module,
        *,
        class_names: Sequence[str],
        image_size: int = 320,
        more_sizes: Sequence[int] = (),
        confidence: float = 0.05,
        classes: Sequence[int] | None = None,
        flips: bool = True,
        vote_iou: float = 0.7,
        snap_to_dark_object: bool = False,
        object_confidence: float = 0.25,
        object_overlap: float = 0.6,
        most_objects: int = 32,
        cases: Sequence[str] | None = None,
    ) -> None:
        for size in (image_size, *more_sizes):
            if size < 32 or size % 32:
                raise ValueError(f"image_size must be a positive multiple of 32, got {size}.")
        super().__init__(
            model,
            class_names=class_names,
            confidence=confidence,
            classes=classes,
            flips=flips,
            vote_iou=vote_iou,
            snap_to_dark_object=snap_to_dark_object,
            object_confidence=object_confidence,
            object_overlap=object_overlap,
            most_objects=most_objects,
            cases=cases,
        )
        self.image_size, self.more_sizes = image_size, list(more_sizes)

    def config(self) -> dict[str, Any]:
        """See `VotingDetector.config`."""
        own = {"architecture": self.model.yaml, "image_size": self.image_size, "more_sizes": self.more_sizes}
        return {**own, **super().config()}

    def looks(self, image: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) in pixels of the image, and their scores (B, A, K), seen at all sizes."""
        looks = [self._look(image, size) for size in (self.image_size, *self.more_sizes)]
        boxes, scores = zip(*looks, strict=True)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def _look(self, image: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """All boxes in pixels of the image, and their scores, seen in a square of `size`."""
        frame = SquareFrame(image.shape[-2], image.shape[-1], size, "pad")
        boxes, scores = self.candidates(frame.image(image, GREY))
        return frame.boxes_back(boxes), scores

    def candidates(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) of the framed image (B, 3, S, S), and their scores (B, A, K)."""
        side = pixels.shape[-1]
        boxes, scores = with_mirror(self._predict, pixels, side) if self.flips else self._predict(pixels)
        return boxes, scores[..., self.classes]

    def _predict(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(pixels)[0]
        if output.shape[-1] == 6 and output.shape[1] != 4 + len(self.class_names):
            # an end-to-end head gives x1, y1, x2, y2, score, class
            names = torch.arange(len(self.class_names), device=output.device)
            return output[..., :4], output[..., 4:5] * (output[..., 5:].round() == names)
        centre, size, scores = output.transpose(1, 2).split([2, 2, len(self.class_names)], dim=-1)
        return torch.cat([centre - size / 2, centre + size / 2], dim=-1), scores


def pretrained_detector(weights: str | Path, **options: Any) -> BoxDetector:
    """A pretrained YOLO as it is; `classes=[0]` of a COCO detector finds the person.

    Args:
        weights: file of an Ultralytics checkpoint.
        options: of `BoxDetector`.
    """
    architecture, names, state = read_checkpoint(weights)
    model = build_model(architecture, len(names))
    known = model.state_dict()
    model.load_state_dict({name: value for name, value in state.items() if name in known})
    return BoxDetector(model, class_names=names, **options)
