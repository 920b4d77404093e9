"""One network under several kinds of prompts: its own, and prompts simulated from the label (AI-SAM, Table 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from amsam_monai.evaluation.prompting.prompters import PointPrompter
from amsam_monai.evaluation.scoring.overlap import OverlapCounts, count_overlap, dice
from amsam_monai.keys import CASE_ID, IMAGE, LABEL
from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.networks.prompts.boxes import class_boxes
from amsam_monai.networks.prompts.class_prompts import ClassPrompts, class_presence
from amsam_monai.segment.flips import encode_flipped, segment_flipped
from amsam_monai.transforms.sam_input import three_channels

# image (1, 3, H, W), label (1, 1, H, W), number of the slice -> prompts in pixels of the image
Setting = Callable[[Tensor, Tensor, int], Prompts | None]


@dataclass(frozen=True)
class SliceAnswer:
    """What the network said of one class on one slice, beside the truth.

    Args:
        number: of the slice.
        label: class index.
        counts: voxels.
        quality: predicted.
        presence: predicted.
        points_inside: share of the class's own automatic points that lie in its mask; NaN where it is not there.
    """

    number: int
    label: int
    counts: OverlapCounts
    quality: float
    presence: float
    points_inside: float


@dataclass
class Prompted:
    """Answers of all settings.

    Args:
        answers: by setting.
        cases: case id of each slice.
    """

    answers: dict[str, list[SliceAnswer]] = field(default_factory=lambda: defaultdict(list))
    cases: list[str] = field(default_factory=list)

    def volume_dice(self, setting: str) -> dict[int, dict[str, float]]:
        """Strict Dice of each class and case, over all slices of the case; NaN where both are empty."""
        sums: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for answer in self.answers[setting]:
            total = sums[answer.label, self.cases[answer.number]]
            for place, part in enumerate((answer.counts.both, answer.counts.only_pred, answer.counts.only_label)):
                total[place] += part
        scores: dict[int, dict[str, float]] = defaultdict(dict)
        for (label, case), total in sorted(sums.items()):
            scores[label][case] = dice(OverlapCounts(*total))
        return dict(scores)


def run_settings(
    network: Any,
    slices: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Setting],
    *,
    flips: Sequence[str] = (),
    encode: Callable[[Tensor], Any] | None = None,
    progress: Callable[[Sequence[Any]], Any] = iter,
) -> Prompted:
    """Answers of `network` to every setting on every slice; an image is encoded once for all settings.

    Args:
        network: an AI-SAM, or any system that takes the settings' prompts.
        slices: "image" (1 or 3, H, W) in [0, 1], "label" (1, H, W) and "case_id"; its part before "_slice" is the case.
        settings: prompts by name.
        flips: see `segment_flipped`.
        encode: image (1, 3, H, W) to its embedding, say from a cache; None is the network's own.
        progress: wraps the slices, say `tqdm`.
    """
    result = Prompted()
    encode = partial(encode_flipped, encode or network.encode, flips=flips)
    for number, image, label, embeddings in _encoded(encode, slices, result, progress):
        for name, setting in settings.items():
            answer = segment_flipped(network, image, setting(image, label, number), flips=flips, embeddings=embeddings)
            result.answers[name] += _by_class(number, answer, label)
    return result


def run_one_mask_a_box(
    network: Any,
    slices: Sequence[Mapping[str, Any]],
    classes: int,
    name: str,
    *,
    progress: Callable[[Sequence[Any]], Any] = iter,
) -> Prompted:
    """Answers of a network of one class to the true box of each class in turn; masks may overlap, as SAM's do.

    Args:
        network: of one foreground class.
        slices: see `run_settings`.
        classes: K, foreground classes of the labels.
        name: of the answers.
        progress: see `run_settings`.
    """
    result = Prompted()
    for number, image, label, embedding in _encoded(network.encode, slices, result, progress):
        boxes = class_boxes(label, classes)
        for k in range(1, classes + 1):
            mask = label == k
            found = torch.zeros_like(mask)
            if mask.any():
                found = network.segment(image, Prompts(box_xyxy=boxes[:, k - 1 : k]), embedding).logits[:, 1:] > 0
            counts = count_overlap(found.numpy(), mask.numpy())
            result.answers[name].append(SliceAnswer(number, k, counts, float("nan"), float("nan"), float("nan")))
    return result


def _encoded(
    encode: Callable[[Tensor], Any],
    slices: Sequence[Mapping[str, Any]],
    result: Prompted,
    progress: Callable[[Sequence[Any]], Any],
) -> Iterator[tuple[int, Tensor, Tensor, Any]]:
    """Number, image, label and embedding of each slice, whose case is noted in `result`."""
    for number, sample in enumerate(progress(slices)):
        image, label = _image_and_label(sample)
        result.cases.append(str(sample[CASE_ID]).split("_slice")[0])
        with torch.no_grad():
            embedding = encode(image)
        yield number, image, label, embedding


def _image_and_label(sample: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Image (1, 3, H, W) in [0, 1] and label (1, 1, H, W)."""
    image = three_channels(torch.as_tensor(sample[IMAGE]).float()).clamp(0, 1)[None]
    return image, torch.as_tensor(sample[LABEL])[None].long()


def _by_class(number: int, answer: Segmentation, label: Tensor) -> Iterator[SliceAnswer]:
    found = answer.logits.argmax(1)[0].numpy()
    truth = label[0, 0].numpy()
    for k in range(1, answer.logits.shape[1]):
        mask = truth == k
        quality, presence = (
            float("nan") if part is None else float(part[0, k - 1]) for part in (answer.quality, answer.presence)
        )
        inside = _inside(answer.prompts, k, mask)
        yield SliceAnswer(number, k, count_overlap(found == k, mask), quality, presence, inside)


def _inside(prompts: Prompts, k: int, mask: np.ndarray) -> float:
    """Share of the positive points of class k in its mask."""
    if prompts.points_xy is None or prompts.point_labels is None or not mask.any():
        return float("nan")
    xy = prompts.points_xy[0, k - 1][prompts.point_labels[0, k - 1] > 0]
    pixels = xy[~xy.isnan().any(-1)].round().long().numpy()
    if not len(pixels):
        return float("nan")
    rows, columns = pixels[:, 1].clip(0, mask.shape[0] - 1), pixels[:, 0].clip(0, mask.shape[1] - 1)
    return float(mask[rows, columns].mean())


def true_presence(image: Tensor, label: Tensor, number: int, *, classes: int) -> ClassPrompts:
    """Which classes are there, from the label (the paper's "gt label")."""
    return ClassPrompts(present=class_presence(label, classes))


def true_boxes(image: Tensor, label: Tensor, number: int, *, classes: int) -> ClassPrompts:
    """The box of each class that is there, from the label (the paper's "gt box")."""
    return ClassPrompts(box_xyxy=class_boxes(label, classes), present=class_presence(label, classes))


def random_points(
    image: Tensor, label: Tensor, number: int, *, classes: int, count: int = 1, seed: int = 0, alone: bool = False
) -> ClassPrompts:
    """Points drawn from the mask of each class that is there and of background (the paper's "random point").

    Args:
        image: (1, 3, H, W).
        label: (1, 1, H, W) class indices.
        number: of the slice; another number draws others.
        classes: K, foreground classes.
        count: points per class.
        seed: of the draws.
        alone: in place of the network's own points, rather than beside them.
    """
    masks = label[0] == torch.arange(classes + 1)[:, None, None]  # (C, H, W)
    drawn = PointPrompter(count, seed=seed)(image, masks, number).points_xy  # (1, C, N, 2)
    assert drawn is not None  # a PointPrompter gives points
    background = drawn[:, :1].expand(-1, classes, -1, -1)  # against every class: for background
    xy = torch.cat([drawn[:, 1:], background], dim=2)
    labels = torch.cat([torch.ones_like(drawn[:, 1:, :, 0]), torch.zeros_like(background[..., 0])], dim=2)
    return ClassPrompts(xy, labels, present=class_presence(label, classes), automatic=not alone)


def missed_middle(found: np.ndarray, mask: np.ndarray) -> tuple[int, int] | None:
    """The pixel (x, y) deepest inside what a prediction misses of a mask, or, where nothing is missed, None.

    Shape: found and mask (H, W), bool.
    """
    missed = np.pad(mask & ~found, 1)
    if not missed.any():
        return None
    row, column = np.unravel_index(distance_transform_edt(missed).argmax(), missed.shape)
    return int(column) - 1, int(row) - 1


def click_gain(
    network: Any, slices: Sequence[Mapping[str, Any]], answers: Sequence[SliceAnswer]
) -> tuple[float, float]:
    """Mean Dice of an object before and after one positive click in the middle of what was missed of it.

    Args:
        network: an AI-SAM.
        slices: as `run_settings` takes them.
        answers: the automatic answers to correct, each of a class that is on its slice.
    """
    before, after = [], []
    for answer in answers:
        image, label = _image_and_label(slices[answer.number])
        mask = label[0, 0].numpy() == answer.label
        first = network.segment(image).logits.argmax(1)[0].numpy() == answer.label
        place = missed_middle(first, mask)
        if place is None:
            continue
        xy = torch.full((1, network.num_classes, 1, 2), torch.nan)
        xy[0, answer.label - 1, 0] = torch.tensor(place, dtype=torch.float32)
        second = network.segment(image, ClassPrompts(xy, torch.ones_like(xy[..., 0])))
        before.append(dice(count_overlap(first, mask)))
        after.append(dice(count_overlap(second.logits.argmax(1)[0].numpy() == answer.label, mask)))
    return float(np.mean(before)), float(np.mean(after))
