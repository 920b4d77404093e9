"""What trainers and evaluators hand to a system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch
from torch import Tensor

from amsam_monai import keys
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.class_prompts import ClassPrompts, class_presence


class PrepareSystemBatch(PrepareBatch):
    """Image, label, and the system's keyword arguments: cached embedding, prompts, resolution.

    Args:
        low_res: ask for logits at the decoder's own resolution, as training does (wrap the loss in `LowResLoss`).
        boxes: makes boxes (B, K, 4) of the label (B, 1, H, W), for a batch that brings none; see `SimulatedBoxes`.
        objects: makes boxes (B, K, 4), and the label that they mean, of the label (B, 1, H, W), in place of `boxes`;
            see `SimulatedObjects`.
        use: which of the batch's extra keys go to the network, where the batch has them.
        presence: K; tell the network which of K foreground classes the label has (`ClassPrompts.present`), so that
            absent ones prompt against nothing, as at inference behind AI-SAM's gate. 0 makes none known.
        keep_meta: pass MONAI's meta tensors on, as inverting and saving a prediction need; default: unless `low_res`.

    Raises:
        ValueError: `use` names a key that is no input of a system.
        TypeError: at the call, the batch is no dictionary.
    """

    USABLE = (keys.EMBEDDING, keys.BOX, keys.POINTS)

    def __init__(
        self,
        *,
        low_res: bool = False,
        boxes: Callable[[Tensor], Tensor] | None = None,
        objects: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
        use: Sequence[str] = USABLE,
        presence: int = 0,
        keep_meta: bool | None = None,
    ) -> None:
        unknown = sorted(set(use) - set(self.USABLE))
        if unknown:
            raise ValueError(f"use must be among {self.USABLE}, got {unknown}.")
        self.low_res = low_res
        self.boxes, self.objects = boxes, objects
        self.use = tuple(use)
        self.presence = presence
        self.keep_meta = not low_res if keep_meta is None else keep_meta

    def __call__(
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, tuple[()], dict[str, Any]]:
        """(image, label or None, no positional arguments, keyword arguments of `forward`)."""
        if not isinstance(batchdata, dict):
            raise TypeError(f"batch must be a dictionary with the key 'image', got {type(batchdata).__name__}.")
        if self.objects is not None and keys.LABEL in batchdata and keys.BOX not in batchdata:
            label = batchdata[keys.LABEL]  # before it goes to the device
            box, label = self.objects(label.as_tensor() if isinstance(label, MetaTensor) else label)
            batchdata = {**batchdata, keys.BOX: box, keys.LABEL: label}

        def part(key: str) -> Tensor | None:
            value = batchdata.get(key)
            if value is None:
                return None
            value = value.to(device=device, non_blocking=non_blocking, **kwargs)
            return value.as_tensor() if isinstance(value, MetaTensor) and not self._carries_meta(key) else value

        image = part(keys.IMAGE)
        if image is None:
            raise ValueError(f"batch must have the key 'image', got {sorted(batchdata)}.")
        arguments: dict[str, Any] = {"low_res": self.low_res}
        if keys.EMBEDDING in self.use and (embedding := part(keys.EMBEDDING)) is not None:
            arguments["embedding"] = embedding.to(image.dtype)  # the cache holds float16
        prompts = self._prompts(part)
        if prompts is not None:
            arguments["prompts"] = prompts
        return image, part(keys.LABEL), (), arguments

    def _carries_meta(self, key: str) -> bool:
        return self.keep_meta and key in (keys.IMAGE, keys.LABEL)

    def _prompts(self, part: Callable[[str], Tensor | None]) -> Prompts | None:
        box = part(keys.BOX) if keys.BOX in self.use else None
        if box is None and self.boxes is not None and (label := part(keys.LABEL)) is not None:
            box = self.boxes(label)
        points = part(keys.POINTS) if keys.POINTS in self.use else None
        labels = None if points is None else part(keys.POINT_LABELS)
        label = part(keys.LABEL) if self.presence else None
        if label is not None:
            return ClassPrompts(points, labels, box, present=class_presence(label, self.presence))
        if box is None and points is None:
            return None
        return Prompts(points_xy=points, point_labels=labels, box_xyxy=box)
