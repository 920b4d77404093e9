"""Training of a system on a few images with cached embeddings, and its Dice on others: what benchmarks run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.data import DataLoader
from monai.data import Dataset as TransformedDataset
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.utils.data import Dataset

from amsam_monai import keys
from amsam_monai.data.embeddings.cache import EmbeddingCache, Encode
from amsam_monai.data.embeddings.dataset import CachedEmbeddingDataset
from amsam_monai.data.mixed_dataset import MixedDataset
from amsam_monai.engines.bilevel_trainer import BilevelTrainer
from amsam_monai.engines.cycling import cycling_loader, epoch_loader
from amsam_monai.engines.prepare_batch import PrepareSystemBatch
from amsam_monai.engines.simulated_boxes import SimulatedBoxes
from amsam_monai.engines.split import subsets_by_patient
from amsam_monai.handlers import ClipGradients, PolynomialDecay
from amsam_monai.losses import AISAMLoss, CEDiceLoss, LowResLoss
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.from_scratch import FromScratch
from amsam_monai.networks.systems.system import System
from amsam_monai.networks.systems.training_wrappers import WithLossInputs
from amsam_monai.segment.autocast import AutocastInferer
from amsam_monai.segment.flips import flip_prompts, flip_sets, mean_logits
from amsam_monai.transforms.random_views import random_views
from amsam_monai.transforms.sam_input import SquareImaged
from amsam_monai.transforms.views import FlippedViews


@dataclass(frozen=True)
class FewShotSettings:
    """How a few images train a system.

    Args:
        epochs: of `steps_per_epoch` batches each.
        steps_per_epoch: batches of D1 in an epoch, drawn from its images' views.
        batch_size: views in a batch, of D1 and of D2.
        learning_rate: of the lower level, or of all.
        upper_learning_rate: of the prompt embedding.
        weight_decay: of AdamW, both levels.
        dice_weight: lambda of the loss.
        views: flipped and turned copies of each image.
        random_views: turn, magnify and relight every sample anew each time instead of keeping `views` of it: for
            encoders that train, whose embeddings cannot be kept.
        clip: largest norm of the gradients of one level; None leaves them.
        extra_share: share of `extra` samples, where there are some, among those that train the lower level, or all.
        box_iou: overlap of the simulated boxes with the true ones; None trains without boxes.
        box_drop: share of images trained without a box.
        bilevel: train the prompt embedding on D2; False trains all on all images.
        order: see `BilevelTrainer`.
        warmup: iterations of linear rise of the learning rate (SAMed).
        precision: "auto", "bfloat16" or "float32", see `AutocastInferer`.
        seed: of everything random.
    """

    epochs: int = 20
    steps_per_epoch: int = 5
    batch_size: int = 4
    learning_rate: float = 1e-3
    upper_learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dice_weight: float = 0.8
    views: int = 8
    random_views: bool = False
    clip: float | None = None
    extra_share: float = 0.4
    box_iou: float | None = 0.8
    box_drop: float = 0.1
    bilevel: bool = True
    order: str = "first"
    warmup: int = 0
    precision: str = "auto"
    seed: int = 0


def few_shot_trainer(
    network: System | FromScratch,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache | None,
    settings: FewShotSettings,
    *,
    extra: Sequence[dict[str, Any]] = (),
    augment: Callable[[Any, int], Any] | None = None,
    handlers: Sequence[Any] = (),
    device: torch.device | str = "cpu",
) -> SupervisedTrainer:
    """A trainer of `network` on `samples`, ready to run.

    Args:
        network: any system, on its device. AI-SAM learns points, presence and quality beside masks.
        samples: "image" (3, H, W) in [0, 1], "label" (1, H, W) and "case_id".
        cache: of the network's embeddings; None where the encoder trains too, or there is none.
        settings: see `FewShotSettings`.
        extra: further samples that keep the few from being learned by heart, say phantoms; seen as they are.
        augment: makes view number n of a square sample; None flips and turns it.
        handlers: further handlers of the trainer.
        device: where it runs.

    Raises:
        ValueError: two levels of a network that has only one, or with `clip`; random views where embeddings are kept or
            images stretched.
    """
    if settings.bilevel and not isinstance(network, AMSAM):
        raise ValueError(f"bilevel must be False for a {type(network).__name__}, which has no prompt to learn.")
    if settings.bilevel and settings.clip is not None:
        raise ValueError(f"clip must be None on two levels, got {settings.clip}; set bilevel=False.")
    if settings.random_views and (cache is not None or network.resize != "pad"):
        raise ValueError("random_views must come without a cache and with resize='pad', got another; use fixed views.")
    torch.manual_seed(settings.seed)
    points = isinstance(network, AISAM)
    boxes = (
        None
        if settings.box_iou is None
        else SimulatedBoxes(network.num_classes, mean_iou=settings.box_iou, p_drop=settings.box_drop)
    )
    common: dict[str, Any] = {
        "device": torch.device(device),
        "max_epochs": settings.epochs,
        "network": WithLossInputs(network) if isinstance(network, AISAM) else network,
        "loss_function": _loss(network, settings),
        "inferer": AutocastInferer(settings.precision),
        "prepare_batch": PrepareSystemBatch(
            low_res=True,
            boxes=boxes,
            use=() if cache is None else (keys.EMBEDDING,),
            presence=network.num_classes if points else 0,
        ),
    }

    def dataset(samples: Sequence[dict[str, Any]], views: int) -> Dataset[Any]:
        if settings.random_views:
            return TransformedDataset(samples, random_views(network.image_size).set_random_state(settings.seed))
        return CachedEmbeddingDataset(
            samples,
            SquareImaged(size=network.image_size, mode=network.resize),
            cache=cache or EmbeddingCache(fingerprint={}, enabled=False),
            encode=_encode(network),
            augment=augment or FlippedViews(),
            views=views,
            keep=1024,
            device=device,
            progress=False,
        )

    data = dataset(samples, settings.views)
    clipping = [] if settings.clip is None else [ClipGradients(network, settings.clip)]

    def loader(part: Dataset[Any]) -> DataLoader:
        if extra and settings.extra_share:
            part = MixedDataset(part, dataset(extra, 1), share=settings.extra_share)
        return epoch_loader(part, batch_size=settings.batch_size, batches=settings.steps_per_epoch, seed=settings.seed)

    def optimizer(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.AdamW:
        return torch.optim.AdamW(list(parameters), lr=rate, weight_decay=settings.weight_decay, fused=True)

    if not isinstance(network, AMSAM) or not settings.bilevel:
        trained = optimizer((p for p in network.parameters() if p.requires_grad), settings.learning_rate)
        return SupervisedTrainer(
            train_data_loader=loader(data),
            optimizer=trained,
            train_handlers=[PolynomialDecay(trained, warmup=settings.warmup), *clipping, *handlers],
            **common,
        )
    first, second = subsets_by_patient(data, seed=settings.seed)
    lower = optimizer(network.lower_parameters(), settings.learning_rate)
    upper = optimizer(network.upper_parameters(), settings.upper_learning_rate)
    return BilevelTrainer(
        train_data_loader=loader(first),
        upper_data_loader=cycling_loader(second, batch_size=settings.batch_size, seed=settings.seed),
        optimizer=lower,
        upper_optimizer=upper,
        order=settings.order,
        train_handlers=[PolynomialDecay([lower, upper], warmup=settings.warmup), *handlers],
        **common,
    )


def _loss(network: System | FromScratch, settings: FewShotSettings) -> nn.Module:
    """CE + Dice at the decoder's resolution; of AI-SAM all that it learns."""
    masks, side = CEDiceLoss(settings.dice_weight), network.image_size
    if isinstance(network, AISAM):
        return AISAMLoss(image_size=side, resize=network.resize, mask_loss=masks)
    return LowResLoss(masks, image_size=side, resize=network.resize)


def _encode(network: System | FromScratch) -> Encode:
    """What computes the embeddings that are kept: (B, 1) zeros where the encoder trains too, or there is none."""
    if isinstance(network, FromScratch) or network.encoder_is_frozen:
        return network.encode
    return lambda image: image.new_zeros(len(image), 1)


@torch.no_grad()
def dice_of_samples(
    network: AMSAM | FromScratch,
    samples: Sequence[dict[str, Any]],
    cache: EmbeddingCache | None,
    *,
    boxes: dict[str, Tensor] | None = None,
    flips: Sequence[str] = (),
    device: torch.device | str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Foreground Dice of each sample of a two-class task, at native size and on the logits' grid; (N,), (N,).

    Args:
        network: a system.
        samples: "image" (3, H, W) in [0, 1], "label" (1, H, W) and "case_id".
        cache: of the network's embeddings, or None.
        boxes: (1, 4) by case id, in pixels of the image, where the detector has run already.
        flips: mirror images to average over, see `segment_flipped`; boxes are turned along.
        device: where the network is.
    """
    network.eval()
    native, coarse = [], []
    for sample in samples:
        image = torch.as_tensor(sample[keys.IMAGE])[None].to(device)
        prompts = None if boxes is None else Prompts(box_xyxy=boxes[sample[keys.CASE_ID]][None].to(device))
        turned = []
        for dims in flip_sets(flips):
            view = image.flip(dims)
            embedding = None
            if cache is not None:
                embedding = cache.get_or_compute(view[0], _encode(network), device=device)[None].to(image)
            asked = None if prompts is None else flip_prompts(prompts, image.shape[-2:], dims)
            turned.append(network(view, embedding=embedding, prompts=asked).flip(dims))
        logits = mean_logits(turned)
        label = (sample[keys.LABEL][None] == 1).float()  # (1, 1, H, W)
        native.append(_dice(logits, label))
        small = F.interpolate(logits, (64, 64), mode="bilinear", align_corners=False, antialias=True)
        coarse.append(_dice(small, F.interpolate(label, (64, 64), mode="nearest-exact")))
    return np.array(native), np.array(coarse)


def _dice(logits: Tensor, label: Tensor) -> float:
    pred, label = logits.argmax(1).cpu() == 1, label[:, 0].cpu() > 0
    total = int(pred.sum()) + int(label.sum())
    return 2.0 * int((pred & label).sum()) / total if total else float("nan")
