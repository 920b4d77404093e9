"""Pictures of what a network predicts, beside what it should."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from monai.networks.utils import eval_mode
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor, nn

from amsam_monai import keys
from amsam_monai.handlers.checkpoints import unwrap

logger = logging.getLogger(__name__)

# one colour per foreground class, told apart by colour-blind eyes too (Okabe and Ito)
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def draw_overlay(
    image: Tensor,
    *,
    label: Tensor | None = None,
    pred: Tensor | None = None,
    box_xyxy: Tensor | None = None,
    points_xy: Tensor | None = None,
    point_labels: Tensor | None = None,
    side: int = 512,
) -> Image.Image:
    """A picture: prediction filled and outlined in its class's colour, label outlined in white, prompts on top.

    Args:
        image: in [0, 1], one channel or three.
        label: class indices, or one channel per class.
        pred: class indices, or one channel per class (logits, probabilities or one-hot); any size.
        box_xyxy: per class, in pixels of `image`; NaN = none.
        points_xy: per class, in pixels of `image`; NaN = none.
        point_labels: 1 positive (a filled dot), 0 negative (a ring).
        side: longest side of the picture.

    Shape: image (1 or 3, H, W), label and pred (1 or K+1, h, w), box_xyxy (K, 4), points_xy (K, N, 2),
        point_labels (K, N).

    Raises:
        ValueError: the image is not (1 or 3, H, W).
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image must have shape (1 or 3, H, W), got {tuple(image.shape)}.")
    scale = side / max(image.shape[-2:])
    rows, columns = (max(1, round(extent * scale)) for extent in image.shape[-2:])
    canvas = _pixels(image, rows, columns)
    if pred is not None:
        _paint(canvas, _class_map(pred, rows, columns))
    if label is not None:
        _outline(canvas, _class_map(label, rows, columns))
    picture = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    if box_xyxy is not None:
        _draw_boxes(pen, box_xyxy.detach().cpu() * scale)
    if points_xy is not None:
        positive = torch.ones(points_xy.shape[:2]) if point_labels is None else point_labels.cpu()
        _draw_points(pen, (points_xy.detach().cpu() + 0.5) * scale, positive)
    return picture


def _pixels(image: Tensor, rows: int, columns: int) -> np.ndarray:
    image = torch.as_tensor(image).detach().cpu().float().clamp(0, 1).expand(3, -1, -1)
    image = F.interpolate(image[None], (rows, columns), mode="bilinear", align_corners=False, antialias=True)[0]
    return (image * 255).round().permute(1, 2, 0).contiguous().numpy()  # (rows, columns, 3)


def _class_map(maps: Tensor, rows: int, columns: int) -> np.ndarray:
    maps = torch.as_tensor(maps).detach().cpu().float()
    if maps.shape[0] > 1:
        maps = F.interpolate(maps[None], (rows, columns), mode="bilinear", align_corners=False)[0]
        return maps.argmax(0).numpy()
    indices = F.interpolate(maps[None], (rows, columns), mode="nearest-exact")[0, 0].round().long()
    return indices.masked_fill(indices == keys.IGNORE_INDEX, 0).numpy()  # (rows, columns)


def _colour(index: int) -> tuple[int, int, int]:
    return COLOURS[(index - 1) % len(COLOURS)]


def _paint(canvas: np.ndarray, classes: np.ndarray) -> None:
    for index in np.unique(classes[classes > 0]):
        mask = classes == index
        edge = mask & ~binary_erosion(mask, iterations=2)
        canvas[mask] = 0.7 * canvas[mask] + 0.3 * np.array(_colour(int(index)))
        canvas[edge] = _colour(int(index))


def _outline(canvas: np.ndarray, classes: np.ndarray) -> None:
    for index in np.unique(classes[classes > 0]):
        mask = classes == index
        line = mask & ~binary_erosion(mask, iterations=2)
        canvas[binary_dilation(line)] = (0, 0, 0)  # a dark rim, so that white shows on skin and bone
        canvas[line] = (255, 255, 255)


def _draw_boxes(pen: ImageDraw.ImageDraw, boxes: Tensor) -> None:
    for index, box in enumerate(boxes.tolist(), start=1):
        if not np.isnan(box).any():
            x1, y1, x2, y2 = box
            pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=_colour(index), width=2)


def _draw_points(pen: ImageDraw.ImageDraw, points: Tensor, labels: Tensor) -> None:
    for index, (row, signs) in enumerate(zip(points.tolist(), labels.tolist(), strict=True), start=1):
        for (x, y), sign in zip(row, signs, strict=True):
            if not np.isnan([x, y]).any():
                fill = _colour(index) if sign > 0 else None
                pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=fill, outline=(255, 255, 255), width=2)


class OverlaySaver:
    """Write a PNG of each of the first cases an evaluator sees; every epoch overwrites the one before.

    Args:
        folder: where `<case_id>.png` go.
        cases: how many.
        network: a system, whose own prompts (a detector's box, a prompter's points) are drawn, by one more pass.
        side: longest side of a picture.

    Reads image, label, pred, box, points and point_labels, as far as they are there.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, cases: int = 8, network: nn.Module | None = None, side: int = 512
    ) -> None:
        self.folder = Path(folder)
        self.cases = cases
        self.network = network
        self.side = side
        self._done = 0

    def attach(self, engine: Engine) -> None:
        """Count from the start of each run; draw after each iteration."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def start(self, engine: Engine) -> None:
        """Begin with the first case."""
        self._done = 0

    def __call__(self, engine: Engine) -> None:
        """Draw this batch's cases, while there are some to draw."""
        state: Any = engine.state
        if state.rank != 0 or self._done >= self.cases:
            return
        batch = state.batch if isinstance(state.batch, list) else decollate_batch(state.batch)
        output = state.output if isinstance(state.output, list) else decollate_batch(state.output)
        for sample, answer in zip(batch, output, strict=True):
            if self._done < self.cases:
                self._write({**sample, **answer})
                self._done += 1

    def _write(self, sample: dict[str, Any]) -> None:
        picture = draw_overlay(
            torch.as_tensor(sample[keys.IMAGE]),
            label=sample.get(keys.LABEL),
            pred=sample.get(keys.PRED),
            side=self.side,
            **self._prompts(sample),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        picture.save(self.folder / f"{_case_name(sample, self._done)}.png")

    def _prompts(self, sample: dict[str, Any]) -> dict[str, Tensor | None]:
        if self.network is None:
            names = {"box_xyxy": keys.BOX, "points_xy": keys.POINTS, "point_labels": keys.POINT_LABELS}
            return {name: sample.get(key) for name, key in names.items()}
        embedding = sample.get(keys.EMBEDDING)
        device = next(self.network.parameters()).device
        image = torch.as_tensor(sample[keys.IMAGE])[None].to(device)
        network: Any = unwrap(self.network)
        with eval_mode(network):  # MONAI has put it back into training mode, which would move its statistics
            used = network.segment(image, embedding=None if embedding is None else embedding[None].to(device)).prompts
        parts = {"box_xyxy": used.box_xyxy, "points_xy": used.points_xy, "point_labels": used.point_labels}
        return {name: None if part is None else part[0] for name, part in parts.items()}


def _case_name(sample: dict[str, Any], number: int) -> str:
    name = sample.get(keys.CASE_ID)
    if name is None:
        meta = getattr(sample[keys.IMAGE], "meta", {})
        name = Path(str(meta.get("filename_or_obj", f"case_{number:03d}"))).name.split(".")[0]
    return re.sub(r"[^\w.-]+", "_", str(name))
