"""What settings.json beside exported graphs says: all that a runtime must know of a model."""

from __future__ import annotations

from typing import Any

from amsam_monai.bundles.load import LoadedBundle
from amsam_monai.networks.detector.detector import GREY
from amsam_monai.networks.systems.amsam import ABSENT_LOGIT
from amsam_monai.networks.systems.graphs import FIRST_CORNER, NEGATIVE, PADDING, POSITIVE, SECOND_CORNER, sides_of
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.weights.store import digest
from amsam_monai.segment.batch_size import FIRST
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.version import __version__

SETTINGS = "settings.json"
FORMAT = "amsam_monai.export/1"


def about_model(bundle: LoadedBundle) -> dict[str, Any]:
    """Classes, intensity, slices and origin of a model."""
    classes, slices = bundle.segmenter().classes, SliceInferer(**bundle.slices)
    file = bundle.root / "models" / "model.pt"
    return {
        "package": f"amsam-monai {__version__}",
        "model": {
            "name": bundle.name,
            "system": None if bundle.settings is None else bundle.settings.system,
            "sha256": digest(file) if file.is_file() else None,
            "made": bundle.made,
        },
        "labels": {str(index): name for index, name in classes.names.items()},
        "written_values": {str(index): value for index, value in classes.values.items()},
        "largest_component": list(classes.largest),
        "intensity": bundle.intensity,
        "slices": {
            "axis": slices.axis,
            "orientation": slices.orientation,
            "batch_size": slices.batch_size or FIRST,
            "neighbours": slices.neighbours,
            "flips": list(bundle.slices.get("flips") or ()),
        },
        "blank": {"rule": "an image with one value in each channel is background", "logit": ABSENT_LOGIT},
        "prompt_labels": {
            "point against the class": NEGATIVE,
            "point for the class": POSITIVE,
            "upper left corner of its box": FIRST_CORNER,
            "lower right corner of its box": SECOND_CORNER,
            "padding": PADDING,
        },
    }


def about_network(system: System, graphs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How an image comes into a system's square, its detector's squares, and its graphs."""
    sides = sides_of(getattr(system, "detector", None))
    told: dict[str, Any] = {
        "size": system.image_size,
        "resize": system.resize,
        "fill": [round(float(value), 9) for value in system.sam.fill.flatten()],
        "graphs": graphs,
    }
    return {**told, "detector": {"sides": list(sides), "fill": list(GREY)}} if sides else told
