"""A tiny AM-SAM and its bi-level training, for the tests beside it."""

import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset

from amsam_monai.engines import BilevelTrainer, cycling_loader
from amsam_monai.handlers import PolynomialDecay
from amsam_monai.losses import CEDiceLoss, LowResLoss
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM

SIZE = 64


def samples(count, seed=0):
    """Dark discs on bright noise."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    data = []
    for index in range(count):
        x, y, radius = torch.rand(3, generator=generator).tolist()
        disc = ((columns - 20 - 24 * x) ** 2 + (rows - 20 - 24 * y) ** 2 < (10 + 8 * radius) ** 2)[None]
        image = (torch.rand(3, SIZE, SIZE, generator=generator) * 0.3 + 0.6) * (1 - 0.6 * disc)
        data.append({"image": image, "label": disc.long(), "case_id": f"case_{index}"})
    return data


def network(**kwargs):
    torch.manual_seed(0)
    return AMSAM(build_sam("vit_nano", image_size=SIZE), **kwargs)


def loss():
    return LowResLoss(CEDiceLoss(), image_size=SIZE)


def bilevel(
    net, *, wrapped=None, epochs=3, rank=0, processes=1, batch_size=1, handlers=(), losses=None, eps=1e-8, **kwargs
):
    """A BilevelTrainer on four images of D1 and three of D2; what it loses goes to `losses`, `eps` is AdamW's."""
    torch.manual_seed(0)
    lower = Dataset(samples(4)[rank::processes])
    optimizer = torch.optim.AdamW(net.lower_parameters(), lr=5e-3, weight_decay=0.1, eps=eps)
    upper_optimizer = torch.optim.AdamW(net.upper_parameters(), lr=1e-3, weight_decay=0.1, eps=eps)
    kwargs.setdefault(
        "train_data_loader", DataLoader(lower, batch_size=batch_size, shuffle=processes == 1 and batch_size == 1)
    )
    trainer = BilevelTrainer(
        device="cpu",
        max_epochs=epochs,
        upper_data_loader=cycling_loader(
            Dataset(samples(3, seed=1)), batch_size=batch_size * processes, seed=5, rank=rank, processes=processes
        ),
        network=wrapped or net,
        optimizer=optimizer,
        upper_optimizer=upper_optimizer,
        loss_function=loss(),
        train_handlers=[PolynomialDecay([optimizer, upper_optimizer]), *handlers],
        **kwargs,
    )

    @trainer.on(Events.ITERATION_COMPLETED)
    def keep(engine):
        if losses is not None:
            losses.append((float(engine.state.output[0]["loss"]), float(engine.state.output[0]["upper_loss"])))

    return trainer
