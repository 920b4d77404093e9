import pytest
import torch
from ignite.engine import Events
from monai.data import Dataset

from amsam_monai.engines import EpochSampler, cycling, epoch_loader
from amsam_monai.handlers import TrainState
from tests.engines import nano

DATA = Dataset([{"index": index} for index in range(5)])


def indices(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [batch["index"].tolist() for batch in loader]


def as_process(monkeypatch, rank, processes=2):
    monkeypatch.setattr(cycling.idist, "get_rank", lambda: rank)
    monkeypatch.setattr(cycling.idist, "get_world_size", lambda: processes)


def test_an_epoch_has_the_batches_asked_for_and_each_round_visits_every_item():
    batches = indices(epoch_loader(DATA, batch_size=5, batches=3), epoch=1)
    assert [sorted(batch) for batch in batches] == [[0, 1, 2, 3, 4]] * 3
    assert batches[0] != batches[1]


def test_the_order_follows_from_seed_and_epoch_alone():
    one, other = (epoch_loader(DATA, batch_size=2, batches=4, seed=seed) for seed in (0, 1))
    assert indices(one, 2) == indices(epoch_loader(DATA, batch_size=2, batches=4), 2)
    assert indices(one, 2) != indices(one, 3)
    assert indices(one, 2) != indices(other, 2)
    assert indices(epoch_loader(DATA, batch_size=2, batches=2, shuffle=False), 7) == [[0, 1], [2, 3]]


def test_processes_share_every_batch(monkeypatch):
    whole = indices(epoch_loader(DATA, batch_size=4, batches=3), epoch=2)
    parts = []
    for rank in (0, 1):
        as_process(monkeypatch, rank)
        parts.append(indices(epoch_loader(DATA, batch_size=4, batches=3), epoch=2))
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]


def test_what_processes_cannot_share_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="at least one item to train on, got none"):
        epoch_loader(Dataset([]), batch_size=1, batches=1)
    as_process(monkeypatch, 0)
    with pytest.raises(ValueError, match="length must be a positive multiple of the 2 processes, got 3"):
        EpochSampler(DATA, 3)
    with pytest.raises(ValueError, match="batch_size must be a positive multiple of the 2 processes, got 3"):
        epoch_loader(DATA, batch_size=3, batches=2)


def test_a_resumed_run_goes_on_with_what_would_have_come(tmp_path):
    def seen(epochs, **kwargs):
        images, net = [], nano.network()
        trainer = nano.bilevel(net, epochs=epochs, handlers=[TrainState(net, tmp_path / "s.pt", keep=True)], **kwargs)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: images.append(e.state.output[0]["image"].sum()))
        trainer.run()
        return torch.stack(images)

    def loader():
        return epoch_loader(Dataset(nano.samples(4)), batch_size=1, batches=2, seed=1)

    first = seen(1, train_data_loader=loader())
    rest = seen(3, train_data_loader=loader())
    (tmp_path / "s.pt").unlink()
    torch.testing.assert_close(seen(3, train_data_loader=loader()), torch.cat([first, rest]))


def test_an_epoch_without_batches_is_refused():
    with pytest.raises(ValueError, match="batches of an epoch must be a whole number, at least 1, got 0"):
        epoch_loader(DATA, batch_size=2, batches=0)
