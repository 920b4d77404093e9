"""A training that diverges ends with an error that says where, and saves nothing of it."""

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import nn

from amsam_monai.engines import BilevelTrainer
from amsam_monai.handlers import AdapterSaver, DivergenceError, StopOnDivergence
from amsam_monai.handlers.divergence import case_names


class Line(nn.Module):
    """Two weights, one for each level."""

    def __init__(self):
        super().__init__()
        self.lower, self.upper = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))

    def forward(self, image):
        return self.lower * self.upper * image


def batches(*values):
    """Batches of a single case each, whose labels are these values."""
    return [
        {"image": torch.ones(1, 1), "label": torch.tensor([[value]]), "case_id": [f"p{number}"]}
        for number, value in enumerate(values, 1)
    ]


def trainer_of(network, data, path, rate=0.1, epochs=2, **kwargs):
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=data,
        epoch_length=len(data),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=rate),
        loss_function=nn.MSELoss(),
        train_handlers=[AdapterSaver(network, path, keep="last"), StopOnDivergence(network)],
        **kwargs,
    )


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_the_error_tells_epoch_batch_and_cases_and_the_step_is_not_taken(tmp_path, value):
    network = Line()
    with pytest.raises(
        DivergenceError, match=rf"the loss is {value} at epoch 1, batch 2 of 3 \(p2\)\. .*learning rate"
    ):
        trainer_of(network, batches(0.5, float(value), 0.5), tmp_path / "model.pt").run()
    assert network.lower.isfinite().all()
    assert not (tmp_path / "model.pt").exists()


def test_the_file_of_the_last_good_epoch_stays(tmp_path):
    network, data = Line(), batches(0.5, 0.5)
    trainer = trainer_of(network, data, tmp_path / "model.pt", epochs=3)

    def spoil(engine):
        if engine.state.epoch == 2:
            data[0]["label"].fill_(torch.inf)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, spoil)
    with pytest.raises(DivergenceError, match=r"at epoch 3, batch 1 of 2 \(p1\)"):
        trainer.run()
    assert torch.load(tmp_path / "model.pt", weights_only=True)["model"]["lower"].equal(network.lower.detach())


def test_weights_that_the_last_step_of_an_epoch_ruined_are_not_saved(tmp_path):
    """There is no further loss that would tell."""
    with pytest.raises(DivergenceError, match="epoch 1 left lower with values that are NaN, infinite or beyond 65504"):
        trainer_of(Line(), batches(0.5), tmp_path / "model.pt", rate=1e12, epochs=1).run()
    assert not (tmp_path / "model.pt").exists()


def test_a_loss_of_the_upper_level_is_told_with_its_own_cases():
    network = Line()
    trainer = BilevelTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=batches(0.5, 0.5),
        upper_data_loader=[{**batches(torch.nan)[0], "case_id": ["u1", "u1"]}],
        network=network,
        optimizer=torch.optim.AdamW([network.lower]),
        upper_optimizer=torch.optim.AdamW([network.upper]),
        loss_function=nn.MSELoss(),
        prepare_batch=lambda batch, *_, **__: (batch["image"], batch["label"]),
        lower_steps=2,
        train_handlers=[StopOnDivergence(network)],
    )
    with pytest.raises(DivergenceError, match=r"the upper loss is nan at epoch 1, batch 2 of 2 \(u1\)"):
        trainer.run()


def test_cases_are_told_where_a_batch_has_them():
    assert case_names({"case_id": ["a", "b", "a"]}) == ["a", "b"]
    assert case_names({"case_id": "a"}) == ["a"]
    assert case_names({"image": 1}) == case_names(torch.zeros(1)) == []
