"""Labelled pictures as training samples that stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from amsam_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

Sample = dict[str, Any]


def picture_samples(
    datalist: Sequence[Mapping[str, Any]],
    load: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    longest: int | None = None,
    progress: bool = True,
) -> list[Sample]:
    """Pictures in memory as float16 images and uint8 labels, the large ones made smaller, so that none is read twice.

    Args:
        datalist: cases with "image" and "label".
        load: reads a case and scales its intensity: "image" (3, H, W) in [0, 1] and "label" (1, H, W).
        longest: most pixels of the longest side, in height and width; None keeps the pictures as they are. What draws
            random views of the samples does not smooth what it makes smaller, so a little above the network's square
            is right.
        progress: show a progress bar.

    Returns:
        Samples of "image" (3, h, w), "label" (1, h, w), "case_id" and "patient_id".

    Raises:
        ValueError: no picture.
    """
    bar = tqdm(datalist, desc="pictures", unit="picture", disable=not progress, leave=False)
    samples = [_sample(case, load(case), longest) for case in bar]
    if not samples:
        raise ValueError("there must be at least one picture to train on, got none.")
    return samples


def _sample(case: Mapping[str, Any], loaded: Mapping[str, Any], longest: int | None) -> Sample:
    image, label = (torch.as_tensor(loaded[key]).as_subclass(torch.Tensor) for key in (IMAGE, LABEL))
    rows, columns = image.shape[-2:]
    if longest is not None and longest < max(rows, columns):
        share = longest / max(rows, columns)
        size = max(1, round(rows * share)), max(1, round(columns * share))
        image = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        label = F.interpolate(label[None].float(), size, mode="nearest-exact")[0]
    return {
        str(IMAGE): image.half().contiguous(),
        str(LABEL): label.to(torch.uint8).contiguous(),
        CASE_ID: case[CASE_ID],
        PATIENT_ID: case.get(PATIENT_ID, case[CASE_ID]),
    }
