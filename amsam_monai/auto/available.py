"""The methods that can be trained on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable

from amsam_monai.auto.methods import METHODS

logger = logging.getLogger(__name__)


def available(say: Callable[[str], None] = logger.info) -> list[str]:
    """Methods whose packages and weights are here, the cheap ones first; of the others it is told why not.

    Raises:
        FileNotFoundError: SAM's own weights are not there.
    """
    from amsam_monai.networks.weights import store

    store.path("mobile_sam")
    found = []
    for name, method in METHODS.items():
        try:
            for weights in method.weights:
                store.path(weights)
            found.append(name)
        except FileNotFoundError as error:
            say(f"{name} is left out: {str(error).splitlines()[0]}")
    return found
