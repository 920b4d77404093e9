"""Where a SAM came from: what a model file says of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from amsam_monai.networks.weights.store import digest


@dataclass(frozen=True)
class Origin:
    """What `build_sam` built.

    Args:
        backbone: its name there.
        weights: a name of the catalogue, a file, or None for random ones.
        image_size: side of the square, in pixels.
        normalise: whether pixels are normalised by SAM's mean and standard deviation.
        file: where the weights were read, None for random ones.
    """

    backbone: str
    weights: str | None
    image_size: int
    normalise: bool
    file: Path | None = None

    @cached_property
    def sha256(self) -> str | None:
        """Of the file of weights, read when it is asked for; None for random ones.

        Raises:
            FileNotFoundError: the file is gone.
        """
        return None if self.file is None else digest(self.file)
