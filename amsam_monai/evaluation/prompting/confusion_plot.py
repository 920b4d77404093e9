"""Confusion matrices as a picture, laid out as in AI-SAM's Fig. 2, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.evaluation.prompting.confusion import Confusion, correlation

TITLES = {"ocm": "output (OCM)", "pcm": "prompt (PCM)"}


def plot_confusion(
    matrices: Mapping[str, Confusion], names: Sequence[str], path: str | os.PathLike[str], *, title: str = ""
) -> None:
    """Heat maps: output matrices above, prompt matrices below, one column per kind of prompt, last class on top.

    Args:
        matrices: per kind of prompt.
        names: of the classes, background first.
        path: of the PNG.
        title: over the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(matrices) + 0.8, 6.4), layout="constrained")
    grid = figure.subplots(2, len(matrices), squeeze=False)
    for row, kind in enumerate(TITLES):
        for column, (prompt, confusion) in enumerate(matrices.items()):
            axes = grid[row, column]
            draw_matrix(axes, getattr(confusion, kind), names)
            if row == 0:
                axes.set_title(prompt)
            if column == 0:
                axes.set_ylabel(f"{TITLES[kind]}\nprompt of")
            if row == 1:
                axes.set_xlabel("class")
    figure.suptitle(title)
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=130, metadata={"Software": None})


def draw_matrix(axes: Any, matrix: np.ndarray, names: Sequence[str]) -> None:
    """One heat map with its numbers, the first class at the bottom."""
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1, origin="lower")
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
    axes.set_yticks(range(len(names)), names)
    for row, line in enumerate(matrix):
        for column, value in enumerate(line):
            text = "-" if np.isnan(value) else f"{value:.2f}"
            axes.text(
                column, row, text, ha="center", va="center", color="white" if value > 0.6 else "black", fontsize=9
            )


def confusion_json(matrices: Mapping[str, Confusion], names: Sequence[str]) -> dict[str, Any]:
    """The matrices and their correlations as JSON holds them (None for no value).

    `correlation` is Pearson's over the entries of PCM and OCM (Proposition 1), per kind of prompt and over all kinds.
    """
    both = [np.stack([getattr(confusion, kind) for confusion in matrices.values()]) for kind in ("pcm", "ocm")]
    plain = {kind: {name: _plain(getattr(found, kind)) for name, found in matrices.items()} for kind in TITLES}
    return {
        "rows": "prompts",
        "columns": "classes",
        "labels": list(names),
        "images": next(iter(matrices.values())).images,
        "correlation": {
            **{prompt: _plain(confusion.correlation) for prompt, confusion in matrices.items()},
            "all": _plain(correlation(*both)),
        },
        **plain,
    }


def write_confusion(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value]
    return None if np.isnan(value) else round(float(value), 6)
