"""The contract that every system keeps: image in, logits out, prompts beside."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.networks.prompts.class_prompts import has_mask
from amsam_monai.networks.prompts.objects import Objects
from amsam_monai.networks.sam import SAM

logger = logging.getLogger(__name__)

MASK_LOGIT = 10.0  # of a mask that is given as a prompt: about what SAM's own confident masks have


@dataclass
class Prediction:
    """What a system predicts inside SAM's square.

    Args:
        logits: low-resolution maps of the whole square, channel 0 background.
        prompts: the prompts used, in pixels of the square.
        presence: probability per class, in [0, 1], or None.
        quality: predicted IoU per class, in [0, 1], or None.
        objects: of which the classes are the union, in pixels of the square, or None.

    Shape: logits (B, K+1, h, w), presence (B, K), quality (B, K).
    """

    logits: Tensor
    prompts: Prompts
    presence: Tensor | None = None
    quality: Tensor | None = None
    objects: Objects | None = None


class System(nn.Module, ABC):
    """One SAM, a prompter and a decoder path. Subclasses say how they predict inside the square.

    Args:
        sam: Segment Anything's parts.
        num_classes: K, foreground classes; a binary task has 1.
        resize: how images are fitted into SAM's square, see `SquareFrame`.
    """

    def __init__(self, sam: SAM, *, num_classes: int = 1, resize: str = "pad") -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must count foreground classes, at least 1, got {num_classes}.")
        SquareFrame(1, 1, 1, resize)  # refuses an unknown mode
        self.sam = sam
        self.num_classes = num_classes
        self.resize = resize

    @property
    def image_size(self) -> int:
        """Side of SAM's square input, in pixels."""
        return self.sam.image_size

    @property
    def sams(self) -> list[SAM]:
        """All SAMs of the system, whose encoders make its embedding."""
        return [self.sam]

    @abstractmethod
    def predict(
        self,
        pixels: Tensor,
        embedding: Tensor,
        prompts: Prompts,
        frame: SquareFrame,
        classes: Sequence[int] | None = None,
    ) -> Prediction:
        """Predict inside the square.

        Args:
            pixels: the framed image in [0, 1], not normalised.
            embedding: the image encoder's output.
            prompts: a person's prompts, in pixels of the square; parts may be None.
            frame: where the image lies in the square.
            classes: decode these alone, indices from 1; logits and quality of the others are then NaN. Only where
                `classes_alone`: a system whose classes prompt against each other decodes all.

        Shape: pixels (B, 3, S, S), embedding (B, 256, g, g).
        """

    def frame(self, image: Tensor) -> SquareFrame:
        """Where `image` (B, 3, H, W) lies in SAM's square."""
        return SquareFrame(image.shape[-2], image.shape[-1], self.image_size, self.resize)

    def encode(self, image: Tensor) -> Tensor:
        """Image (B, 3, H, W) in [0, 1] -> embedding (B, 256, g, g)."""
        return self.sam.encode(self.frame(image).image(image, self.sam.fill))

    def encode_framed(self, pixels: Tensor, frame: SquareFrame) -> Tensor:
        """The embedding that `predict` is given with framed pixels (B, 3, S, S), where none is known."""
        return self.sam.encode(pixels)

    def mask_prompt(self, masks: Tensor) -> Tensor:
        """Masks of an image as SAM's mask prompt, `Prompts.mask`: logits of the square at the decoder's resolution.

        Args:
            masks: 1 inside, 0 outside; NaN throughout where a class has none.

        Shape: masks (B, K, H, W) -> (B, K, 4g, 4g).
        """
        given = has_mask(masks)[..., None, None]
        square = self.frame(masks).image(masks.nan_to_num())
        small = F.interpolate(square, (4 * self.sam.grid,) * 2, mode="bilinear", antialias=True)
        return ((small * 2 - 1) * MASK_LOGIT).masked_fill(~given, torch.nan)

    def forward(
        self, image: Tensor, *, embedding: Tensor | None = None, prompts: Prompts | None = None, low_res: bool = False
    ) -> Tensor:
        """Logits of an image.

        Args:
            image: in [0, 1], any height and width; `segment` and sessions check the range, this does not.
            embedding: `encode(image)`, if it is already known.
            prompts: a person's prompts in pixels of `image`.
            low_res: give logits at the decoder's resolution, without the padding, instead of at the image's.

        Shape: image (B, 3, H, W) -> logits (B, K+1, H, W), or (B, K+1, h, w) with `low_res`.
        """
        frame, prediction = self.predict_image(image, embedding=embedding, prompts=prompts)
        return frame.crop(prediction.logits) if low_res else frame.restore(prediction.logits)

    @property
    def classes_alone(self) -> bool:
        """Whether a class's mask depends on the prompts of that class only, so that it can be decoded alone."""
        return False

    @property
    def takes_objects(self) -> bool:
        """Whether a class may have several boxes, `Prompts.object_boxes`, of which each is an object."""
        return False

    @property
    def heeds_prompts(self) -> bool:
        """Whether a person's points and boxes correct its masks, as its training taught it."""
        return True

    def has_objects(self, index: int) -> bool:
        """Whether the system itself gives class `index`, from 1, a box for each object, not one for the class."""
        return False

    @torch.no_grad()
    def segment(
        self,
        image: Tensor,
        prompts: Prompts | None = None,
        embedding: Tensor | None = None,
        *,
        classes: Sequence[int] | None = None,
    ) -> Segmentation:
        """Segment for people and tools: logits, and the prompts that were used.

        Args:
            image: in [0, 1], any height and width.
            prompts: a person's prompts in pixels of `image`.
            embedding: `encode(image)`, if it is already known.
            classes: see `predict`.

        Shape: image (B, 3, H, W).

        Raises:
            ValueError: the image is not (B, 3, H, W), not in [0, 1], or the prompts do not fit, lie outside or
                are infinite. Whole numbers count as floats, corners of boxes are put in order, and a box without area
                is left out with a warning.
        """
        check_image(image)
        if prompts is not None:
            rows, columns = image.shape[-2:]
            prompts.check(image.shape[0], self.num_classes)
            prompts.check_inside((rows, columns), margin=16 * max(rows, columns) / self.image_size)  # a cell of SAM's
            tell_empty_boxes(prompts)
        frame, prediction = self.predict_image(image, embedding=embedding, prompts=prompts, classes=classes)
        return Segmentation(
            logits=frame.restore(prediction.logits),
            prompts=prediction.prompts.map(frame.points_back, frame.boxes_back),
            presence=prediction.presence,
            quality=prediction.quality,
            objects=None if prediction.objects is None else prediction.objects.map(frame.boxes_back, frame.crop),
        )

    def predict_image(
        self,
        image: Tensor,
        *,
        embedding: Tensor | None = None,
        prompts: Prompts | None = None,
        classes: Sequence[int] | None = None,
    ) -> tuple[SquareFrame, Prediction]:
        """All that the system predicts of an image, inside the square, and where the image lies in it.

        Args:
            image: see `forward`.
            embedding: `encode(image)`, if it is already known.
            prompts: a person's prompts in pixels of `image`.
            classes: see `predict`.

        Raises:
            ValueError: image or prompts of another shape.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"image must have shape (B, 3, H, W), got {tuple(image.shape)}.")
        frame = self.frame(image)
        prompts = (prompts or Prompts()).as_floats()
        prompts.check(image.shape[0], self.num_classes)
        if prompts.object_boxes is not None and not self.takes_objects:
            raise ValueError("object_boxes must go with a system that decodes objects, such as AM-SAM; give box_xyxy.")
        pixels = frame.image(image, self.sam.fill)
        if embedding is None:
            embedding = self.encode_framed(pixels, frame)
        return frame, self.predict(pixels, embedding, prompts.map(frame.points, frame.boxes), frame, classes)

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether embeddings may be computed once and kept: no parameter of the image encoder trains."""
        return not any(p.requires_grad for sam in self.sams for p in sam.image_encoder.parameters())

    def train(self, mode: bool = True) -> System:
        """Training mode; a frozen image encoder stays in evaluation mode, and batch norms in SAM keep their statistics.

        Batches of a few images give poor statistics, and with kept ones an image does not depend on its batch-mates.
        """
        super().train(mode)
        if self.encoder_is_frozen:
            self.sam.image_encoder.eval()
        for module in self.sam.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def adapter_keys(self) -> list[str]:
        """Names in `state_dict()` of what training changes: parameters that train, and their modules' buffers."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        owners = {name.rpartition(".")[0] for name in trained}
        buffers = {name for name, _ in self.named_buffers() if name.rpartition(".")[0] in owners}
        return [name for name in self.state_dict() if name in trained or name in buffers]

    def adapter_state_dict(self) -> dict[str, Tensor]:
        """The adapter: what training changed, a subset of the network's own keys, nothing of the frozen SAM."""
        state = self.state_dict()
        return {name: state[name] for name in self.adapter_keys()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """See `nn.Module.load_state_dict`; a complete adapter is a state, too: the frozen rest stays as it is."""
        whole = set(state_dict) != set(self.adapter_keys())
        return super().load_state_dict(state_dict, strict=strict and whole, assign=assign)

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` takes in the system's place."""
        from amsam_monai.networks.systems.scripted import scriptable

        return scriptable(self)

    def load_adapter_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load an adapter; every key must be there and fit.

        Raises:
            ValueError: keys are missing, unknown, or of another shape, all of them listed.
        """
        wanted = self.adapter_state_dict()
        problems = [f"missing {name}" for name in wanted if name not in state]
        problems += [f"unknown {name}" for name in state if name not in wanted]
        problems += [
            f"{name} must be {tuple(wanted[name].shape)}, got {tuple(state[name].shape)}"
            for name in wanted
            if name in state and state[name].shape != wanted[name].shape
        ]
        if problems:
            shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
            raise ValueError(
                f"the adapter does not fit this network ({shown}). "
                "Build the network with the settings it was trained with."
            )
        self.load_state_dict(state, strict=False)


def tell_empty_boxes(prompts: Prompts) -> None:
    """Warn of each box without area, which `Prompts.as_floats` leaves out; reads them back."""
    for place, index in prompts.empty_boxes():
        logger.warning("a box of class %d in image %d has no area and is left out", index + 1, place)


def check_image(image: Tensor) -> None:
    """Refuse what is not a batch of RGB images in [0, 1]; called where images enter, since it reads their values.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: wrong shape, or values outside [0, 1].
    """
    if not image.is_floating_point():
        raise TypeError(
            f"image must be a floating-point tensor in [0, 1], got {image.dtype}; divide 8-bit pixels by 255."
        )
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image must have shape (B, 3, H, W), got {tuple(image.shape)}.")
    shown = image[:, :1] if image.stride(1) == 0 else image  # a slice stands three times in one place
    low, high = (float(value) for value in shown.aminmax())
    if not (low >= 0.0 and high <= 1.0):  # also refuses NaN
        raise ValueError(
            f"image must lie in [0, 1], got values from {low:.4g} to {high:.4g}; scale it first (8-bit: divide by 255)."
        )
