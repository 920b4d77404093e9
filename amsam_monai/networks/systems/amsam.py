"""AM-SAM: a detector's box prompts a SAM whose decoder has LoRA and mask calibration; BLO-SAM and SAMed as settings."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.dark_object import dark_masks
from amsam_monai.networks.detector.embedding import boxes_of, check_reads
from amsam_monai.networks.in_graph import in_graph
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.objects import NOTHING, Objects, as_sets, union
from amsam_monai.networks.prompts.prompt_sets import decode_sets, may_read_back, set_tokens
from amsam_monai.networks.recorded import recorded
from amsam_monai.networks.sam import EMBED_DIM, SAM
from amsam_monai.networks.sam.encoder_adapters import add_encoder_adapters
from amsam_monai.networks.sam.late_stages import train_encoder
from amsam_monai.networks.sam.lora import LoRALinear, add_decoder_lora, add_encoder_lora
from amsam_monai.networks.sam.mask_calibration import MaskCalibration
from amsam_monai.networks.systems.system import Prediction, System, tell_empty_boxes

DECODER_PARTS = ("frozen", "tail", "all")
ENCODER_MODES = ("frozen", "late", "full")
OBJECTS = ("one", "all")
# Logit of a class that the detector did not find: probability 1e-13 beside background's logit 0.
ABSENT_LOGIT = -30.0
# Prompt sets that are decoded together, times the cells of an embedding: 64 sets at 512 px, 16 at 1024.
SETS_OF_CELLS = 65536


class AMSAM(System):
    """Automated prompting and mask calibration (AM-SAM, arXiv:2410.09714).

    Each class of each image is one prompt set: its box, its points, and a learned prompt embedding in place of SAM's
    "no mask" embedding. Background has logit 0, so that a binary task is SAM's own sigmoid and an untrained network
    is SAM itself. `joint=True` is BLO-SAM's and SAMed's reading instead: one prompt set an image, one mask token for
    each class and one for background.

    Args:
        sam: Segment Anything; frozen, except for the parts named below.
        num_classes: K, foreground classes.
        resize: how images are fitted into SAM's square, see `SquareFrame`.
        detector: frozen; (B, 3, S, S) in [0, 1] -> boxes (B, K, 4), NaN where none, and confidence (B, K); with
            `reads_embedding` it is given the image's embedding, too. None leaves the learned prompt alone (BLO-SAM).
        missing_box: what happens to a class that the detector does not find: "learned" falls back on the learned
            prompt, "absent" leaves the class out. None is "learned" for one class and "absent" for several.
        box_centre_point: add a positive point at the centre of each box.
        objects: "one": the detector's surest box is the class, as in the paper; "all": each of its boxes above its
            floor is a prompt set of its own, and the class is their union, the largest probability at each pixel. For
            all classes, or a word for each. A person may give any class several boxes (`Prompts.object_boxes`).
        windows: decode an object whose box has no side above an eighth of the square in a window of half the square,
            in less than half the time; for pictures with hundreds of objects. With several boxes, and not in training.
        dark_object_weight: for skin lesions: weight of the dark object in a box (see `dark_masks`) in the probability
            of its class, in evaluation mode and where the box is the only prompt; 0 leaves it out.
        calibration: "none", "paper" or "fused", see `MaskCalibration`.
        alpha: weight of SAM's own mask in the calibration, in [0, 1].
        lora_rank: rank of the decoder's LoRA; 0 is none.
        encoder: "frozen" (embeddings may then be cached), "full" to train all of it, as is fit for TinyViT, or "late"
            to train its later half, which takes less time.
        encoder_lora_rank: rank of the LoRA in a frozen encoder (SAMed); 0 is none.
        encoder_adapters: width of bottleneck adapters in a frozen encoder, as a share of its own (Med-SA); 0 is none.
        decoder: what else of the mask decoder trains, from its pretrained values: "tail" is its tokens, upscaling and
            hypernetworks (BLO-SAM), "all" its transformer too (SAMed), "frozen" nothing.
        joint: one prompt set an image with K + 1 mask tokens.

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
        detector: nn.Module | None = None,
        missing_box: str | None = None,
        box_centre_point: bool = False,
        objects: str | Sequence[str] = "one",
        windows: bool = False,
        dark_object_weight: float = 0.0,
        calibration: str = "fused",
        alpha: float = 0.7,
        lora_rank: int = 4,
        encoder: str = "frozen",
        encoder_lora_rank: int = 0,
        encoder_adapters: float = 0.0,
        decoder: str = "tail",
        joint: bool = False,
    ) -> None:
        super().__init__(sam, num_classes=num_classes, resize=resize)
        missing_box = missing_box or ("learned" if num_classes == 1 else "absent")
        if decoder not in DECODER_PARTS:
            raise ValueError(f"decoder must be one of {', '.join(DECODER_PARTS)}, got {decoder!r}.")
        if encoder not in ENCODER_MODES:
            raise ValueError(f"encoder must be one of {', '.join(ENCODER_MODES)}, got {encoder!r}.")
        if encoder != "frozen" and (encoder_lora_rank or encoder_adapters):
            raise ValueError(
                f"encoder={encoder!r} trains its own weights; set encoder_lora_rank=0 and encoder_adapters=0."
            )
        if missing_box not in ("learned", "absent"):
            raise ValueError(f"missing_box must be learned or absent, got {missing_box!r}.")
        if not 0 <= dark_object_weight < 1:
            raise ValueError(f"dark_object_weight must be a share in [0, 1), got {dark_object_weight}.")
        if joint and dark_object_weight:
            raise ValueError(
                "dark_object_weight is for classes that are decoded alone; set joint=False or dark_object_weight=0."
            )
        if joint and num_classes > 1 and detector is not None:
            raise ValueError(
                "joint decoding takes one box an image; set joint=False for several classes with a detector."
            )
        self.several, self.windows = _several(objects, num_classes), windows
        if joint and any(self.several):
            raise ValueError("objects='all' is for classes that are decoded alone; set joint=False or objects='one'.")
        if any(self.several) and detector is not None and not hasattr(detector, "objects"):
            raise ValueError(
                f"objects='all' needs a detector that gives a box for each object (`objects(image)`), got "
                f"{type(detector).__name__}; set objects='one'."
            )
        self.missing_box, self.box_centre_point, self.joint = missing_box, box_centre_point, joint
        self.dark_object_weight = dark_object_weight
        sam.requires_grad_(False)
        if joint:
            _give_tokens(sam, num_classes + 1)
        if lora_rank:
            add_decoder_lora(sam.mask_decoder, rank=lora_rank)
        train_encoder(sam.image_encoder, encoder)
        if encoder_lora_rank:
            add_encoder_lora(sam.image_encoder, rank=encoder_lora_rank)
        if encoder_adapters:
            add_encoder_adapters(sam.image_encoder, ratio=encoder_adapters)
        _train_decoder(sam, decoder, num_classes + 1 if joint else 1)
        sets = 1 if joint else num_classes
        no_mask = sam.prompt_encoder.no_mask_embed.weight.detach()
        self.prompt_embedding = nn.Parameter(no_mask.repeat(sets, 1))  # (sets, 256)
        self.class_token = nn.Parameter(torch.zeros(sets, EMBED_DIM))  # added to the mask token of each set
        self.calibration = MaskCalibration(mode=calibration, alpha=alpha)
        check_reads(detector, self)
        self.detector = detector
        if detector is not None:
            detector.requires_grad_(False)

    @property
    def classes_alone(self) -> bool:
        """See `System.classes_alone`: each class is a prompt set of its own, unless they are decoded jointly."""
        return not self.joint

    @property
    def takes_objects(self) -> bool:
        """See `System.takes_objects`."""
        return not self.joint

    @property
    def heeds_prompts(self) -> bool:
        """See `System.heeds_prompts`: several classes that are decoded jointly take none."""
        return not self.joint or self.num_classes == 1

    def has_objects(self, index: int) -> bool:
        """See `System.has_objects`: where `objects` is "all"."""
        return self.several[index - 1]

    def upper_parameters(self, *, calibration: bool = False) -> Iterator[nn.Parameter]:
        """Parameters of the upper level: the prompt embedding and, by option, the calibration's fusion."""
        yield self.prompt_embedding
        if calibration:
            yield from self.calibration.parameters()

    def lower_parameters(self, *, calibration: bool = True) -> Iterator[nn.Parameter]:
        """Parameters of the lower level: all others that train."""
        upper = {id(parameter) for parameter in self.upper_parameters(calibration=not calibration)}
        yield from (p for p in self.parameters() if p.requires_grad and id(p) not in upper)

    def train(self, mode: bool = True) -> AMSAM:
        """Training mode; encoder (where frozen) and detector stay in evaluation mode."""
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
    ) -> Prediction:
        """See `System.predict`."""
        if self.joint and prompts.object_boxes is not None:
            raise ValueError("joint decoding takes one box an image; set joint=False for object_boxes.")
        if self.joint and self.num_classes > 1 and (prompts.points_xy is not None or prompts.box_xyxy is not None):
            raise ValueError("joint decoding of several classes takes no points or boxes; set joint=False for them.")
        rows, columns = frame.scaled_hw
        picture = pixels[..., :rows, :columns]  # without the padding, whose border is not an edge
        absent, confidence = None, None
        if prompts.box_xyxy is None and prompts.object_boxes is None and self.detector is not None:
            prompts, confidence = self._detected(picture, embedding, prompts)
            absent = prompts.box_xyxy.isnan().any(-1) if self.missing_box == "absent" else None  # type: ignore[union-attr]
        if prompts.object_boxes is not None:
            return self._union(picture, embedding, prompts, frame, classes, absent, confidence)
        alone = prompts.points_xy is None and prompts.mask is None
        dark = prompts.box_xyxy if self.dark_object_weight and alone and not self.training else None
        if self.box_centre_point and prompts.box_xyxy is not None:
            prompts = _with_centres(prompts)
        logits, iou = self._decode(embedding, prompts, classes)
        if self.joint:
            return Prediction(logits, prompts, quality=iou.clamp(0, 1))
        if dark is not None:
            logits = self._with_dark_objects(logits, picture, dark, frame)
        return Prediction(_beside_background(logits, absent), prompts, quality=iou.clamp(0, 1))

    def _detected(self, picture: Tensor, embedding: Tensor, prompts: Prompts) -> tuple[Prompts, Tensor | None]:
        """The prompts with the detector's boxes, one a class or all of its objects; and how sure it is of these."""
        detector = cast(nn.Module, self.detector)
        if not any(self.several):
            return _with_area(replace(prompts, box_xyxy=boxes_of(detector, picture, embedding)[0])), None
        boxes, confidence = boxes_of(detector, picture, embedding, objects=True)
        boxes = self.of_several(boxes)
        return _with_area(replace(prompts, box_xyxy=boxes[:, :, 0], object_boxes=boxes)), confidence

    def of_several(self, boxes: Tensor) -> Tensor:
        """A detector's boxes (B, K, M, 4) with the first alone of a class that has one; NaN are the others."""
        one = torch.tensor([not several for several in self.several], device=boxes.device)[:, None]
        further = one & (torch.arange(boxes.shape[2], device=boxes.device) > 0)  # (K, M)
        return boxes.masked_fill(further[..., None], torch.nan)

    def _union(
        self,
        picture: Tensor,
        embedding: Tensor,
        prompts: Prompts,
        frame: SquareFrame,
        classes: Sequence[int] | None,
        absent: Tensor | None,
        confidence: Tensor | None,
    ) -> Prediction:
        """Each object of each class by itself, and the classes as their union."""
        sets, there = as_sets(prompts, self.image_size)
        alone = prompts.points_xy is None and prompts.mask is None
        dark = sets.box_xyxy if self.dark_object_weight and alone and not self.training else None
        boxes = cast(Tensor, sets.box_xyxy).unflatten(1, there.shape[1:])
        if self.box_centre_point:
            sets = _with_centres(sets)
        logits, iou = self._decode(embedding, sets, classes, there)
        if dark is not None:
            logits = self._with_dark_objects(logits, picture, dark, frame)
        logits, iou = logits.unflatten(1, there.shape[1:]), iou.unflatten(1, there.shape[1:]).clamp(0, 1)
        sure = torch.full_like(iou, torch.nan)
        if confidence is not None:
            sure[:, :, :-1] = confidence.masked_fill(boxes[:, :, :-1].isnan().any(-1), torch.nan)
        objects = Objects(boxes, sure, iou, logits.masked_fill(~there[..., None, None], NOTHING))
        whole, quality = union(objects)
        return Prediction(_beside_background(whole, absent), prompts, quality=quality, objects=objects)

    def _with_dark_objects(self, logits: Tensor, picture: Tensor, boxes: Tensor, frame: SquareFrame) -> Tensor:
        """Mean of the probabilities of masks (B, K, h, w) and of the dark objects in their boxes, as logits."""
        mixed = logits.clone()
        own = frame.crop(mixed)
        found = dark_masks(picture, boxes, own.shape[-2:])
        mean = (1 - self.dark_object_weight) * own.sigmoid() + self.dark_object_weight * found.sigmoid()
        own.copy_(torch.where(found.isnan(), own, mean.logit(eps=1e-6)))
        return mixed

    def _decode(
        self,
        embedding: Tensor,
        prompts: Prompts,
        classes: Sequence[int] | None = None,
        wanted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoU, (B, K, h, w) and (B, K); (B, K+1, h, w) with `joint`.

        With `wanted` (B, K, S), which of the sets are there, the prompts are those of K * S sets, (B, K * S, h, w) and
        (B, K * S). CPUs decode no other; elsewhere that would have to be read back.
        """
        batch, sets = embedding.shape[0], len(self.prompt_embedding)
        each = 1 if wanted is None else wanted.shape[2]  # sets of a class
        rows = torch.arange(batch * sets * each, device=embedding.device)
        asked = [index - 1 for index in classes] if classes is not None and self.classes_alone else None
        if asked is not None:
            rows = rows.reshape(batch, sets, each)[:, asked].flatten()
        windows = self.windows and wanted is not None and not self.training and not in_graph()
        if wanted is not None and (windows or may_read_back(wanted)):
            rows = rows[wanted.flatten()[rows]]
        tokens, there = set_tokens(self.sam, prompts, batch * sets * each)
        small = self._small(prompts)[rows] if windows else torch.zeros_like(rows, dtype=torch.bool)
        parts = []
        for near, chosen in ((False, rows[~small]), (True, rows[small])) if windows else ((False, rows),):
            decode = self._decoding(embedding, prompts, chosen, each, near)
            if not windows or len(chosen):
                parts.append((chosen, *decode_sets(decode, tokens[chosen], there[chosen])))
        rows, masks, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        if rows.shape[0] < tokens.shape[0] or windows:
            masks = masks.new_full((len(tokens), *masks.shape[1:]), torch.nan).index_copy(0, rows, masks)
            scores = scores.new_full((len(tokens), *scores.shape[1:]), torch.nan).index_copy(0, rows, scores)
        if wanted is not None:
            scores = scores.masked_fill(~wanted.reshape(-1, 1), torch.nan)
        return masks.reshape(batch, -1, *masks.shape[-2:]), scores.reshape(batch, -1)

    def _decoding(
        self, embedding: Tensor, prompts: Prompts, rows: Tensor, each: int, near: bool
    ) -> Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]:
        """What decodes some of the prompt sets `rows` in batches that fit memory, for `decode_sets`."""
        if in_graph():  # which holds for any number of sets
            return lambda chosen, sparse, there: self._decode_rows(
                embedding, prompts, rows[chosen], sparse, there, each, near
            )
        cells = (self.sam.grid // 2 if near else self.sam.grid) ** 2
        step = max(1, SETS_OF_CELLS // max(1, cells))

        def decode(chosen: Tensor, sparse: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
            parts = []
            for some in (slice(start, start + step) for start in range(0, max(1, len(chosen)), step)):
                given = sparse[some], None if valid is None else valid[some]
                parts.append(self._decode_rows(embedding, prompts, rows[chosen[some]], *given, each, near))
            masks, scores = zip(*parts, strict=True)
            return torch.cat(masks), torch.cat(scores)

        return decode

    def _small(self, prompts: Prompts) -> Tensor:
        """Which prompt sets (n,) have a box that a window holds with what is around it."""
        boxes = cast(Tensor, prompts.box_xyxy).flatten(0, 1)
        sides = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
        return (sides <= self.image_size / 8) & (self.sam.grid >= 8)  # NaN is not

    def _decode_rows(
        self,
        embedding: Tensor,
        prompts: Prompts,
        rows: Tensor,
        sparse: Tensor,
        there: Tensor | None,
        each: int,
        near: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoU of some prompt sets, (image * K + class) * `each` + object; `near` in windows."""
        count = len(self.prompt_embedding)
        images, sets = rows // (count * each), rows // each % count
        every = count * each == 1 and images.shape[0] == embedding.shape[0]  # then row n has image n
        tokens = self.sam.output_tokens().repeat(sets.shape[0], 1, 1)  # (n, 1 + M, 256)
        tokens = torch.cat([tokens[:, :1], tokens[:, 1:] + self.class_token[sets][:, None]], dim=1)
        dense = self._dense(prompts, rows, sets)
        if near:
            return self._in_windows(embedding, prompts, rows, sparse, dense, tokens, images, there)
        output = self.sam.decode(embedding, sparse, dense, tokens=tokens, images=None if every else images, there=there)
        heads = self.num_classes + 1 if self.joint else 1
        masks = output.picture(self.calibration(self.sam.hyper(output.mask_tokens[:, :heads]), output.features))
        return masks, self.sam.iou(output)[:, 1:heads] if self.joint else self.sam.iou(output)[:, :1]

    def _in_windows(
        self,
        embedding: Tensor,
        prompts: Prompts,
        rows: Tensor,
        sparse: Tensor,
        dense: Tensor,
        tokens: Tensor,
        images: Tensor,
        there: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Masks and predicted IoU of prompt sets which see a window round their box; outside of it there is nothing."""
        grid, side = self.sam.grid, self.sam.grid // 2
        boxes = cast(Tensor, prompts.box_xyxy).flatten(0, 1)[rows]
        middle = (boxes[:, :2] + boxes[:, 2:]).flip(-1) / 2 * grid / self.image_size  # row and column, in cells
        corners = (middle - side / 2).round().long().clamp(0, grid - side)
        output = self.sam.decode_windows(
            embedding, sparse, corners, side, dense=dense, tokens=tokens, images=images, there=there
        )
        seen = output.picture(self.calibration(self.sam.hyper(output.mask_tokens[:, :1]), output.features))
        masks = seen.new_full((len(rows), 1, 4 * grid, 4 * grid), ABSENT_LOGIT)
        for mask, window, (row, column) in zip(masks, seen, (4 * corners).tolist(), strict=True):
            mask[:, row : row + 4 * side, column : column + 4 * side] = window
        return masks, self.sam.iou(output)[:, :1]

    def _dense(self, prompts: Prompts, rows: Tensor, sets: Tensor) -> Tensor:
        dense = self.prompt_embedding[sets][..., None, None]  # (n, 256, 1, 1), the same at all cells
        if prompts.mask is None:
            return dense
        mask = prompts.mask.flatten(0, 1)[rows][:, None]  # (n, 1, 4g, 4g)
        given = ~mask.isnan().flatten(1).any(1)
        return torch.where(given[:, None, None, None], self.sam.mask_dense(mask.nan_to_num()), dense)


def _beside_background(logits: Tensor, absent: Tensor | None) -> Tensor:
    """Logits of the classes (B, K, h, w), ABSENT_LOGIT where (B, K) absent, after background's, 0."""
    if absent is not None:
        logits = logits.masked_fill(absent[..., None, None], ABSENT_LOGIT)
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def _several(objects: str | Sequence[str], num_classes: int) -> list[bool]:
    """Which classes have all of their objects."""
    words = [objects] * num_classes if isinstance(objects, str) else list(objects)
    if len(words) != num_classes or not set(words) <= set(OBJECTS):
        raise ValueError(
            f"objects must be one of {', '.join(OBJECTS)}, or such a word for each of {num_classes} classes, got "
            f"{objects!r}."
        )
    return [word == "all" for word in words]


def _give_tokens(sam: SAM, count: int) -> None:
    """Give the decoder `count` mask tokens with hypernetworks of their own, from SAM's where it has them."""
    decoder = sam.mask_decoder
    sources = [index if index < decoder.num_mask_tokens else 0 for index in range(count)]
    decoder.mask_tokens = nn.Embedding.from_pretrained(decoder.mask_tokens.weight[sources].clone(), freeze=True)
    heads = decoder.output_hypernetworks_mlps
    decoder.output_hypernetworks_mlps = nn.ModuleList([copy.deepcopy(heads[index]) for index in sources])
    decoder.num_mask_tokens = count


def _train_decoder(sam: SAM, part: str, heads: int) -> None:
    """Let a part of the decoder train; of the hypernetworks the first `heads`, which are read."""
    decoder = sam.mask_decoder
    trained: list[nn.Module] = []
    if part != "frozen":
        trained = [decoder.iou_token, decoder.mask_tokens, decoder.output_upscaling]
        trained += decoder.output_hypernetworks_mlps[:heads]
    if part == "all":
        if any(isinstance(module, LoRALinear) for module in decoder.transformer.modules()):
            raise ValueError("decoder='all' trains the transformer itself; set lora_rank=0.")
        trained.append(decoder.transformer)
    for module in trained:
        module.requires_grad_(True)


def _with_area(prompts: Prompts) -> Prompts:
    """A detector's prompts without its boxes of no area, of which it is told where they may be read back."""
    boxes = prompts.box_xyxy if prompts.object_boxes is None else prompts.object_boxes
    if boxes is not None and may_read_back(boxes):
        tell_empty_boxes(Prompts(object_boxes=boxes) if boxes.ndim == 4 else Prompts(box_xyxy=boxes))
    return prompts.as_floats()


def _with_centres(prompts: Prompts) -> Prompts:
    """The same prompts with a positive point at the centre of each box."""
    boxes = prompts.box_xyxy
    if boxes is None:
        return prompts
    centres = ((boxes[..., :2] + boxes[..., 2:]) / 2 - 0.5)[:, :, None]  # (B, K, 1, 2)
    ones = torch.ones_like(centres[..., 0])
    if prompts.points_xy is None or prompts.point_labels is None:
        return replace(prompts, points_xy=centres, point_labels=ones)
    return replace(
        prompts,
        points_xy=torch.cat([prompts.points_xy, centres], dim=2),
        point_labels=torch.cat([prompts.point_labels.to(ones), ones], dim=2),
    )
