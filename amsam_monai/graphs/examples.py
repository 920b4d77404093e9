"""Inputs of a graph: those that it is recorded with, and others that it is compared on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amsam_monai.framing import SquareFrame
from amsam_monai.networks.detector.detector import GREY
from amsam_monai.networks.systems.graphs import FIRST_CORNER, PADDING, SECOND_CORNER, DetectorGraph, Graph
from amsam_monai.networks.systems.system import System
from amsam_monai.phantoms.skin import skin_lesion

RECORDED = {"batch": 2, "points": 4, "objects": 3}
COMPARED = {"random": {"batch": 3, "points": 6, "objects": 2}, "picture": {"batch": 1, "points": 1, "objects": 1}}


def recorded(graphs: Mapping[str, Graph]) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of each graph, with which it is recorded."""
    return inputs_of(graphs, *random_pixels(graphs, RECORDED["batch"]), RECORDED, picture=False)


def compared(graphs: Mapping[str, Graph]) -> Iterator[tuple[str, dict[str, tuple[Tensor, ...]]]]:
    """Inputs of each graph, with which it is compared: random ones, and those of a picture; other numbers of each."""
    for kind, counts in COMPARED.items():
        seen = random_pixels(graphs, counts["batch"]) if kind == "random" else picture_pixels(graphs)
        yield kind, inputs_of(graphs, *seen, counts, picture=kind == "picture")


def system_of(graphs: Mapping[str, Graph]) -> System:
    """The system of graphs."""
    return next(iter(graphs.values())).system


def random_pixels(graphs: Mapping[str, Graph], batch: int) -> tuple[Tensor, SquareFrame]:
    """Noise of different contrast in each image, which fills the square."""
    side, chance = system_of(graphs).image_size, torch.Generator().manual_seed(batch)
    contrast = torch.linspace(0.4, 1, batch)[:, None, None, None]
    return contrast * torch.rand(batch, 3, side, side, generator=chance), graphs["automatic"].frame


def picture_pixels(graphs: Mapping[str, Graph]) -> tuple[Tensor, SquareFrame]:
    """A lesion on skin, in the square with its padding."""
    system = system_of(graphs)
    picture, _ = skin_lesion(np.random.default_rng(7), max(96, system.image_size))
    image = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    frame = SquareFrame(image.shape[-2], image.shape[-1], system.image_size, system.resize)
    return frame.image(image, system.sam.fill), frame


@torch.no_grad()
def inputs_of(
    graphs: Mapping[str, Graph], pixels: Tensor, frame: SquareFrame, counts: Mapping[str, int], *, picture: bool
) -> dict[str, tuple[Tensor, ...]]:
    """Inputs of each graph from framed pixels (B, 3, S, S).

    Args:
        graphs: of one system.
        pixels: in [0, 1].
        frame: where the image lies in them.
        counts: of points of a class, and of objects.
        picture: the detector's boxes, not random ones.
    """
    rows, columns = frame.scaled_hw
    given: dict[str, Tensor] = {"pixels": pixels, "edges": torch.tensor([columns, rows] * 2).to(pixels)}
    if "encoder" in graphs:
        (given["embedding"],) = graphs["encoder"](pixels)
    if isinstance(detector := graphs.get("detector"), DetectorGraph):
        for side in detector.sides:
            own = SquareFrame(rows, columns, side)
            given[f"picture_{side}"] = own.image(pixels[..., :rows, :columns], GREY)
            given[f"scale_{side}"] = torch.tensor(own.scale_xy * 2).to(pixels)
        (given["boxes"],) = detector(*(given[name] for name in detector.inputs))
        if not picture:
            given["boxes"] = random_boxes(given["boxes"], frame.size, counts["objects"])
    given |= prompts_of(system_of(graphs), len(pixels), counts["points"])
    return {name: tuple(given[one] for one in graph.inputs) for name, graph in graphs.items()}


def random_boxes(like: Tensor, side: int, objects: int) -> Tensor:
    """Boxes in the square, every third missing. Shape: like (B, K, M, 4) -> (B, K, objects or 1, 4)."""
    count = 1 if like.shape[2] == 1 else objects
    places = torch.rand(*like.shape[:2], count, 4, generator=torch.Generator().manual_seed(3)).sort(-1).values
    missing = torch.arange(places[..., 0].numel()).reshape(places.shape[:3]) % 3 == 2
    return (places * side).masked_fill(missing[..., None], torch.nan)


def prompts_of(system: System, batch: int, count: int) -> dict[str, Any]:
    """Points for and against each class, a box for every second one, and padding."""
    chance, side, classes = torch.Generator().manual_seed(count), system.image_size, system.num_classes
    xy = torch.rand(batch, classes, count, 2, generator=chance) * (side - 1)
    labels = torch.arange(batch * classes * count).reshape(batch, classes, count) % 2
    if count > 2:
        boxed = (torch.arange(classes) % 2 == 0)[:, None]
        corners = torch.tensor([FIRST_CORNER, SECOND_CORNER])
        labels[..., -2:] = torch.where(boxed, corners, PADDING)
        xy[..., -2, :], xy[..., -1, :] = side / 4, side / 4 + side * torch.tensor([0.3, 0.5])
    return {"point_coords": xy, "point_labels": labels.to(torch.float32)}
