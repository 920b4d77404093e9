"""Going on from the weights that a bundle has, by its own refine.yaml."""

from __future__ import annotations

from typing import Any

from amsam_monai.bundles.settings import Settings

REFINE = ("train", "refine")  # configs that go on from models/model.pt


def detector_stays(settings: Settings | None) -> dict[str, Any]:
    """Overrides with which no detector is fitted: the one of the bundle's file stays, or it goes on without."""
    if settings is None or settings.system != "amsam":
        return {}
    return {"settings#detector": None} if settings.detector is None else {"detector": None}
