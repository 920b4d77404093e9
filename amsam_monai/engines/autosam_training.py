"""What AutoSAM's training needs beside its network: the g that h reads, rates of the parts, the loss."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from amsam_monai.handlers import load_adapter
from amsam_monai.losses import BCEDiceLoss, CEDiceLoss, LowResLoss
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.networks.systems.from_scratch import FromScratch
from amsam_monai.networks.systems.system import System


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
