import pytest
import torch
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from amsam_monai.handlers import AdapterCheckpointLoader, AdapterSaver, load_adapter, save_atomically


class Adapted(nn.Module):
    """A frozen layer and a trained one, with the two methods that systems have."""

    def __init__(self, width=1):
        super().__init__()
        self.frozen = nn.Conv2d(3, 3, 1).requires_grad_(False)
        self.trained = nn.Conv2d(3, width, 1)

    def forward(self, image):
        return self.trained(self.frozen(image))

    def adapter_state_dict(self):
        return {name: value for name, value in self.state_dict().items() if name.startswith("trained")}

    def load_adapter_state_dict(self, state):
        if {name: value.shape for name, value in state.items()} != {
            name: value.shape for name, value in self.adapter_state_dict().items()
        }:
            raise ValueError("the adapter does not fit this network.")
        self.load_state_dict(state, strict=False)


def evaluator(network, scores, handlers):
    """An evaluator whose key metric takes the next of `scores` at each run."""
    batches = [{"image": torch.zeros(1, 3, 4, 4), "label": torch.zeros(1, 1, 4, 4)}]
    metric = Average(output_transform=lambda output: next(scores))
    return SupervisedEvaluator(
        device="cpu", val_data_loader=batches, network=network, key_val_metric={"dice": metric}, val_handlers=handlers
    )


def test_the_best_epoch_is_kept_whatever_comes_after(tmp_path):
    network, path = Adapted(), tmp_path / "models" / "model.pt"
    engine = evaluator(network, iter([0.5, 0.8, 0.6]), [AdapterSaver(network, path)])
    for epoch in (1, 2, 3):
        network.trained.bias.data.fill_(epoch)
        engine.run(epoch)
    assert torch.load(path, weights_only=True)["model"]["trained.bias"].item() == 2


def test_the_file_holds_the_adapter_alone_and_no_temporary_stays(tmp_path):
    network = Adapted()
    evaluator(network, iter([0.5]), [AdapterSaver(network, tmp_path / "model.pt")]).run(1)
    assert sorted(torch.load(tmp_path / "model.pt", weights_only=True)["model"]) == ["trained.bias", "trained.weight"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_last_is_written_after_each_epoch_of_a_trainer(tmp_path):
    network = Adapted()
    batches = [{"image": torch.rand(1, 3, 4, 4), "label": torch.rand(1, 1, 4, 4)}]
    SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.SGD(network.trained.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
        train_handlers=[AdapterSaver(network, tmp_path / "last.pt", keep="last")],
    ).run()
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["model"]
    assert torch.equal(saved["trained.weight"], network.trained.weight)


def test_half_stores_float16_and_loads_back_as_float32(tmp_path):
    network, path = Adapted(), tmp_path / "model.pt"
    evaluator(network, iter([0.5]), [AdapterSaver(network, path, half=True)]).run(1)
    assert torch.load(path, weights_only=True)["model"]["trained.weight"].dtype == torch.float16
    other = load_adapter(Adapted(), path)
    assert other.trained.weight.dtype == torch.float32
    assert torch.equal(other.trained.weight, network.trained.weight.half().float())


def test_a_wrapped_network_saves_the_keys_of_the_network_inside(tmp_path):
    network = Adapted()
    evaluator(network, iter([0.5]), [AdapterSaver(nn.DataParallel(network), tmp_path / "model.pt")]).run(1)
    assert load_adapter(Adapted(), tmp_path / "model.pt").trained.weight.equal(network.trained.weight)


def test_a_plain_network_is_saved_whole(tmp_path):
    network, path = nn.Conv2d(3, 2, 1), tmp_path / "model.pt"
    evaluator(network, iter([0.5]), [AdapterSaver(network, path)]).run(1)
    assert load_adapter(nn.Conv2d(3, 2, 1), path).weight.equal(network.weight)
    with pytest.raises(ValueError, match="does not fit this network"):
        load_adapter(nn.Conv2d(3, 3, 1), path)


def test_the_loader_fills_the_network_at_the_start(tmp_path):
    network, other = Adapted(), Adapted()
    save_atomically({"model": network.adapter_state_dict()}, tmp_path / "model.pt")
    evaluator(other, iter([0.5]), [AdapterCheckpointLoader(other, tmp_path / "model.pt")]).run(1)
    assert torch.equal(other.trained.weight, network.trained.weight)
    assert not torch.equal(other.frozen.weight, network.frozen.weight)


def test_an_adapter_of_other_settings_is_refused_by_file_name(tmp_path):
    save_atomically({"model": Adapted(width=2).adapter_state_dict()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: the adapter does not fit"):
        load_adapter(Adapted(), tmp_path / "model.pt")


def test_a_missing_adapter_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*model\.pt.* Train the bundle first"):
        load_adapter(Adapted(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half"])
def test_a_damaged_adapter_is_refused(tmp_path, content):
    path = tmp_path / "model.pt"
    save_atomically({"model": Adapted().adapter_state_dict()}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content == "half" else content)
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        load_adapter(Adapted(), path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    torch.save({"model": Adapted()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged or not a checkpoint"):
        load_adapter(Adapted(), tmp_path / "model.pt")


def test_a_checkpoint_without_tensors_is_refused(tmp_path):
    save_atomically({"model": {"epoch": 3}}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r'must hold \{"model": adapter\}'):
        load_adapter(Adapted(), tmp_path / "model.pt")


def test_best_needs_a_key_metric(tmp_path):
    engine = SupervisedEvaluator(device="cpu", val_data_loader=[], network=Adapted())
    with pytest.raises(ValueError, match="needs an engine with a key metric"):
        AdapterSaver(Adapted(), tmp_path / "model.pt").attach(engine)


def test_an_unknown_keep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep must be one of"):
        AdapterSaver(Adapted(), tmp_path / "model.pt", keep="all")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    save_atomically({"model": {"a": torch.ones(1)}}, path)
    with pytest.raises(Exception):  # noqa: B017 - whatever pickle raises for a generator
        save_atomically({"model": (i for i in range(2))}, path)
    assert torch.load(path, weights_only=True)["model"]["a"].item() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
