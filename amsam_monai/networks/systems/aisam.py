"""AI-SAM: one SAM that prompts itself with points, and takes a person's points, boxes and class choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.embedding import boxes_of, check_reads
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.ai_prompter import AIPrompter, PrompterOutput
from amsam_monai.networks.prompts.class_prompts import (
    has_mask,
    has_positive,
    stated_presence,
    used_prompts,
    wants_automatic,
    wants_none_automatic,
)
from amsam_monai.networks.prompts.class_tokens import corner_tokens, given_tokens, label_embeddings, positive_tokens
from amsam_monai.networks.prompts.confine import box_cells, box_keeps, grow_boxes, outside_of_masks
from amsam_monai.networks.prompts.presence_classifier import PresenceClassifier
from amsam_monai.networks.prompts.prompt_sets import may_read_back
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import SAM
from amsam_monai.networks.sam.lora import add_decoder_lora, add_encoder_lora
from amsam_monai.networks.sam.mask_calibration import MaskCalibration
from amsam_monai.networks.systems.class_decoding import SUPPRESSED_LOGIT, class_dense, decode_classes
from amsam_monai.networks.systems.system import Prediction, System

ENCODER_MODES = ("frozen", "lora", "full")
DECODER_MODES = ("frozen", "lora", "full")
BOX_SOURCES = ("none", "detector", "user")

# Standard deviation of a new class prompt, near that of SAM's positional encoding.
CLASS_PROMPT_SCALE = 0.5


@dataclass(kw_only=True)
class AISAMPrediction(Prediction):
    """A prediction, and what the losses need beside it.

    Args:
        points: the prompter's output.
        presence_logits: of each class, background first.
        iou: predicted IoU of each class's mask, background first; NaN for masks that were not made.

    Shape: presence_logits (B, C), iou (B, C).
    """

    points: PrompterOutput
    presence_logits: Tensor
    iou: Tensor


class AISAM(System):
    """Automatic and interactive Segment Anything (AI-SAM, arXiv:2312.03119).

    Every class, background too, has points of its own, made by the prompter from the image or given by a person; they
    are negative points for all other classes. One decoder call per class gives its logits. A classifier tells which
    classes are there: the others get no mask and their points count for nothing.

    In training mode, points are soft, all classes are decoded, and the classifier leaves none out. In evaluation mode,
    points are single cells, and classes that the classifier finds absent are left out. A person's points, boxes, masks
    and choice of classes come as `Prompts` or `ClassPrompts`; boxes confine points and masks, and are SAM's own box
    prompts only with `box_tokens`.

    Args:
        sam: Segment Anything; frozen, except for the parts named below.
        num_classes: K, foreground classes.
        resize: how images are fitted into SAM's square, see `SquareFrame`.
        num_points: points per class, or one count per class, background first.
        num_class_tokens: see `AIPrompter`.
        num_class_prompts: learned prompt tokens of each class, which the decoder gets along with its points. They tell
            classes apart from the first step, when all points still lie in the same soft place. 0 is as published.
        depth: blocks of the prompter, and of the classifier.
        encoder: "lora", "full" or "frozen" (embeddings may then be cached).
        encoder_lora_rank: rank of the encoder's LoRA.
        decoder: "full", "lora" or "frozen".
        decoder_lora_rank: rank of the decoder's LoRA; mask tokens, upscaling and hypernetwork train beside it.
        train_quality: train SAM's IoU head, so that it knows the masks of this task.
        calibration: "none", "paper" or "fused", see `MaskCalibration`.
        alpha: weight of SAM's own mask in the calibration, in [0, 1].
        one_hot: one-hot points in evaluation mode; False keeps generalised points.
        train_one_hot: one-hot points with straight-through gradients in training mode.
        second_look: in evaluation mode, move one-hot points that lie outside the mask they made to where that mask is
            surest, and decode once more; CPUs do so only for batches in which a point moves.
        gate: in evaluation mode, leave out classes that the classifier finds absent.
        presence_threshold: probability above which a class is there.
        box_source: "user" takes a person's boxes, "detector" also the detector's where a person gave none, and "none"
            ignores boxes.
        detector: frozen; (B, 3, S, S) in [0, 1] -> boxes (B, K, 4), NaN where none, and confidence (B, K).
        box_margin: share of its sides by which a detector's box grows on each side.
        box_tokens: also give the decoder a class's box as SAM's own box prompt, as AM-SAM does.
        dense_prompter: (B, 3, S, S) in [0, 1] and embedding -> dense prompts (B, K*256, g, g) in place of SAM's "no
            mask", as AutoSAM's generator makes them; trains. None is AI-SAM as published.
        automatic_points: use the network's own points; False leaves prompting to the dense prompter or the box.

    Raises:
        ValueError: a setting that is not listed here.
    """

    @recorded
    def __init__(
        self,
        sam: SAM,
        *,
        num_classes: int = 1,
        resize: str = "pad",
        num_points: int | Sequence[int] = 4,
        num_class_tokens: int = 16,
        num_class_prompts: int = 0,
        depth: int = 4,
        encoder: str = "lora",
        encoder_lora_rank: int = 4,
        decoder: str = "full",
        decoder_lora_rank: int = 4,
        train_quality: bool = True,
        calibration: str = "none",
        alpha: float = 0.7,
        one_hot: bool = True,
        train_one_hot: bool = False,
        second_look: bool = False,
        gate: bool = True,
        presence_threshold: float = 0.5,
        box_source: str = "user",
        detector: nn.Module | None = None,
        box_margin: float = 0.1,
        box_tokens: bool = False,
        dense_prompter: nn.Module | None = None,
        automatic_points: bool = True,
    ) -> None:
        super().__init__(sam, num_classes=num_classes, resize=resize)
        for name, value, known in (
            ("encoder", encoder, ENCODER_MODES),
            ("decoder", decoder, DECODER_MODES),
            ("box_source", box_source, BOX_SOURCES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
        if not (automatic_points or box_tokens or dense_prompter is not None):
            raise ValueError(
                "automatic_points=False must come with a dense prompter or box_tokens, or nothing prompts; got neither."
            )
        if box_source == "detector" and detector is None:
            raise ValueError('box_source "detector" must come with a detector, got None.')
        sam.requires_grad_(False)
        if encoder == "lora":
            add_encoder_lora(sam.image_encoder, rank=encoder_lora_rank)
        elif encoder == "full":
            sam.image_encoder.requires_grad_(True)
        _train_decoder(sam, decoder, decoder_lora_rank, train_quality)
        stride = sam.image_size // sam.grid
        self.prompter = AIPrompter(num_classes + 1, num_points, num_class_tokens, depth=depth, stride=stride)
        self.classifier = PresenceClassifier(num_classes + 1, depth=depth)
        self.class_prompts = None
        if num_class_prompts:
            self.class_prompts = nn.Parameter(CLASS_PROMPT_SCALE * torch.randn(num_classes + 1, num_class_prompts, 256))
        self.calibration = MaskCalibration(mode=calibration, alpha=alpha)
        self.one_hot, self.train_one_hot, self.second_look = one_hot, train_one_hot, second_look
        self.gate, self.presence_threshold = gate, presence_threshold
        self.box_source, self.box_margin, self.box_tokens = box_source, box_margin, box_tokens
        self.dense_prompter, self.detector = dense_prompter, detector
        self.automatic_points = automatic_points
        if not automatic_points:
            self.prompter.requires_grad_(False)
        check_reads(detector, self)
        if detector is not None:
            detector.requires_grad_(False)

    def train(self, mode: bool = True) -> AISAM:
        """Training mode; the detector stays in evaluation mode."""
        super().train(mode)
        if self.detector is not None:
            self.detector.eval()
        return self

    def predict(
        self,
        pixels: Tensor,
        embedding: Tensor,
        prompts: Prompts,
        frame: SquareFrame,
        classes: Sequence[int] | None = None,
    ) -> AISAMPrediction:
        """See `System.predict`; all classes are decoded, whatever `classes` says, since they prompt against each other.

        The prompts that come back give the same answer when they are handed in.
        """
        if self.box_source == "none":
            prompts = replace(prompts, box_xyxy=None)
        rows, columns = frame.scaled_hw
        boxes = self._boxes(pixels[..., :rows, :columns], embedding, prompts)  # a detector must not see the padding
        presence_logits = self.classifier(embedding.detach())
        probability = presence_logits.sigmoid()[:, 1:]
        stated = stated_presence(prompts, probability)
        presence = torch.where(stated.isnan(), probability, stated)  # (B, K)
        automatic = wants_automatic(prompts, presence_logits)  # (B, C)
        if not self.automatic_points:
            automatic = torch.zeros_like(automatic)
        shown, counted = self._roles(prompts, presence, stated, automatic, boxes)
        # Not where a person's points take the place of all.
        asked = self.training or (self.automatic_points and not wants_none_automatic(prompts))
        points = self._points(embedding, boxes, automatic & counted) if asked else self.prompter.no_points(embedding)
        made = None if self.dense_prompter is None else self.dense_prompter(pixels, embedding)
        dense = class_dense(self.sam, made, prompts.mask, embedding.shape[0], self.num_classes)

        def decoded(points: PrompterOutput) -> tuple[Tensor, Tensor]:
            tokens, there = self._tokens(points, prompts, automatic, counted, boxes)
            logits, iou = decode_classes(self.sam, self.calibration, embedding, tokens, there, dense, shown)
            return logits if boxes is None or self.training else self._within(boxes, logits), iou

        logits, iou = decoded(points)
        if asked and self.second_look and self.one_hot and not self.training:
            settled = self._settled(points, logits, automatic & shown)
            if settled is not None:
                points = settled
                logits, iou = decoded(points)
        # The quality of a class that is left out is how sure the classifier is of that.
        quality = torch.where(shown[:, 1:], presence * iou[:, 1:].clamp(0, 1), 1 - presence)
        used = used_prompts(points.points_xy, prompts, boxes, automatic & counted)
        return AISAMPrediction(logits, used, presence, quality, points=points, presence_logits=presence_logits, iou=iou)

    def _within(self, boxes: Tensor, logits: Tensor) -> Tensor:
        """Logits (B, C, h, w) with every class suppressed outside its box (B, K, 4)."""
        outside = ~box_keeps(boxes, logits.shape[-1], self.image_size)
        return torch.cat([logits[:, :1], logits[:, 1:].masked_fill(outside, SUPPRESSED_LOGIT)], dim=1)

    def _boxes(self, pixels: Tensor, embedding: Tensor, prompts: Prompts) -> Tensor | None:
        """The boxes that confine the points, (B, K, 4): a person's, and for the other classes the detector's."""
        given = prompts.box_xyxy
        if self.box_source != "detector" or self.detector is None or not (given is None or given.isnan().any()):
            return given
        found = grow_boxes(boxes_of(self.detector, pixels, embedding)[0], self.box_margin, self.image_size)
        return found if given is None else torch.where(given.isnan().any(-1, keepdim=True), found, given)

    def _points(self, embedding: Tensor, boxes: Tensor | None, wanted: Tensor) -> PrompterOutput:
        """Automatic points; no loss reaches the encoder through them.

        CPUs make none, in evaluation mode, of a class whose points are `wanted` (B, C) in no image.
        """
        masks, classes = None, None
        if not self.training and may_read_back(wanted) and not wanted.any(0).all():
            classes = wanted.any(0).nonzero()[:, 0]
            if not len(classes):
                return self.prompter.no_points(embedding)
        if boxes is not None:
            cells = box_cells(boxes, self.sam.grid, self.image_size)
            masks = torch.cat([torch.ones_like(cells[:, :1]), cells], dim=1)  # background is not confined
        one_hot = self.train_one_hot if self.training else self.one_hot
        position, labels = self.sam.dense_pe(), label_embeddings(self.sam)
        return self.prompter(embedding.detach(), position, labels, masks, one_hot, classes)

    def _settled(self, points: PrompterOutput, logits: Tensor, movable: Tensor) -> PrompterOutput | None:
        """Points with those that lie outside of their class's mask at its surest place; None where none does.

        Shape: logits (B, C, h, w), movable (B, C); background's points stay.
        """
        surest, outside = outside_of_masks(points.points_xy[:, 1:], logits, self.image_size)
        outside = F.pad(outside & movable[:, 1:, None], (0, 0, 1, 0))[..., None]  # (B, C, N, 1)
        if may_read_back(outside) and not outside.any():
            return None
        xy = torch.where(outside, F.pad(surest, (0, 0, 1, 0))[:, :, None], points.points_xy)
        labels = label_embeddings(self.sam)
        places = positive_tokens(self.sam, xy) - labels[2]
        return self.prompter.moved(points, xy, torch.where(outside, places, points.points), labels)

    def _roles(
        self, prompts: Prompts, presence: Tensor, stated: Tensor, automatic: Tensor, boxes: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Which classes get a mask, and whose points count for the others; (B, C) each. Background always does both."""
        always = torch.ones_like(automatic[:, :1])
        if self.training:
            return torch.ones_like(automatic), torch.cat([always, stated != 0], dim=1)
        there = presence > self.presence_threshold if self.gate else stated != 0
        prompted = automatic[:, 1:] | has_positive(prompts, presence)
        if self.dense_prompter is not None:
            prompted = torch.ones_like(prompted)
        if prompts.mask is not None:
            prompted = prompted | has_mask(prompts.mask)
        if self.box_tokens and boxes is not None:
            prompted = prompted | ~boxes.isnan().any(-1)
        shown = torch.cat([always, there & prompted], dim=1)
        return shown, shown

    def _tokens(
        self,
        points: PrompterOutput,
        prompts: Prompts,
        automatic: Tensor,
        counted: Tensor,
        boxes: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Prompt tokens of each class (B, C, T, 256), and which of them are there (B, C, T)."""
        owner = self.prompter.owner  # (C, T)
        own = owner == torch.arange(len(owner), device=owner.device)[:, None]
        parts = [(points.sparse, automatic[:, owner] & (counted[:, owner] | own))]
        if self.class_prompts is not None:
            learned = self.class_prompts.expand(counted.shape[0], -1, -1, -1)
            parts.append((learned, torch.ones_like(learned[..., 0], dtype=torch.bool)))
        if self.box_tokens and boxes is not None:
            parts.append(corner_tokens(self.sam, boxes))
        if prompts.points_xy is not None and prompts.point_labels is not None and prompts.points_xy.shape[2]:
            parts.append(given_tokens(self.sam, prompts.points_xy, prompts.point_labels, counted))
        tokens, there = zip(*parts, strict=True)
        return torch.cat(tokens, dim=2), torch.cat(there, dim=2)


def _train_decoder(sam: SAM, mode: str, rank: int, train_quality: bool) -> None:
    """Let the decoder train, but for what is never read: the masks of SAM's other tokens."""
    decoder = sam.mask_decoder
    if mode == "lora":
        add_decoder_lora(decoder, rank=rank)
        for part in (decoder.mask_tokens, decoder.output_upscaling, decoder.output_hypernetworks_mlps[0]):
            part.requires_grad_(True)
    else:
        decoder.requires_grad_(mode == "full")
        decoder.output_hypernetworks_mlps[1:].requires_grad_(False)
    decoder.iou_prediction_head.requires_grad_(train_quality and mode != "frozen")
