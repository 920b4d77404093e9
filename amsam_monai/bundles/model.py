"""A trained model for people and scripts: files and arrays in, masks, sessions and scores out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from amsam_monai.bundles.load import LoadedBundle, load_bundle, of_model
from amsam_monai.bundles.network import load_model
from amsam_monai.bundles.settings import Settings
from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.evaluation.evaluate import evaluate_pairs
from amsam_monai.evaluation.pairs import find_pairs
from amsam_monai.evaluation.report import write_report
from amsam_monai.evaluation.scoring.protocols import get_protocol
from amsam_monai.evaluation.summary import summarise
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.batch import BatchSegmenter, plan
from amsam_monai.segment.batch_report import Record
from amsam_monai.segment.segmenter import SegmentedImage
from amsam_monai.session.image import load_source
from amsam_monai.session.session import InteractiveSession

IGNORED = 255  # of a label that is never scored; where it stands alone, it is class 1


def load(
    name: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    settings: Mapping[str, Any] | None = None,
    system: Callable[..., System] | None = None,
) -> Model:
    """The trained model of a bundle, or of a model file alone.

    Args:
        name: a bundle by name or path, see `find_bundle`, or a model file (.pt).
        device: where the network goes; None takes the first GPU, or the processor if there is no GPU.
        settings: a part of a block of settings, such as {"intensity": {"mode": "none"}}; what training fixed is
            refused.
        system: your own class, where the file names a system that is not the package's; none is imported by name.

    Raises:
        FileNotFoundError: no such bundle or file, a bundle that is not trained yet, or missing weights of SAM.
        ValueError: a damaged model file, or an override of what training fixed.
    """
    path = Path(name)
    if path.suffix != ".pt":
        return Model(load_bundle(path, device=device, settings=settings, system=system))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(of_model(path.parent, load_model(path, settings=settings, device=device, system=system)))


class Model:
    """A trained network with the settings that it was trained with. Made by `load`.

    Args:
        bundle: what was loaded.
    """

    def __init__(self, bundle: LoadedBundle) -> None:
        if bundle.settings is None:
            raise ValueError(f"{bundle.root} must have a model file with settings, got one without.")
        self.bundle = bundle
        self.settings: Settings = bundle.settings

    @property
    def network(self) -> nn.Module:
        """The system, in evaluation mode."""
        return self.bundle.network

    @property
    def labels(self) -> dict[int, str]:
        """Name of every class index; 0 is background."""
        return self.bundle.labels

    def segment(
        self,
        source: str | Path | np.ndarray | LoadedImage,
        *,
        affine: np.ndarray | None = None,
        probabilities: bool = False,
    ) -> SegmentedImage:
        """Segment an image or a volume; the result has `label`, `volumes()` and `save(path)`.

        Args:
            source: a path, an array in memory, or what `read_image` gave.
            affine: voxel index to RAS millimetres, for arrays.
            probabilities: give them too.

        Raises:
            FileNotFoundError, ImageFileError: as `read_image`.
            ValueError: an array that is neither image nor volume.
        """
        return self.bundle.segmenter()(load_source(source, affine), probabilities=probabilities)

    def session(self, **options: Any) -> InteractiveSession:
        """A session for a person's clicks, boxes and corrections; `options` as of `InteractiveSession`."""
        return InteractiveSession.of_bundle(self.bundle, **options)

    def evaluate(
        self, images: str | Path, labels: str | Path, *, out: str | Path | None = None, protocol: str = "strict"
    ) -> dict[str, Any]:
        """Segment images and score the masks against labels that hold the values of `settings.classes`.

        Args:
            images: a file or a folder.
            labels: a file or a folder; cases are matched by name, see `find_pairs`.
            out: where predictions and the report go; nothing is kept by default.
            protocol: see `get_protocol`.

        Returns:
            The summary, see `summarise`: result["mean"]["dice"]["mean"] is the mean Dice.

        Raises:
            FileNotFoundError: no such file or folder.
            ValueError: an image that cannot be segmented, or cases that do not match; all are listed.
        """
        values = list(self.settings.classes.values())
        values = [1] if values == [IGNORED] else values
        table = dict(zip(values, self.labels.values(), strict=True))
        rules = get_protocol(protocol)
        with tempfile.TemporaryDirectory(prefix="amsam-evaluate-") as scratch:
            folder = Path(out or scratch) / "predictions"
            self._predict(Path(images), folder, dict(zip(self.labels, values, strict=True)))
            pairs = find_pairs(folder, labels, images, names=table.values())
            scores, notes = evaluate_pairs(pairs, table, protocol=rules)
            summary = summarise(scores, table, rules, notes=notes)
            if out is not None:
                write_report(out, scores, summary, pairs=pairs)
        return summary

    def _predict(self, images: Path, folder: Path, values: dict[int, int]) -> None:
        """Masks of all images, with the values that labels have."""
        folder.mkdir(parents=True, exist_ok=True)
        records: list[Record] = []
        BatchSegmenter(self.bundle.segmenter(label_values=values)).run(plan(images, folder), records.append)
        if failed := [record for record in records if record.status == "failed"]:
            shown = "\n".join(f"  {record.input}: {record.error}" for record in failed[:20])
            raise ValueError(f"every image must be segmented, {len(failed)} were not:\n{shown}")

    def __repr__(self) -> str:
        where = next(self.network.parameters()).device
        return f"Model({self.bundle.name}: {self.settings.system}, {', '.join(self.labels.values())}, on {where})"
