"""Slices of labelled volumes as training samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from amsam_monai.data.slices import SliceView
from amsam_monai.keys import CASE_ID, IMAGE, LABEL, PATIENT_ID

logger = logging.getLogger(__name__)

Sample = dict[str, Any]


def slice_samples(
    datalist: Sequence[Mapping[str, Any]],
    load: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    *,
    axis: int | str = "thickest",
    orientation: str = "radiological",
    every: int = 1,
    keep_empty: bool = True,
    neighbours: int = 0,
    progress: bool = True,
) -> list[Sample]:
    """The slices of volumes, as a network sees them at inference, in memory as float16 images and uint8 labels.

    Args:
        datalist: cases with "image" and "label" volumes.
        load: reads a case and scales its intensity: "image" (1, I, J, K) in [0, 1] and "label" (1, I, J, K).
        axis: see `SliceView.of`; the same as at inference.
        orientation: see `SliceView.of`.
        every: keep every n-th slice, say 4 of thin CT slices that look alike.
        keep_empty: keep slices without foreground.
        neighbours: slices before and after that are channels of the image too, see `SliceInferer`.
        progress: show a progress bar.

    Returns:
        Samples of "image" (2 neighbours + 1, H, W), "label" (1, H, W), "case_id", "patient_id" and "slice".

    Raises:
        ValueError: `every` below 1, `neighbours` below 0, or no slice is left.
    """
    if every < 1 or neighbours < 0:
        raise ValueError(f"every must be at least 1 and neighbours at least 0, got {every} and {neighbours}.")

    def of(case: Mapping[str, Any]) -> Iterator[Sample]:
        return _slices(case, load(case), axis, orientation, every, keep_empty, neighbours)

    bar = tqdm(datalist, desc="slices", unit="volume", disable=not progress, leave=False)
    samples = [sample for case in bar for sample in of(case)]
    if not samples:
        raise ValueError(f"no slice is left of {len(datalist)} volumes; set keep_empty=True, or check the labels.")
    logger.info("%d slices of %d volumes", len(samples), len(datalist))
    return samples


def _slices(
    case: Mapping[str, Any],
    loaded: Mapping[str, Any],
    axis: int | str,
    orientation: str,
    every: int,
    keep_empty: bool,
    neighbours: int,
) -> Iterator[Sample]:
    known = loaded[IMAGE].meta.get("spacing_mm") is not None
    affine = np.asarray(loaded[IMAGE].affine, dtype=np.float64) if known else None
    view = SliceView.of(loaded[IMAGE].shape[1:], affine, axis=axis, orientation=orientation)
    image, label = (torch.as_tensor(loaded[key]).as_subclass(torch.Tensor) for key in (IMAGE, LABEL))
    for index in range(0, view.depth, every):
        mask = view.take(label, index, index + 1)[:, 0]
        if keep_empty or bool(mask.any()):
            around = [min(max(index + step, 0), view.depth - 1) for step in range(-neighbours, neighbours + 1)]
            yield {
                str(IMAGE): torch.cat([view.take(image, one, one + 1)[:, 0] for one in around]).half().contiguous(),
                str(LABEL): mask.to(torch.uint8).contiguous(),
                CASE_ID: f"{case[CASE_ID]}_slice{index:03}",
                PATIENT_ID: case.get(PATIENT_ID, case[CASE_ID]),
                "slice": index,
            }
