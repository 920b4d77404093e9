"""A frozen YOLO inside the network: one box per class (AM-SAM, arXiv:2410.09714); and its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.dark_object import dark_boxes
from amsam_monai.networks.detector.yolo import build_model, read_checkpoint
from amsam_monai.networks.prompts.boxes import box_iou
from amsam_monai.networks.prompts.prompt_sets import may_read_back
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.sealed import check_seal, read_plain, sealed
from amsam_monai.networks.weights.store import digest
from amsam_monai.version import __version__

GREY = (114 / 255,) * 3  # what YOLO saw as padding when it was pretrained
FORMAT, OLD_FORMAT = "amsam_monai.detector/2", "amsam_monai.detector/1"
FIXED_OPTIONS = ("class_names", "classes", "image_size", "cases")  # training chose them
REMEDY = "Copy it again from where it came, or train one with `amsam train-detector`."

logger = logging.getLogger(__name__)


class BoxDetector(nn.Module):
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
        super().__init__()
        for size in (image_size, *more_sizes):
            if size < 32 or size % 32:
                raise ValueError(f"image_size must be a positive multiple of 32, got {size}.")
        chosen = list(range(len(class_names)) if classes is None else classes)
        if any(not 0 <= index < len(class_names) for index in chosen):
            raise ValueError(f"classes must be in 0..{len(class_names) - 1}, got {chosen}.")
        if most_objects < 1 or not 0 < object_overlap <= 1:
            raise ValueError(
                f"most_objects must be at least 1, object_overlap in (0, 1], got {most_objects} and {object_overlap}."
            )
        self.model = model.requires_grad_(False).eval()
        self.class_names = list(class_names)
        self.image_size, self.more_sizes = image_size, list(more_sizes)
        self.confidence = confidence
        self.classes = chosen
        self.flips = flips
        self.vote_iou = vote_iou
        self.snap_to_dark_object = snap_to_dark_object
        self.object_confidence, self.object_overlap = object_confidence, object_overlap
        self.most_objects = most_objects
        self.cases = None if cases is None else list(cases)
        self.file: Path | None = None  # that it was read from or written to
        self.sha256: str | None = None  # of that file

    @property
    def num_classes(self) -> int:
        """K, the number of boxes per image."""
        return len(self.classes)

    def train(self, mode: bool = True) -> BoxDetector:
        """Stays in evaluation mode: the detector is frozen."""
        return cast(BoxDetector, super().train(False))

    @torch.no_grad()
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and confidences of an image; see the class."""
        best, confidence = vote(*self._looks(image), self.vote_iou)
        return self._finished(image, best, confidence, self.confidence)

    @torch.no_grad()
    def objects(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """A box for each object of each class, the surest first; a class's first is that of `forward`.

        Each box is the vote of those that overlap the surest one left, which then are that object's and give no other.

        Shape: image (B, 3, H, W) in [0, 1] -> boxes (B, K, M, 4), NaN = none; confidence (B, K, M), 0 = none.
        """
        boxes, scores = self._looks(image)
        best, confidence = vote_objects(
            boxes,
            scores,
            self.vote_iou,
            overlap=self.object_overlap,
            most=self.most_objects,
            floor=self.object_confidence,
        )
        floors = confidence.new_full(confidence.shape[-1:], max(self.object_confidence, 1e-9))
        floors[0] = self.confidence
        return self._finished(image, best, confidence, floors)

    def _looks(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) in pixels of the image, and their scores (B, A, K), seen at all sizes."""
        looks = [self._look(image, size) for size in (self.image_size, *self.more_sizes)]
        boxes, scores = zip(*looks, strict=True)
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1)

    def _finished(
        self, image: Tensor, boxes: Tensor, confidence: Tensor, floor: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """Boxes (B, K, ..., 4) within the image, NaN below the floor and where nothing of them lies in the image."""
        edges = boxes.new_tensor([image.shape[-1], image.shape[-2]] * 2)
        boxes = torch.minimum(boxes.clamp(min=0), edges)
        nothing = (boxes[..., 2:] <= boxes[..., :2]).any(-1)
        boxes = boxes.masked_fill(((confidence < floor) | nothing)[..., None], torch.nan)
        if self.snap_to_dark_object:
            boxes = dark_boxes(image, boxes.flatten(1, -2)).reshape(boxes.shape)
        return boxes, confidence

    def _look(self, image: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """All boxes in pixels of the image, and their scores, seen in a square of `size`."""
        frame = SquareFrame(image.shape[-2], image.shape[-1], size, "pad")
        boxes, scores = self.candidates(frame.image(image, GREY))
        return frame.boxes_back(boxes), scores

    def candidates(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) of the framed image (B, 3, S, S), and their scores (B, A, K)."""
        boxes, scores = self._predict(pixels)
        side = pixels.shape[-1]
        if self.flips:
            x1, y1, x2, y2 = (mirror := self._predict(pixels.flip(-1)))[0].unbind(dim=-1)
            mirrored, more = torch.stack([side - x2, y1, side - x1, y2], dim=-1), mirror[1]
            boxes, scores = torch.cat([boxes, mirrored], dim=1), torch.cat([scores, more], dim=1)
        return boxes, scores[..., self.classes]

    def _predict(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(pixels)[0]
        if output.shape[-1] == 6 and output.shape[1] != 4 + len(self.class_names):
            # an end-to-end head gives x1, y1, x2, y2, score, class
            names = torch.arange(len(self.class_names), device=output.device)
            return output[..., :4], output[..., 4:5] * (output[..., 5:].round() == names)
        centre, size, scores = output.transpose(1, 2).split([2, 2, len(self.class_names)], dim=-1)
        return torch.cat([centre - size / 2, centre + size / 2], dim=-1), scores


def vote(boxes: Tensor, scores: Tensor, vote_iou: float) -> tuple[Tensor, Tensor]:
    """The mean of the boxes that overlap the best one, weighted by score, and the best score.

    Shape: boxes (B, A, 4), scores (B, A, K) -> (B, K, 4), (B, K).
    """
    confidence, index = scores.max(dim=1)  # (B, K)
    best = boxes.gather(1, index[..., None].expand(-1, -1, 4))  # (B, K, 4)
    overlap = box_iou(boxes[:, None], best[:, :, None])  # (B, K, A)
    weight = scores.transpose(1, 2) * (overlap >= vote_iou)
    total = weight.sum(dim=-1, keepdim=True)
    mean = weight @ boxes / total.clamp(min=1e-9)
    return torch.where(total > 0, mean, best), confidence


def vote_objects(
    boxes: Tensor, scores: Tensor, vote_iou: float, *, overlap: float, most: int, floor: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The votes for one object after the other, the surest first; boxes that overlap one by `overlap` are used up.

    On a processor it ends with the last box above the floor; elsewhere, where that would have to be read back, after
    `most` rounds.

    Args:
        boxes: of all classes.
        scores: of each box for each class.
        vote_iou: see `vote`.
        overlap: IoU with the surest box left.
        most: M, objects of a class.
        floor: of the second and further objects.

    Shape: boxes (B, A, 4), scores (B, A, K) -> (B, K, M, 4), (B, K, M), with fewer than `most` where there are fewer.
    """
    found: list[Tensor] = []
    sure: list[Tensor] = []
    for _ in range(most):
        box, confidence = vote(boxes, scores, vote_iou)
        if found and may_read_back(scores) and not bool((confidence >= max(floor, 1e-9)).any()):
            break
        found.append(box)
        sure.append(confidence)
        surest = boxes.gather(1, scores.argmax(dim=1)[..., None].expand(-1, -1, 4))  # (B, K, 4)
        used = box_iou(boxes[:, :, None], surest[:, None]) >= overlap  # (B, A, K)
        scores = scores.masked_fill(used | (box_iou(boxes[:, :, None], box[:, None]) >= overlap), 0)
    return torch.stack(found, dim=2), torch.stack(sure, dim=2)


def save_detector(detector: BoxDetector, path: str | Path) -> None:
    """Write a detector as a plain state dict (fp16) with its configuration and a digest of both.

    Raises:
        ValueError: a name that ends in .pt, which MONAI Label would take for the segmentation network; weights that
            are NaN or infinite.
    """
    path = Path(path)
    if path.suffix == ".pt":
        raise ValueError(f"a detector's file must not end in .pt, got {path.name}; name it {path.stem}.pth.")
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in detector.model.state_dict().items()
    }
    write_detector(path, detector_config(detector), state)
    detector.file, detector.sha256 = path, digest(path)


def write_detector(path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write the parts of a detector's file, whole or not at all.

    Raises:
        ValueError: weights that are NaN or infinite.
    """
    state = {name: value.detach().cpu().clone() for name, value in state.items()}
    if bad := not_finite(state):
        raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
    block = {"format": FORMAT, "config": dict(config), "made": {"package": f"amsam-monai {__version__}"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # not a temporary file, which only its owner reads
    try:
        torch.save({**sealed(state, block), "state_dict": state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def detector_config(detector: BoxDetector) -> dict[str, Any]:
    """What rebuilds the detector around its weights."""
    return {
        "architecture": cast(dict[str, Any], detector.model.yaml),
        "class_names": detector.class_names,
        "image_size": detector.image_size,
        "more_sizes": detector.more_sizes,
        "confidence": detector.confidence,
        "classes": detector.classes,
        "flips": detector.flips,
        "vote_iou": detector.vote_iou,
        "snap_to_dark_object": detector.snap_to_dark_object,
        "object_confidence": detector.object_confidence,
        "object_overlap": detector.object_overlap,
        "most_objects": detector.most_objects,
        "cases": detector.cases,
    }


def load_detector(path: str | Path, **overrides: Any) -> BoxDetector:
    """The detector of a file that `save_detector` wrote.

    Args:
        path: the file.
        overrides: options of `BoxDetector` that training did not fix, such as `confidence`; a change is logged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, a damaged one, or an override of what training fixed.
        ImportError: ultralytics is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"detector must be a file, got {path}. Train one with `amsam train-detector`.")
    content = read_plain(path, remedy=REMEDY)
    told = content.get("format") if isinstance(content, dict) else None
    if told == OLD_FORMAT:
        raise ValueError(
            f"{path} was written by a version before detectors kept a digest; bring it over by "
            f"`amsam convert detector {path} {path} --overwrite`."
        )
    if told != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {told!r}; update amsam-monai, or: {REMEDY}")
    state = content.pop("state_dict", {})
    check_seal(path, state, content, remedy=REMEDY)
    config = dict(content["config"])
    for name, value in overrides.items():
        if name in FIXED_OPTIONS and value != config.get(name):
            raise ValueError(
                f"{path}: {name} must be {config.get(name)!r}, as the detector was trained, got {value!r}."
            )
        if value != config.get(name):
            logger.info("%s: %s is %r, where the file has %r", path, name, value, config.get(name))
    model = build_model(config.pop("architecture"), len(config["class_names"]), dense=False)
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    detector = BoxDetector(model, **{**config, **overrides})
    detector.file, detector.sha256 = path, digest(path)
    return detector


def pretrained_detector(weights: str | Path, **options: Any) -> BoxDetector:
    """A pretrained YOLO as it is; `classes=[0]` of a COCO detector finds the person.

    Args:
        weights: file of an Ultralytics checkpoint.
        options: of `BoxDetector`.
    """
    architecture, names, state = read_checkpoint(weights)
    model = build_model(architecture, len(names))
    model.load_state_dict({name: value for name, value in state.items() if name in model.state_dict()})
    return BoxDetector(model, class_names=names, **options)
