"""A detector that reads SAM's own embedding: no second backbone, and nothing to install."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.box_head import BoxHead
from amsam_monai.networks.detector.voting import VotingDetector, with_mirror
from amsam_monai.networks.sam import EMBED_DIM, SAM


class EmbeddingDetector(VotingDetector):
    """The box of highest confidence per class, from SAM's embedding of the image; `objects` gives each object's.

    Args:
        model: fitted head.
        class_names: names of the classes that it tells apart.
        image_size: side of SAM's square, in pixels.
        resize: how images lie in it, see `SquareFrame`.
        encoder: sha256 of the pretrained SAM whose embeddings it was fitted on; None is not known.
        confidence: floor; below it a class counts as not detected.
        classes: which of its classes give boxes, in this order; None is all.
        flips: also look at the mirrored embedding, which is close to that of the mirrored image.
        vote_iou: overlap with the best box at which a box votes; 1 keeps the best box alone.
        snap_to_dark_object: replace each box by that of the dark object under it (`dark_boxes`); for skin lesions.
        object_confidence: floor of a class's second and further objects; that of the first is `confidence`.
        object_overlap: IoU with a surer object from which on a box is that object's.
        most_objects: boxes of a class in an image, at most.
        cases: ids of the cases that it was fitted on, kept with it.

    Shape: image (B, 3, H, W) in [0, 1] and its embedding (B, 256, g, g) -> boxes (B, K, 4) x1, y1, x2, y2 in pixels of
        image, NaN = none; confidence (B, K).

    Raises:
        ValueError: an unknown `resize`, or a class that the detector does not have; at the call, no embedding, or one
            of another shape.
    """

    architecture = "embedding"
    reads_embedding = True
    model: BoxHead

    def __init__(
        self,
        model: BoxHead,
        *,
        class_names: Sequence[str],
        image_size: int,
        resize: str = "pad",
        encoder: str | None = None,
        confidence: float = 0.05,
        classes: Sequence[int] | None = None,
        flips: bool = True,
        vote_iou: float = 0.7,
        snap_to_dark_object: bool = False,
        object_confidence: float = 0.5,
        object_overlap: float = 0.4,
        most_objects: int = 32,
        cases: Sequence[str] | None = None,
    ) -> None:
        SquareFrame(1, 1, image_size, resize)  # refuses an unknown mode
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
        self.image_size, self.resize, self.encoder = image_size, resize, encoder

    def config(self) -> dict[str, Any]:
        """See `VotingDetector.config`."""
        own = {
            "architecture": {"name": self.architecture, **self.model.architecture},
            "image_size": self.image_size,
            "resize": self.resize,
            "encoder": self.encoder,
        }
        return {**own, **super().config()}

    def looks(self, image: Tensor, embedding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) in pixels of the image, and their scores (B, A, K), of the embedding and mirrored."""
        if embedding is None:
            raise ValueError(
                "this detector reads SAM's embedding: give it with the image, as `system.encode(image)`, got none."
            )
        if embedding.ndim != 4 or embedding.shape[1] != EMBED_DIM or embedding.shape[2] != embedding.shape[3]:
            raise ValueError(f"embedding must have shape (B, {EMBED_DIM}, g, g), got {tuple(embedding.shape)}.")
        boxes, scores = self.candidates(embedding)
        frame = SquareFrame(image.shape[-2], image.shape[-1], self.image_size, self.resize)
        return frame.boxes_back(boxes), scores

    def candidates(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """All boxes (B, A, 4) in pixels of SAM's square, and their scores (B, A, K)."""
        side = self.image_size
        boxes, scores = with_mirror(self._read, embedding, side) if self.flips else self._read(embedding)
        return boxes, scores[..., self.classes]

    def _read(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (B, A, 4) of all cells and classes in pixels of the square, and scores (B, A, K): its class's alone."""
        weight = next(self.model.parameters())
        cells = self.model(embedding.to(weight))
        scores = cells.scores().flatten(2)  # (B, K, g * g)
        alone = torch.eye(scores.shape[1], device=scores.device)
        boxes = cells.boxes.flatten(1, 3) * (self.image_size / embedding.shape[-1])
        return boxes, (scores[..., None] * alone[:, None]).flatten(1, 2)


def boxes_of(detector: nn.Module, image: Tensor, embedding: Tensor, *, objects: bool = False) -> tuple[Tensor, Tensor]:
    """What a detector answers, of each class or of each object; one that reads the embedding is given it, too."""
    ask: Any = detector.objects if objects else detector
    return ask(image, embedding) if getattr(detector, "reads_embedding", False) else ask(image)


def embedding_of(sam: SAM, resize: str = "pad") -> Callable[[Tensor], Tensor]:
    """What embeds images of any size, (B, 3, H, W) -> (B, 256, g, g), as a system of this SAM does."""

    @torch.no_grad()
    def encode(image: Tensor) -> Tensor:
        frame = SquareFrame(image.shape[-2], image.shape[-1], sam.image_size, resize)
        return sam.encode(frame.image(image, sam.fill))

    return encode


def check_reads(detector: nn.Module | None, system: Any) -> None:
    """Refuse a detector that reads another embedding than the system's.

    Args:
        detector: any, or None.
        system: with `sam`, `image_size`, `resize` and `encoder_is_frozen`.

    Raises:
        ValueError: the encoder trains, or the detector was fitted on another size, framing or pretrained SAM.
    """
    if not isinstance(detector, EmbeddingDetector):
        return
    if not system.encoder_is_frozen:
        raise ValueError(
            "a detector that reads SAM's embedding needs an encoder that stays as it is; set encoder='frozen' without "
            "LoRA and adapters in it, or take the detector yolo."
        )
    origin = getattr(system.sam, "origin", None)
    sha256 = getattr(origin, "sha256", None)
    for name, wanted, got in (
        ("image_size", detector.image_size, system.image_size),
        ("resize", detector.resize, system.resize),
        ("sha256 of SAM's weights", detector.encoder or sha256, sha256 or detector.encoder),
    ):
        if wanted != got:
            raise ValueError(
                f"{name} must be {wanted}, as the detector was fitted on, got {got}; fit the detector anew, or put the "
                "one back that came with the model."
            )
