"""Training on cached embeddings of fixed augmented views: what AutoSAM's benchmark runs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn
from torch.utils.data import RandomSampler

from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.data.embeddings.dataset import CachedEmbeddingDataset, FixedViews
from amsam_monai.data.mixed_dataset import MixedDataset
from amsam_monai.engines.epoch_bar import epoch_bar
from amsam_monai.engines.turned_batch import PrepareTurnedBatch
from amsam_monai.handlers import PolynomialDecay, load_adapter
from amsam_monai.losses import BCEDiceLoss, CEDiceLoss, LowResLoss
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.networks.systems.from_scratch import FromScratch
from amsam_monai.networks.systems.system import System
from amsam_monai.segment.autocast import AutocastInferer
from amsam_monai.transforms.augmentation import Augmentation, autosam_augmentation
from amsam_monai.transforms.sam_input import SquareImaged

KEEP_MIB = 4096  # of views and embeddings in memory, which spares their making at every step


@dataclass(frozen=True)
class FixedViewsSettings:
    """How a system with a frozen encoder learns from augmented images.

    Args:
        epochs: passes over the images, each through one of its views.
        batch_size: images in a batch.
        learning_rate: of Adam; 3e-4 with batches of 10 in AutoSAM's paper.
        weight_decay: of Adam; 1e-5 in the paper.
        decay: power of the learning rate's polynomial decay; 0 keeps it, as in the paper.
        warmup: iterations of linear rise of the learning rate.
        views: the image as it is and its augmented copies, whose embeddings are kept; 1 trains without augmentation.
        extra_share: share of `extra` samples, where there are some, among all; an epoch has as many samples as images.
        augmentation: a name of AUGMENTATIONS, or settings.
        turns: mirror and turn the views too, see `PrepareTurnedBatch`.
        colour: random change of colours that g alone sees, see `PrepareTurnedBatch`.
        pretrained_rate: share of the learning rate for a backbone of g with ImageNet weights beside SAM's embedding.
        precision: "auto", "bfloat16" or "float32", see `AutocastInferer`.
        seed: of order, choice of views and turns; the views themselves are the same for all seeds, so that their
            embeddings serve all.
    """

    epochs: int = 40
    batch_size: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    decay: float = 0.9
    warmup: int = 20
    views: int = 5
    extra_share: float = 0.4
    augmentation: str | Augmentation = "polyp"
    turns: bool = True
    colour: float = 0.0
    pretrained_rate: float = 0.1
    precision: str = "auto"
    seed: int = 0

    def of_adam(self) -> dict[str, float]:
        """What `adam` takes."""
        names = ("learning_rate", "weight_decay", "pretrained_rate")
        return {name: getattr(self, name) for name in names}


def fixed_views_trainer(
    network: System | FromScratch,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache | None,
    settings: FixedViewsSettings,
    *,
    extra: Sequence[dict[str, Any]] = (),
    loss: nn.Module | None = None,
    handlers: Sequence[Any] = (),
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> SupervisedTrainer:
    """A trainer of what trains in `network`, ready to run; embeddings that are missing are computed here.

    Args:
        network: on its device; its encoder is frozen.
        samples: "image" (3, H, W) in [0, 1] and "label" (1, H, W).
        cache: of the network's embeddings; None where there are none.
        settings: see `FixedViewsSettings`.
        extra: further samples that keep a few from being learned by heart, say phantoms; seen in one view.
        loss: of logits and label of one size; None is BCE + Dice for one class, CE + Dice for several (AutoSAM).
        handlers: further handlers of the trainer.
        device: where it runs.
        progress: show a bar while embeddings are computed, and one of the epochs.
    """
    torch.manual_seed(settings.seed)
    optimizer = adam(network, **settings.of_adam())
    trainer = SupervisedTrainer(
        device=torch.device(device),
        max_epochs=settings.epochs,
        train_data_loader=fixed_views_loader(
            network, samples, cache, settings, extra=extra, device=device, progress=progress
        ),
        network=network,
        optimizer=optimizer,
        loss_function=low_res_loss(network, loss),
        inferer=AutocastInferer(settings.precision),
        prepare_batch=PrepareTurnedBatch(turns=settings.turns, colour=settings.colour),
        train_handlers=[PolynomialDecay(optimizer, power=settings.decay, warmup=settings.warmup), *handlers],
    )
    if progress:
        epoch_bar(trainer)
    return trainer


def fixed_views_loader(
    network: System | FromScratch,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache | None,
    settings: FixedViewsSettings,
    *,
    extra: Sequence[dict[str, Any]] = (),
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> DataLoader:
    """Batches of random views with their embeddings, each image once an epoch; arguments as `fixed_views_trainer`."""
    square = SquareImaged(size=network.image_size, mode=network.resize)

    def dataset(samples: Sequence[dict[str, Any]], views: int) -> CachedEmbeddingDataset:
        return CachedEmbeddingDataset(
            [square(cast(dict[Hashable, Any], sample)) for sample in samples],
            cache=cache or EmbeddingCache(fingerprint={}, enabled=False),
            encode=network.encode,
            augment=FixedViews(autosam_augmentation(settings.augmentation, framed=True)),
            views=views,
            keep=KEEP_MIB,
            device=device,
            progress=progress,
        )

    data: Any = dataset(samples, settings.views)
    data.set_random_state(seed=settings.seed)
    if extra and settings.extra_share:
        data = MixedDataset(data, dataset(extra, 1), share=settings.extra_share)
    generator = torch.Generator().manual_seed(settings.seed)
    order = RandomSampler(data, num_samples=len(samples), generator=generator)
    size = min(settings.batch_size, len(samples))  # a last batch of one would upset batch normalisation: it is dropped
    return DataLoader(data, batch_size=size, sampler=order, num_workers=0, drop_last=True)


def ready_to_train(network: AutoSAM, adapter: str | Path, device: torch.device | str) -> AutoSAM:
    """The network on its device; a light one with the g that is trained already, since h learns to read that one.

    Args:
        network: as built.
        adapter: file of the trained g, read where the network is light.
        device: where it trains.

    Raises:
        FileNotFoundError: the network is light and there is no adapter.
    """
    network = network.to(device)
    if network.light:
        load_adapter(network, adapter)
    return network


def adam(
    network: System | FromScratch, *, learning_rate: float, weight_decay: float = 1e-5, pretrained_rate: float = 0.1
) -> torch.optim.Adam:
    """Adam on what trains in `network`; the tuned EfficientNet-Lite0 of g learns slower, since it knows much already.

    Args:
        network: on its device.
        learning_rate: of all else.
        weight_decay: of all.
        pretrained_rate: share of the learning rate for g's tuned backbone.
    """
    tuned = isinstance(network, AutoSAM) and network.generator.tuned
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups[tuned and name.startswith("generator.backbone.")].append(parameter)
    rates = (learning_rate, pretrained_rate * learning_rate)
    return torch.optim.Adam(
        [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True) if group],
        weight_decay=weight_decay,
    )


def low_res_loss(network: System | FromScratch, loss: nn.Module | None = None) -> LowResLoss:
    """`loss`, or AutoSAM's for the network's number of classes, at the decoder's resolution."""
    if loss is None:
        loss = BCEDiceLoss() if network.num_classes == 1 else CEDiceLoss(0.5)
    return LowResLoss(loss, image_size=network.image_size, resize=network.resize)
