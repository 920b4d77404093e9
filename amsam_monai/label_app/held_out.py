"""Cases that do not train: how well a network segments them before, while and after it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.utils import eval_mode
from torch import nn

from amsam_monai import keys
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.systems.training_wrappers import fixed_encoder, unwrap
from amsam_monai.segment.propagation import overlap

MAX_SLICES = 256  # that are scored


class HeldOut:
    """Slices of cases left out.

    Args:
        samples: images and labels, see `samples_of`; of more than MAX_SLICES so many are taken, spread evenly.
        cache: folder of embeddings.
        encoder_stays: its embeddings are kept, though it may train; those of one that does would only fill the disk.
    """

    def __init__(self, samples: Sequence[dict[str, Any]], cache: Path | None, *, encoder_stays: bool = True) -> None:
        self.samples, self.cache, self.encoder_stays = at_most(MAX_SLICES, samples), cache, encoder_stays

    @torch.no_grad()
    def dice(self, network: nn.Module) -> float | None:
        """Mean over slices and the classes in them, as a network segments by itself; None without samples."""
        if not self.samples:
            return None
        system: System = unwrap(network)
        kept = self.encoder_stays or system.encoder_is_frozen
        with eval_mode(system), fixed_encoder(system):
            embeddings = embedding_cache(system, self.cache, enabled=kept)
            device = next(system.parameters()).device
            scores = [score for sample in self.samples for score in _dices(system, sample, embeddings, device)]
        return round(float(np.mean(scores)), 4) if scores else None


def _dices(system: System, sample: dict[str, Any], embeddings: Any, device: torch.device) -> list[float]:
    """Dice of each class in a slice."""
    image = sample[keys.IMAGE][None].to(device)
    embedding = embeddings.get_or_compute(sample[keys.IMAGE], system.encode, device=device)[None].to(image)
    predicted = system(image, embedding=embedding).argmax(1)[0].cpu().numpy()
    truth = sample[keys.LABEL][0].numpy()
    return [overlap(predicted == index, truth == index) for index in np.unique(truth) if index]


def at_most(count: int, samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """No more than `count` samples, spread evenly."""
    places = np.linspace(0, len(samples) - 1, min(len(samples), count))
    return [samples[int(at)] for at in places]
