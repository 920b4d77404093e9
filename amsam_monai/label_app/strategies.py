"""Active learning: what MONAI Label's "next sample" gives."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from amsam_monai.label_app.service import BundleService
from amsam_monai.segment.ranking import certainty, least_certain, most_diverse, signature
from amsam_monai.session.session import InteractiveSession

logger = logging.getLogger(__name__)
MAX_CASES = 64


class _Ranked(Strategy):
    """A strategy that looks at every unlabelled image once, until the weights change.

    Args:
        services: bundles by name; the request's `model` says which one judges, by default the first.
        description: what clients show.
    """

    def __init__(self, services: dict[str, BundleService], description: str) -> None:
        super().__init__(description)
        self.services = services
        self._known: dict[tuple[Any, ...], Any] = {}

    def service(self, request: dict[str, Any]) -> BundleService:
        """The bundle that judges."""
        name = str(request.get("model") or next(iter(self.services))).removesuffix("_click")
        if name not in self.services:
            raise HTTPException(400, f"model must be one of {', '.join(self.services)}, got {name!r}.")
        return self.services[name]

    def facts(
        self, service: BundleService, datastore: Datastore, ids: list[str], look: Callable[[InteractiveSession], Any]
    ) -> dict[str, Any]:
        """What `look` finds in each image; images that cannot be read are left out."""
        found = {}
        for image in ids[:MAX_CASES]:
            path = datastore.get_image_uri(image)
            key = (service.root, service.version, path)
            if key not in self._known:
                try:
                    session = service.new_session(flips=False)  # how sure it is shows in images as they are
                    session.open(path)
                    self._known[key] = look(session)
                except (ValueError, OSError) as error:
                    logger.warning("%s is left out: %s", image, error)
                    continue
            found[image] = self._known[key]
        return found


class LeastCertain(_Ranked):
    """The unlabelled image with the lowest predicted quality and the least clear presence."""

    def __init__(self, services: dict[str, BundleService]) -> None:
        super().__init__(services, "The case that the network is least sure of")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """{"id": image, "certainty": value}, or nothing where all images are labelled."""
        certainties = self.facts(self.service(request), datastore, unlabelled(datastore), certainty)
        if not certainties:
            return {}
        chosen = least_certain(certainties)
        return {"id": chosen, "certainty": round(certainties[chosen], 4)}


class MostDiverse(_Ranked):
    """The unlabelled image whose embedding is farthest from those of labelled images."""

    def __init__(self, services: dict[str, BundleService]) -> None:
        super().__init__(services, "The case that looks least like those labelled already")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """{"id": image}, or nothing where all images are labelled."""
        service = self.service(request)
        candidates: dict[str, np.ndarray] = self.facts(service, datastore, unlabelled(datastore), signature)
        if not candidates:
            return {}
        seen = self.facts(service, datastore, sorted(datastore.get_labeled_images()), signature)
        return {"id": most_diverse(candidates, list(seen.values()))}


def unlabelled(datastore: Datastore) -> list[str]:
    """Images without a final label, sorted."""
    return sorted(datastore.get_unlabeled_images())
