"""The detector of a bundle: read from its file, or fitted on the training samples first."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from tqdm import tqdm

from amsam_monai.data.files.atomic import room_for
from amsam_monai.engines.detector_training import DetectorSettings, train_detector
from amsam_monai.engines.embedding_detector_training import EmbeddingDetectorSettings, train_embedding_detector
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.keys import IMAGE, LABEL
from amsam_monai.networks.detector.detector import pretrained_detector
from amsam_monai.networks.detector.embedding import check_reads
from amsam_monai.networks.detector.files import ARCHITECTURES, load_detector, misfit, save_detector
from amsam_monai.networks.detector.voting import VotingDetector
from amsam_monai.networks.weights import store as weights

logger = logging.getLogger(__name__)

Fit = Callable[..., VotingDetector]  # `train_detector`, or its twin for embeddings


def load_or_fit_detector(
    path: str | os.PathLike[str],
    samples: Iterable[Mapping[str, Any]],
    *,
    class_names: Sequence[str],
    cases: Sequence[str] | None = None,
    architecture: str = "yolo",
    network: nn.Module | None = None,
    start: str | os.PathLike[str] = "yolo26n",
    extra: Iterable[tuple[Tensor, Tensor]] | Callable[[], Iterable[tuple[Tensor, Tensor]]] = (),
    known_classes: Sequence[int] | None = None,
    device: str | torch.device = "cpu",
    refit: bool = False,
    **settings: Any,
) -> VotingDetector:
    """The detector in `path`; where there is none, one fitted on the boxes of `samples`, which is then written there.

    Of several processes the first alone fits. Torch's random numbers go on as if nothing had been fitted, so that what
    is built next does not depend on whether the file was there.

    Args:
        path: the detector's file, beside model.pt and not ending in .pt.
        samples: "image" (3, H, W) in [0, 1] and "label" (1, H, W); read only where the detector is fitted.
        class_names: names of the foreground classes.
        cases: ids of the cases of `samples`, kept in the file; a file that was fitted on other cases is fitted anew.
        architecture: "yolo", or "embedding", which reads SAM's own; a file of another is fitted anew.
        network: whose embeddings are read, and kept in the cache; only for "embedding".
        start: pretrained weights of the catalogue, or a file: an Ultralytics checkpoint, or another detector. It and
            `known_classes` are for "yolo" alone.
        extra: further images (3, H, W) with labels (1, H, W), say phantoms; half of each batch. A function that
            makes them is called only where the detector is fitted.
        known_classes: classes of the pretrained detector that are the wanted ones already, such as [0], COCO's person;
            nothing is fitted then.
        device: where to fit.
        refit: fit even where the file is there.
        settings: see `DetectorSettings` and `EmbeddingDetectorSettings`, None as there; of these `snap_to_dark_object`
            and `confidence` are written to a detector that is read, too.

    Raises:
        ImportError: ultralytics, which "yolo" needs, is not installed.
        FileNotFoundError: the pretrained weights are not there.
        ValueError: an unknown architecture, or "embedding" without a network or with one whose encoder trains.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}.")
    if architecture == "embedding" and network is None:
        raise ValueError("architecture 'embedding' must come with the network whose embeddings are read, got None.")
    settings = {name: value for name, value in settings.items() if value is not None}
    path = Path(path)
    wanted = None if cases is None else sorted(map(str, cases))
    with torch.random.fork_rng(), idist.one_rank_first():
        written = idist.get_rank() > 0  # by the first process, just now
        if path.is_file() and (written or not refit):
            reason = misfit(path, architecture, network)
            detector = None if reason else load_detector(path)
            if detector is not None and (written or wanted is None or detector.cases in (None, wanted)):
                return _as_wished(detector, settings, path)
            logger.warning("%s was fitted on %s; fitting it anew", path, reason or "other cases")
        path.parent.mkdir(parents=True, exist_ok=True)
        if architecture == "yolo" and known_classes is not None:
            size = settings.get("image_size", 448)
            detector = pretrained_detector(weights.path(str(start)), classes=known_classes, image_size=size)
        else:
            fit: Fit
            how: DetectorSettings | EmbeddingDetectorSettings
            if architecture == "embedding":
                fit, how = _on_embeddings_of(network, device), EmbeddingDetectorSettings(**settings)
            else:
                fit, how = partial(train_detector, start=weights.path(str(start))), DetectorSettings(**settings)
            others = extra() if callable(extra) else extra
            detector = _fitted(fit, samples, class_names, others, how, device)
        detector.cases = wanted
        with room_for(path):
            save_detector(detector, path)
        logger.info("saved the detector as %s", path)
        return detector


def with_detector(
    network: nn.Module,
    detector: nn.Module | None,
    device: str | torch.device = "cpu",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """The network on its device, with a detector in place of the one it has; None leaves that.

    Args:
        network: with a `detector`.
        detector: fitted; it stays frozen.
        device: where both go.
        options: the settings' of the detector, which it has then; its file keeps its own.

    Raises:
        ValueError: the detector reads another embedding than the network's.
    """
    if detector is not None:
        check_reads(detector, network)
        for name, value in (options or {}).items():
            if name not in ("file", "architecture"):
                setattr(detector, name, value)
        network.detector = detector.requires_grad_(False)
    return network.to(device)


def _as_wished(detector: VotingDetector, settings: Mapping[str, Any], path: Path) -> VotingDetector:
    """The detector that was read, its file brought up to the wishes, so that inference does as training did."""
    wanted = {name: settings[name] for name in ("snap_to_dark_object", "confidence") if name in settings}
    if any(getattr(detector, name) != value for name, value in wanted.items()):
        vars(detector).update(wanted)
        with room_for(path):
            save_detector(detector, path)
    return detector


def _fitted(
    fit: Fit,
    samples: Iterable[Mapping[str, Any]],
    class_names: Sequence[str],
    extra: Iterable[tuple[Tensor, Tensor]],
    settings: DetectorSettings | EmbeddingDetectorSettings,
    device: str | torch.device,
) -> VotingDetector:
    images, labels = _apart(samples)
    with tqdm(total=settings.steps, desc="detector", unit="step") as bar:
        return fit(
            images,
            labels,
            len(class_names),
            extra=extra,
            settings=settings,
            class_names=class_names,
            device=device,
            progress=lambda step, steps, loss: bar.update() and None,
        )


def _on_embeddings_of(network: Any, device: str | torch.device) -> Fit:
    """What fits a detector on a network's embeddings, which the cache keeps."""
    sam, cache = network.to(device).sam, embedding_cache(network)
    return partial(train_embedding_detector, sam=sam, resize=network.resize, cache=cache)


def _apart(samples: Iterable[Mapping[str, Any]]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Images and labels."""
    chosen = [(torch.as_tensor(sample[IMAGE]), torch.as_tensor(sample[LABEL])) for sample in samples]
    images, labels = zip(*chosen, strict=True)
    return images, labels
