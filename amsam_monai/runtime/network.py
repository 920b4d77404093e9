"""One exported network: images in [0, 1] in, logits at their size out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amsam_monai.runtime.resizing import framed, restored
from amsam_monai.square import Square

SINGLE = np.float32


class ExportedNetwork:
    """The graphs of one system, run by onnxruntime.

    Args:
        folder: of the files.
        told: what settings.json says of the network.
        threads: of the processor; None leaves it to onnxruntime.
    """

    def __init__(self, folder: Path, told: Mapping[str, Any], *, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        self.told = told
        self.fill = np.asarray(told["fill"], SINGLE)
        self._inputs = {name: graph["inputs"] for name, graph in told["graphs"].items()}
        self._sessions = {
            name: onnxruntime.InferenceSession(str(folder / graph["file"]), options, ["CPUExecutionProvider"])
            for name, graph in told["graphs"].items()
            if name != "prompted"
        }

    def logits(self, images: np.ndarray) -> np.ndarray:
        """What the network says of images without prompts. Shape (B, 3, H, W) float32 -> (B, K+1, H, W)."""
        square = Square(images.shape[-2], images.shape[-1], self.told["size"], self.told["resize"])
        given = {"pixels": framed(images, square, self.fill)}
        if "encoder" in self._sessions:
            given["embedding"] = self._run("encoder", given)
        if "detector" in self._sessions:
            given |= self._seen_by_detector(given["pixels"], square)
            given["boxes"] = trimmed(self._run("detector", given))
        return restored(self._run("automatic", given), square)

    def _run(self, name: str, given: Mapping[str, np.ndarray]) -> np.ndarray:
        """The first output of a graph."""
        return self._sessions[name].run(None, {one: given[one] for one in self._inputs[name]})[0]

    def _seen_by_detector(self, pixels: np.ndarray, square: Square) -> dict[str, np.ndarray]:
        """The edges of the image in the square, and the image in the detector's own squares."""
        rows, columns = square.scaled_hw
        found = {"edges": np.array([columns, rows] * 2, SINGLE)}
        own = self.told.get("detector", {"sides": []})
        for side in own["sides"]:
            into = Square(rows, columns, side)
            picture = framed(pixels[..., :rows, :columns], into, np.asarray(own["fill"], SINGLE))
            found |= {f"picture_{side}": picture, f"scale_{side}": np.array(into.scale_xy * 2, SINGLE)}
        return found


def trimmed(boxes: np.ndarray) -> np.ndarray:
    """Boxes without the places after the last object of all classes; one place stays. Shape (B, K, M, 4)."""
    there = np.flatnonzero(~np.isnan(boxes).any(-1).all((0, 1)))
    return boxes[:, :, : int(there.max(initial=0)) + 1]
