"""A system as graphs of tensors alone, which other runtimes can hold: encoder, detector, automatic, prompted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import ABSENT_LOGIT, AMSAM
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.networks.systems.system import System

# Which axes of an input any number fits: batch, prompts of a class, objects of a class.
AXES: dict[str, dict[int, str]] = {
    "pixels": {0: "batch"},
    "embedding": {0: "batch"},
    "boxes": {0: "batch", 2: "objects"},
    "point_coords": {0: "batch", 2: "points"},
    "point_labels": {0: "batch", 2: "points"},
}
# SAM's own labels of prompts, as its ONNX files have them
NEGATIVE, POSITIVE, FIRST_CORNER, SECOND_CORNER, PADDING = 0, 1, 2, 3, -1


class Graph(nn.Module):
    """A part of a system. Inputs come in the order of their names.

    Args:
        system: in evaluation mode.
        inputs: names.
        outputs: names.
    """

    def __init__(self, system: System, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.system = system
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, in the order of their names."""
        return self.answer(dict(zip(self.inputs, tensors, strict=True)))

    def answer(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The outputs from inputs by name."""
        raise NotImplementedError

    def axes(self, name: str) -> dict[int, str]:
        """Which axes of an input any number fits."""
        return {0: "batch"} if name.startswith("picture_") else AXES.get(name, {})

    @property
    def frame(self) -> SquareFrame:
        """A square that an image fills."""
        side = self.system.image_size
        return SquareFrame(side, side, side, self.system.resize)

    def seen(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Pixels and embedding for `System.predict`; what the system does not read is empty."""
        side, first = self.system.image_size, next(iter(given.values()))
        pixels = given["pixels"] if "pixels" in given else first.new_zeros(1, 3, side, side)
        return pixels, given["embedding"] if "embedding" in given else first.new_zeros(0)


class EncoderGraph(Graph):
    """Framed pixels to the embedding.

    Shape: pixels (B, 3, S, S) -> embedding (B, 256, g, g).
    """

    def __init__(self, system: System) -> None:
        super().__init__(system, ("pixels",), ("embedding",))

    def answer(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """See `Graph.answer`."""
        return (self.system.encode_framed(given["pixels"], self.frame),)


class DetectorGraph(Graph):
    """A detector's boxes: of its own pictures of the image, or of SAM's embedding.

    A YOLO sees the image in squares of its own, `picture_SIDE`, each with `scale_SIDE`: pixels of this square per pixel
    of SAM's. `edges` are width and height, twice, of the image in SAM's square.

    Shape: picture_SIDE (B, 3, SIDE, SIDE) and scale_SIDE (4,), or embedding (B, 256, g, g); edges (4,) -> boxes
        (B, K, M, 4) in pixels of SAM's square, NaN = none; M is 1 where a class has one box.
    """

    def __init__(self, system: AMSAM) -> None:
        self.sides = sides_of(cast(nn.Module, system.detector))
        inputs = [f"{name}_{side}" for side in self.sides for name in ("picture", "scale")] or ["embedding"]
        super().__init__(system, (*inputs, "edges"), ("boxes",))

    def answer(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """See `Graph.answer`."""
        system = cast(AMSAM, self.system)
        detector = cast(BoxDetector | EmbeddingDetector, system.detector)
        if isinstance(detector, EmbeddingDetector):
            boxes, scores = detector.candidates(given["embedding"])
        else:
            looks = [detector.candidates(given[f"picture_{side}"]) for side in self.sides]
            boxes = torch.cat([b / given[f"scale_{side}"] for side, (b, _) in zip(self.sides, looks, strict=True)], 1)
            scores = torch.cat([scores for _, scores in looks], 1)
        objects = any(system.several)
        found, _ = detector.chosen(boxes, scores, given["edges"], objects=objects)
        return (system.of_several(found) if objects else found[:, :, None],)


class AutomaticGraph(Graph):
    """What a system says of an image without a person's prompts.

    Shape: pixels (B, 3, S, S), embedding (B, 256, g, g), boxes (B, K, M, 4), of which those that the system reads
        -> logits (B, K+1, h, w) of the square.
    """

    def __init__(self, system: System) -> None:
        boxed = isinstance(system, AMSAM) and system.detector is not None
        super().__init__(system, (*reads(system), *(["boxes"] if boxed else [])), ("logits",))

    def axes(self, name: str) -> dict[int, str]:
        """See `Graph.axes`; a class has one box, unless its objects are decoded one by one."""
        several = isinstance(self.system, AMSAM) and any(self.system.several)
        return {0: "batch"} if name == "boxes" and not several else super().axes(name)

    def answer(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """See `Graph.answer`."""
        if "boxes" not in given:
            return (self.system.predict(*self.seen(given), Prompts(), self.frame).logits,)
        system, boxes = cast(AMSAM, self.system), given["boxes"]
        prompts = Prompts(box_xyxy=boxes[:, :, 0], object_boxes=boxes if any(system.several) else None).as_floats()
        logits = system.predict(*self.seen(given), prompts, self.frame).logits
        if system.missing_box == "absent":
            absent = cast(Tensor, prompts.box_xyxy).isnan().any(-1)[..., None, None]
            logits = torch.cat([logits[:, :1], logits[:, 1:].masked_fill(absent, ABSENT_LOGIT)], 1)
        return (logits,)


class PromptedGraph(Graph):
    """What a system says of an image with a person's points and boxes.

    The labels are those of SAM's own ONNX files: 1 and 0 are points for and against the class, 2 and 3 the upper left
    and lower right corner of its box, -1 fills up and counts for nothing. A class has one box at most.

    Shape: pixels and embedding, those that the system reads; point_coords (B, K, N, 2) x, y in pixels of the square,
        point_labels (B, K, N) -> logits (B, K+1, h, w) of the square, quality (B, K), predicted IoU.
    """

    def __init__(self, system: System) -> None:
        super().__init__(system, (*reads(system), "point_coords", "point_labels"), ("logits", "quality"))

    def answer(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """See `Graph.answer`."""
        xy, labels = given["point_coords"], given["point_labels"]
        shown = (labels == POSITIVE) | (labels == NEGATIVE)
        points = torch.where(shown[..., None], xy, torch.nan)
        box = torch.cat([_corner(xy, labels == kind) for kind in (FIRST_CORNER, SECOND_CORNER)], -1)
        prompts = Prompts(points, (labels == POSITIVE).to(xy), box).as_floats()
        prediction = self.system.predict(*self.seen(given), prompts, self.frame)
        quality = prediction.quality
        return prediction.logits, torch.full_like(box[..., 0], torch.nan) if quality is None else quality


def _corner(xy: Tensor, chosen: Tensor) -> Tensor:
    """The first of the chosen points of each class; NaN where none is. Shape (B, K, N, 2), (B, K, N) -> (B, K, 2)."""
    first = chosen & (chosen.long().cumsum(-1) == 1)
    place = torch.where(first[..., None], xy, 0.0).sum(2)
    return torch.where(chosen.any(-1, keepdim=True), place, torch.nan)


def reads(system: System) -> tuple[str, ...]:
    """Which of pixels and embedding `System.predict` reads."""
    if isinstance(system, AMSAM):
        return ("embedding",)
    if isinstance(system, AISAM):
        return ("embedding",) if system.dense_prompter is None else ("pixels", "embedding")
    if isinstance(system, AutoSAM) and system.light and not system.generator.reads_embedding:
        return ("pixels",)
    return ("pixels", "embedding")


def sides_of(detector: nn.Module | None) -> tuple[int, ...]:
    """Sides of the squares in which a detector sees the image; none where it reads SAM's embedding."""
    return (detector.image_size, *detector.more_sizes) if isinstance(detector, BoxDetector) else ()


def graphs_of(system: System) -> tuple[dict[str, Graph], dict[str, str]]:
    """The graphs of a system by name, and why one is left out.

    Args:
        system: in evaluation mode; of a mean, each member has graphs of its own.

    Raises:
        ValueError: something of the system's answer is computed beside the tensors, and no graph can hold it.
    """
    refuse(system)
    graphs: dict[str, Graph] = {}
    left_out: dict[str, str] = {}
    if "embedding" in reads(system):
        graphs["encoder"] = EncoderGraph(system)
    else:
        left_out["encoder"] = "the light form reads the pixels alone"
    if isinstance(system, AMSAM) and system.detector is not None:
        graphs["detector"] = DetectorGraph(system)
    graphs["automatic"] = AutomaticGraph(system)
    if isinstance(system, AutoSAM) and system.light:
        left_out["prompted"] = "the light form takes no prompts"
    elif isinstance(system, AMSAM) and system.joint and system.num_classes > 1:
        left_out["prompted"] = "several classes that are decoded jointly take no prompts"
    else:
        graphs["prompted"] = PromptedGraph(system)
    return graphs, left_out


def refuse(system: System) -> None:
    """Refuse a system of which a graph would give other masks.

    Raises:
        ValueError: such a one, and what to change.
    """
    detector = getattr(system, "detector", None)
    if isinstance(system, Mean):
        raise ValueError("a mean must be exported member by member, got it as one system.")
    if isinstance(system, AMSAM) and detector is not None:
        if system.dark_object_weight:
            raise ValueError(
                "arguments.dark_object_weight must be 0, since dark objects are sought beside the network, which no "
                f"graph holds, got {system.dark_object_weight}; export without them (--no-dark-object), and the masks "
                "are those of the network alone."
            )
        if system.windows and any(system.several):
            raise ValueError(
                "arguments.windows must be false, since the boxes decide which windows are decoded, which no graph "
                "holds, got true; export with windows: false."
            )
    if isinstance(system, AISAM) and detector is not None and system.box_source == "detector":
        raise ValueError(
            "arguments.box_source must be user or none, since a detector's boxes confine AI-SAM's points otherwise "
            "than a person's, which the graphs do not hold, got detector; export with box_source: user."
        )
    if getattr(detector, "snap_to_dark_object", False):
        raise ValueError(
            "detector.snap_to_dark_object must be false, since dark objects are sought beside the network, which no "
            "graph holds, got true; export without it (--no-dark-object)."
        )
    if isinstance(system, AMSAM) and detector is not None and not isinstance(detector, BoxDetector | EmbeddingDetector):
        raise ValueError(
            f"the detector must be a YOLO or one that reads SAM's embedding, got {type(detector).__name__}; fit it "
            "first, or export a network without one."
        )
