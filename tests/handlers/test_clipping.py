"""Gradients are shortened before the step."""

import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from amsam_monai.handlers import ClipGradients


def test_a_step_is_as_long_as_the_largest_norm():
    net = nn.Linear(4, 1, bias=False)
    before = net.weight.detach().clone()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.full((1, 4), 100.0), "label": torch.zeros(1, 1)}],
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        loss_function=nn.MSELoss(),
        train_handlers=[ClipGradients(net, 0.5)],
    )
    trainer.run()
    assert float((net.weight.detach() - before).norm()) == pytest.approx(0.5, rel=1e-4)


def test_the_largest_norm_is_positive():
    with pytest.raises(ValueError, match="max_norm must be positive, got 0"):
        ClipGradients(nn.Linear(1, 1), 0)
