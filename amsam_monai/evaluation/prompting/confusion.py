"""Prompt and output confusion matrices (AI-SAM, arXiv:2312.03119, section 3).

Both have a row per prompted class and a column per class of the ground truth, background ("None") first. The prompt
confusion matrix (PCM) compares features: how alike is class i to what the prompt of class j stands for? Its diagonal is
the true semantic similarity (TSS), the rest the false one (FSS). The output confusion matrix (OCM) compares masks: how
much of class i does the mask cover that SAM makes of the prompt of class j?
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amsam_monai.evaluation.prompting.prompters import Prompter
from amsam_monai.framing import SquareFrame
from amsam_monai.keys import IGNORE_INDEX
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.prompt_sets import group_by_length, set_tokens
from amsam_monai.networks.sam import SAM


@dataclass(frozen=True)
class Confusion:
    """Matrices averaged over images, a row per prompt and a column per class.

    Args:
        pcm: mean over images, NaN where there was none.
        ocm: likewise.
        images: how many.

    Shape: pcm and ocm (C, C).
    """

    pcm: np.ndarray
    ocm: np.ndarray
    images: int

    @property
    def correlation(self) -> float:
        """Pearson's correlation of PCM and OCM over all entries (Proposition 1); NaN where one is constant."""
        return correlation(self.pcm, self.ocm)


def correlation(pcm: np.ndarray, ocm: np.ndarray) -> float:
    """Pearson's correlation of the entries that both have; NaN for fewer than three, or a constant matrix."""
    first, second = pcm.ravel(), ocm.ravel()
    there = ~(np.isnan(first) | np.isnan(second))
    first, second = first[there], second[there]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def semantic_similarity(features: Tensor, prompt: Tensor) -> Tensor:
    """Mean over a class's features of the cosine similarity to the most similar feature of the prompt.

    It never falls when a feature is added to the prompt (Proposition 2). The paper shows values from 0 to 1; cosines
    below 0 count as 0.

    Shape: features (M, D), prompt (P, D) -> scalar; NaN where one has no rows.
    """
    if len(features) == 0 or len(prompt) == 0:
        return features.new_tensor(torch.nan)
    similarity = F.normalize(features, dim=-1) @ F.normalize(prompt, dim=-1).T  # (M, P)
    return similarity.amax(dim=1).clamp(min=0).mean()


def prompt_confusion(embedding: Tensor, cells: Tensor, prompts: Sequence[Tensor]) -> Tensor:
    """PCM of one image.

    Args:
        embedding: of the image.
        cells: which cells of the embedding belong to each class.
        prompts: features of each class's prompt.

    Shape: embedding (D, g, g), cells (C, g, g) boolean, prompts C of (P, D) -> (C, C), rows prompts, columns classes.
    """
    features = embedding.flatten(1).T  # (g * g, D)
    classes = [features[mask.flatten()] for mask in cells]
    return torch.stack([torch.stack([semantic_similarity(found, prompt) for found in classes]) for prompt in prompts])


def output_confusion(predicted: Tensor, masks: Tensor) -> Tensor:
    """OCM of one image: the share of each class that the mask of each prompt covers.

    Args:
        predicted: mask of each class's prompt; NaN for a class without one.
        masks: the ground truth.

    Shape: predicted (C, H, W) 0, 1 or NaN, masks (C, H, W) boolean -> (C, C), rows prompts, columns classes.
    """
    truth = masks.flatten(1).to(predicted.dtype)  # (C, H * W)
    covered = predicted.flatten(1) @ truth.T
    return covered / truth.sum(dim=1)  # 0 / 0 is NaN: a class that is not there


def prompt_features(embedding: Tensor, prompts: Prompts, frame: SquareFrame) -> list[Tensor]:
    """What each class's prompt stands for: the cell under each positive point, the mean of the cells in a box.

    Args:
        embedding: of the image.
        prompts: of one image, in pixels of the square.
        frame: how the image lies in the square.

    Shape: embedding (D, g, g), prompts (1, C, ...) -> C of (P, D).
    """
    grid = embedding.shape[-1]
    scale = grid / frame.size
    per_class: list[list[Tensor]] = []
    if prompts.points_xy is not None and prompts.point_labels is not None:
        for points, signs in zip(prompts.points_xy[0], prompts.point_labels[0], strict=True):
            used = points[~points.isnan().any(-1) & (signs > 0)]
            places = ((used + 0.5) * scale).long().clamp(0, grid - 1)  # (P, 2) column, row
            per_class.append(list(embedding[:, places[:, 1], places[:, 0]].T))
    if prompts.box_xyxy is not None:
        per_class = per_class or [[] for _ in prompts.box_xyxy[0]]
        for found, box in zip(per_class, prompts.box_xyxy[0], strict=True):
            if not box.isnan().any():
                found.append(_box_mean(embedding, box * scale))
    return [torch.stack(found) if found else embedding.new_empty(0, embedding.shape[0]) for found in per_class]


def _box_mean(embedding: Tensor, box: Tensor) -> Tensor:
    """Mean of the cells whose centres lie in a box, in cells; of the one nearest to its middle where none does."""
    height, width = embedding.shape[-2:]
    inside_x = torch.arange(width) + 0.5
    inside_y = torch.arange(height) + 0.5
    columns = (inside_x >= box[0]) & (inside_x <= box[2])
    rows = (inside_y >= box[1]) & (inside_y <= box[3])
    if not (columns.any() and rows.any()):
        middle = ((box[:2] + box[2:]) / 2).long()
        return embedding[:, middle[1].clamp(0, height - 1), middle[0].clamp(0, width - 1)]
    return embedding[:, rows][:, :, columns].mean(dim=(1, 2))


def class_cells(label: Tensor, num_classes: int, frame: SquareFrame, grid: int) -> Tensor:
    """Cells of the embedding whose centre lies in each class, background first; padding belongs to none.

    Shape: label (H, W) -> (K+1, grid, grid) boolean.
    """
    square = frame.label(label[None, None], fill=IGNORE_INDEX)
    small = F.interpolate(square.float(), (grid, grid), mode="nearest-exact")[0, 0].long()
    return small == torch.arange(num_classes + 1)[:, None, None]


@torch.no_grad()
def prompted_masks(sam: SAM, embedding: Tensor, prompts: Prompts, frame: SquareFrame) -> Tensor:
    """SAM's mask of each class's prompt, at the image's size; NaN for a class without a prompt.

    Args:
        sam: prompt encoder and mask decoder; its single-mask output is used.
        embedding: of the image.
        prompts: of one image, in pixels of the square.
        frame: how the image lies in the square.

    Shape: embedding (1, 256, g, g), prompts (1, C, ...) -> (C, H, W), 0, 1 or NaN.
    """
    part = prompts.box_xyxy if prompts.points_xy is None else prompts.points_xy
    if part is None:
        raise ValueError("prompts must have points or boxes, got neither.")
    masks = torch.full((part.shape[1], frame.height, frame.width), torch.nan)
    for rows, sparse in group_by_length(*set_tokens(sam, prompts, part.shape[1])):
        if not sparse.shape[1]:
            continue
        output = sam.decode(embedding, sparse, images=torch.zeros_like(rows))
        masks[rows] = (frame.restore(sam.masks(output)[:, :1])[:, 0] > 0).float()
    return masks


@torch.no_grad()
def confusion_matrices(
    sam: SAM,
    samples: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    prompters: Mapping[str, Prompter],
    *,
    resize: str = "pad",
) -> dict[str, Confusion]:
    """PCM and OCM of kinds of prompts, averaged over images.

    Args:
        sam: on the CPU, in evaluation mode.
        samples: image and label of each.
        num_classes: K, foreground classes.
        prompters: name and prompter of each kind.
        resize: how images come into SAM's square, see `SquareFrame`.

    Shape: samples of (1, 3, H, W) in [0, 1] and (H, W) class indices.

    Raises:
        ValueError: there is no sample.
    """
    sums = {name: _Mean(num_classes + 1) for name in prompters}
    for number, (image, label) in enumerate(samples):
        frame = SquareFrame(image.shape[-2], image.shape[-1], sam.image_size, resize)
        embedding = sam.encode(frame.image(image, sam.fill))
        masks = label == torch.arange(num_classes + 1)[:, None, None]  # (C, H, W)
        cells = class_cells(label, num_classes, frame, embedding.shape[-1])
        for name, prompter in prompters.items():
            prompts = prompter(image, masks, number).map(frame.points, frame.boxes)
            pcm = prompt_confusion(embedding[0], cells, prompt_features(embedding[0], prompts, frame))
            ocm = output_confusion(prompted_masks(sam, embedding, prompts, frame), masks)
            sums[name].add(pcm, ocm)
    if not sums or next(iter(sums.values())).images == 0:
        raise ValueError("confusion matrices need at least one image and one kind of prompt, got none.")
    return {name: total.result() for name, total in sums.items()}


class _Mean:
    """Running means of both matrices, entry by entry."""

    def __init__(self, classes: int) -> None:
        self.total = np.zeros((2, classes, classes))
        self.count = np.zeros((2, classes, classes))
        self.images = 0

    def add(self, pcm: Tensor, ocm: Tensor) -> None:
        """Take in one image."""
        values = torch.stack([pcm, ocm]).double().numpy()
        self.total += np.nan_to_num(values)
        self.count += ~np.isnan(values)
        self.images += 1

    def result(self) -> Confusion:
        """The means."""
        means = np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)
        return Confusion(means[0], means[1], self.images)
