"""A frozen YOLO inside the network: one box per class (AM-SAM, arXiv:2410.09714); and the files of all detectors."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.installed import remedy
from amsam_monai.networks.detector.box_head import BoxHead, known_head
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.detector.licence import write_licence
from amsam_monai.networks.detector.voting import VotingDetector, with_mirror
from amsam_monai.networks.detector.yolo import build_model, read_checkpoint
from amsam_monai.networks.weights.finite import not_finite
from amsam_monai.networks.weights.sealed import check_seal, read_plain, sealed
from amsam_monai.networks.weights.store import digest
from amsam_monai.version import __version__

GREY = (114 / 255,) * 3  # what YOLO saw as padding when it was pretrained
FORMAT, OLD_FORMAT = "amsam_monai.detector/2", "amsam_monai.detector/1"
FIXED_OPTIONS = ("class_names", "classes", "image_size", "resize", "encoder", "cases")  # training chose them
REMEDY = "Copy it again from where it came, or train one with `amsam train-detector`."

logger = logging.getLogger(__name__)


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


def _yolo(architecture: Mapping[str, Any], num_classes: int) -> nn.Module:
    return build_model(architecture, num_classes, dense=False)


def _head(architecture: Mapping[str, Any], num_classes: int) -> BoxHead:
    return BoxHead(num_classes, **known_head(architecture))


# What settings call `detector.architecture`: the detector, and what builds its network.
ARCHITECTURES: dict[str, tuple[Callable[..., VotingDetector], Callable[[Mapping[str, Any], int], nn.Module]]] = {
    "yolo": (BoxDetector, _yolo),
    "embedding": (EmbeddingDetector, _head),
}


def save_detector(detector: VotingDetector, path: str | Path) -> None:
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
    write_detector(path, detector.config(), state)
    detector.file, detector.sha256 = path, digest(path)


def write_detector(path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write the parts of a detector's file, whole or not at all, and YOLO's licence beside one that derives from it.

    Raises:
        ValueError: weights that are NaN or infinite.
    """
    state = {name: value.detach().cpu().clone() for name, value in state.items()}
    if bad := not_finite(state):
        raise ValueError(f"{path} is not written: {bad}. The training diverged; lower its learning rate.")
    block = {"format": FORMAT, "config": dict(config), "made": {"package": f"amsam-monai {__version__}"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    if architecture_of(config) == "yolo":
        write_licence(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")  # not a temporary file, which only its owner reads
    try:
        torch.save({**sealed(state, block), "state_dict": state}, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_detector(path: str | Path, **overrides: Any) -> VotingDetector:
    """The detector of a file that `save_detector` wrote.

    Args:
        path: the file.
        overrides: options of the detector that training did not fix, such as `confidence`; a change is logged.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, a damaged one, or an override of what training fixed.
        ImportError: it is a YOLO, and ultralytics is not installed.
    """
    path = Path(path)
    config, state = _read(path)
    name, architecture = architecture_of(config), config.pop("architecture")
    kind, build = _known_architecture(path, name, overrides.pop("architecture", None))
    if unknown := sorted(set(overrides) - set(inspect.signature(kind).parameters)):
        raise ValueError(f"{path}: {', '.join(unknown)} must be options of {kind.__name__}, which has none such.")
    for name, value in overrides.items():
        if name in FIXED_OPTIONS and value != config.get(name):
            raise ValueError(
                f"{path}: {name} must be {config.get(name)!r}, as the detector was trained, got {value!r}."
            )
        if value != config.get(name):
            logger.info("%s: %s is %r, where the file has %r", path, name, value, config.get(name))
    model = build({key: value for key, value in architecture.items() if key != "name"}, len(config["class_names"]))
    model.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )
    detector = kind(model, **{**config, **overrides})
    detector.file, detector.sha256 = path, digest(path)
    return detector


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a detector's file, and that it is as it was written."""
    if not path.is_file():
        raise FileNotFoundError(f"detector must be a file, got {path}. Train one with `amsam train-detector`.")
    again = remedy(path, REMEDY)
    content = read_plain(path, remedy=again)
    told = content.get("format") if isinstance(content, dict) else None
    if told == OLD_FORMAT:
        raise ValueError(
            f"{path} was written by a version before detectors kept a digest; bring it over by "
            f"`amsam convert detector {path} {path} --overwrite`."
        )
    if told != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}, got {told!r}; update amsam-monai, or: {again}")
    state = content.pop("state_dict", {})
    check_seal(path, state, content, remedy=again)
    return dict(content["config"]), state


def misfit(path: Path, architecture: str, system: Any = None) -> str | None:
    """What a detector's file was made for, where that is not the wanted architecture, or not the system's embedding.

    Args:
        path: the file.
        architecture: a name of ARCHITECTURES.
        system: with `image_size` and `resize` and, where its embedding was told, `sam`; None compares no embedding.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a detector's file, or a damaged one.
    """
    config, _ = _read(path)
    name = architecture_of(config)
    if name != architecture:
        return f"the architecture {name}"
    if name == "embedding" and system is not None:
        sha256 = getattr(getattr(getattr(system, "sam", None), "origin", None), "sha256", None)
        told = (config["image_size"], config["resize"], config["encoder"] or sha256)
        if told != (system.image_size, system.resize, sha256 or config["encoder"]):
            return f"embeddings of another encoder ({config['image_size']} px, {config['resize']})"
    return None


def architecture_of(config: Mapping[str, Any]) -> str:
    """The name in `ARCHITECTURES` that a detector's configuration stands for; those of before tell none."""
    return str((config.get("architecture") or {}).get("name", "yolo"))


def _known_architecture(path: Path, name: str, wanted: str | None) -> tuple[Any, Any]:
    """What builds the detector of a file, which must be the wanted one where one is told."""
    if name not in ARCHITECTURES:
        raise ValueError(f"{path}: architecture must be one of {', '.join(ARCHITECTURES)}, got {name!r}. {REMEDY}")
    if wanted not in (None, name):
        raise ValueError(f"{path}: architecture must be {name!r}, as the detector was trained, got {wanted!r}.")
    return ARCHITECTURES[name]


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
