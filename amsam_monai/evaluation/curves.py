"""Convergence curves and alpha sweeps as pictures (AM-SAM, arXiv:2410.09714, Fig. 5 and 6)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from amsam_monai.data.files.atomic import whole_file

Points = Sequence[tuple[float, float]]


def draw_curves(
    curves: Mapping[str, Points], path: str | os.PathLike[str], *, x: str, y: str = "Dice", title: str = ""
) -> None:
    """One line per name, with its points, as a PNG.

    Args:
        curves: (x, y) points by name, in the order of x.
        path: of the PNG.
        x: what the x axis is.
        y: what the y axis is.
        title: over the picture.

    Raises:
        ValueError: no curves.
    """
    from matplotlib.figure import Figure

    if not any(curves.values()):
        raise ValueError("curves must hold at least one point, got none.")
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot([point[0] for point in points], [point[1] for point in points], marker="o", markersize=3, label=name)
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130, format="png")


def epochs_to(share: float, points: Points) -> int:
    """The first x at which a curve reaches `share` of its last value.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("points must hold at least one point, got none.")
    return int(next(x for x, value in points if value >= share * points[-1][1]))
