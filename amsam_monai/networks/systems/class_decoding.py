"""Masks of classes that prompt against each other: one decoding a class, background too."""

from __future__ import annotations

import torch
from torch import Tensor

from amsam_monai.networks.prompts.class_prompts import has_mask
from amsam_monai.networks.prompts.prompt_sets import decode_sets, may_read_back
from amsam_monai.networks.sam import SAM
from amsam_monai.networks.sam.mask_calibration import MaskCalibration

# Logit of a class that is not in the image, and of every class outside its box.
SUPPRESSED_LOGIT = -1e4


def decode_classes(
    sam: SAM,
    calibration: MaskCalibration,
    embedding: Tensor,
    tokens: Tensor,
    there: Tensor,
    dense: Tensor | None,
    shown: Tensor,
) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoU of the classes that are shown; SUPPRESSED_LOGIT and NaN of the others.

    CPUs decode none that is not shown; elsewhere all are decoded, see `decode_sets`.

    Args:
        sam: whose decoder.
        calibration: makes masks of its tokens and features.
        embedding: of the images.
        tokens: prompt tokens of each class.
        there: which of them are there.
        dense: dense prompt of each class; None is "no mask" for all.
        shown: which classes are wanted; at least one of each image.

    Shape: embedding (B, 256, g, g), tokens (B, C, T, 256), there (B, C, T), dense (B, C, 256, g, g), shown (B, C)
        -> (B, C, 4g, 4g), (B, C).
    """
    wanted = shown.flatten()
    rows = wanted.nonzero()[:, 0] if may_read_back(wanted) else torch.arange(wanted.shape[0], device=wanted.device)

    def decode(chosen: Tensor, sparse: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        places = rows[chosen]  # image * C + class
        of_rows = None if dense is None else dense.flatten(0, 1)[places]
        output = sam.decode(embedding, sparse, of_rows, images=places // shown.shape[1], there=valid)
        masks = calibration(sam.hyper(output.mask_tokens[:, :1]), output.features)
        return output.picture(masks)[:, 0], sam.iou(output)[:, 0]

    masks, iou = decode_sets(decode, tokens.flatten(0, 1)[rows], there.flatten(0, 1)[rows])
    if rows.shape[0] < wanted.shape[0]:
        masks = masks.new_full((len(wanted), *masks.shape[1:]), SUPPRESSED_LOGIT).index_copy(0, rows, masks)
        iou = iou.new_full((len(wanted),), torch.nan).index_copy(0, rows, iou)
    logits, iou = masks.unflatten(0, shown.shape), iou.unflatten(0, shown.shape)
    return logits.where(shown[..., None, None], SUPPRESSED_LOGIT), iou.where(shown, torch.nan)


def class_dense(sam: SAM, made: Tensor | None, mask: Tensor | None, batch: int, classes: int) -> Tensor | None:
    """Dense prompts: a person's mask, else what was made for the class, and "no mask" for background.

    Args:
        sam: whose prompt encoder.
        made: by a dense prompter, class after class; None is "no mask".
        mask: a person's, NaN throughout where a class has no mask; None where no class has one.
        batch: B.
        classes: K.

    Shape: made (B, K*256, g, g), mask (B, K, 4g, 4g) -> (B, C, 256, g, g), or None where all are "no mask".
    """
    if mask is None and made is None:
        return None
    empty = sam.no_mask_dense(batch)[:, None]
    dense = empty.expand(-1, classes, -1, -1, -1) if made is None else made.unflatten(1, (classes, -1))
    if mask is not None:
        drawn = sam.mask_dense(mask.nan_to_num().flatten(0, 1)[:, None]).unflatten(0, dense.shape[:2])
        dense = torch.where(has_mask(mask)[..., None, None, None], drawn, dense)
    return torch.cat([empty, dense], dim=1)
