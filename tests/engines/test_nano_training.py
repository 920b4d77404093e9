import multiprocessing
import os
import signal

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch.nn.parallel import DistributedDataParallel

from amsam_monai.data.embeddings.dataset import CachedEmbeddingDataset
from amsam_monai.engines import PrepareSystemBatch, embedding_cache
from amsam_monai.handlers import TrainState, checkpoints, load_adapter, save_atomically
from tests.engines import nano


def mean(values):
    return sum(values) / len(values)


def supervised(net, data, epochs=2, batch_size=2):
    """Losses of plain training."""
    losses = []
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(data, batch_size=batch_size),
        network=net,
        optimizer=torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=2e-3),
        loss_function=nano.loss(),
        prepare_batch=PrepareSystemBatch(low_res=True),
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output[0]["loss"]))
    trainer.run()
    return losses


def test_training_reduces_the_loss_on_either_road():
    plain = supervised(nano.network(), nano.samples(4), epochs=6)
    assert mean(plain[-2:]) < 0.8 * mean(plain[:2])
    losses = []
    nano.bilevel(nano.network(), epochs=4, losses=losses).run()
    for level in (0, 1):
        assert mean([pair[level] for pair in losses[-4:]]) < 0.9 * mean([pair[level] for pair in losses[:4]])


@pytest.mark.parametrize("order", ["second", "finite_difference"])
def test_the_other_orders_train_a_real_decoder(order):
    losses, net = [], nano.network()
    nano.bilevel(net, epochs=2, losses=losses, order=order, accumulation_steps=2).run()
    assert all(parameter.isfinite().all() for parameter in net.parameters())
    assert losses[-1][1] < losses[1][1]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_cached_and_uncached_training_have_the_same_losses(tmp_path, dtype):
    def train(enabled):
        net = nano.network()
        cache = embedding_cache(net, tmp_path, dtype=dtype, enabled=enabled)
        data = CachedEmbeddingDataset(nano.samples(4), cache=cache, encode=net.encode, progress=False)
        return supervised(net, data)

    assert train(True) == pytest.approx(train(False), abs=1e-5)


def test_training_on_images_has_the_losses_of_training_on_a_float32_cache(tmp_path):
    net = nano.network()
    cache = embedding_cache(net, tmp_path, dtype="float32")
    data = CachedEmbeddingDataset(nano.samples(4), cache=cache, encode=net.encode, progress=False)
    assert supervised(net, data) == pytest.approx(supervised(nano.network(), nano.samples(4)), abs=1e-5)


def test_the_cache_is_that_of_the_encoder_s_weights_and_frame(tmp_path):
    nets = [nano.network(), nano.network(), nano.network(resize="stretch")]
    caches = [embedding_cache(net, tmp_path).folder for net in nets]
    other = nano.network()
    next(other.sam.image_encoder.parameters()).data += 1
    caches.append(embedding_cache(other, tmp_path).folder)
    assert caches[0] == caches[1]
    assert len(set(caches)) == 3
    with pytest.raises(ValueError, match="only where the image encoder is frozen"):
        embedding_cache(nano.network(encoder_lora_rank=2), tmp_path)


def resumable(net, folder, **kwargs):
    state = TrainState(net, folder / "state.pt", seed=3)
    return nano.bilevel(net, handlers=[state], accumulation_steps=3, lower_steps=2, **kwargs)


def _killed(folder, order, iteration, half_written):
    """Train until the process kills itself, at an iteration or half through writing a state."""
    torch.set_num_threads(1)
    trainer = resumable(nano.network(), folder, order=order)

    @trainer.on(Events.ITERATION_STARTED(once=iteration))
    def kill(engine):
        if half_written:
            checkpoints.torch.save = write_half
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_half(content, path):
        path.write_bytes(b"PK half a file")
        os.kill(os.getpid(), signal.SIGKILL)

    trainer.run()


ENDS = [
    ("first", 7, False),
    ("first", 8, True),
    pytest.param("first", 3, False, marks=pytest.mark.slow),
    pytest.param("second", 10, False, marks=pytest.mark.slow),
    pytest.param("finite_difference", 10, False, marks=pytest.mark.slow),
]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("order", "iteration", "half_written"), ENDS)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, order, iteration, half_written):
    whole = nano.network()
    losses = []
    resumable(whole, tmp_path / "whole", order=order, losses=losses).run()
    assert not (tmp_path / "whole" / "state.pt").exists()

    process = multiprocessing.get_context("fork").Process(
        target=_killed, args=(tmp_path, order, iteration, half_written), daemon=True
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "state.pt").is_file() == (iteration > 4)

    resumed, rest = nano.network(), []
    trainer = resumable(resumed, tmp_path, order=order, losses=rest)
    trainer.run()
    assert len(rest) == 12 - 4 * ((iteration - 1) // 4)
    assert str(rest) == str(losses[-len(rest) :])  # NaN where there was no upper step yet
    assert trainer.state.epoch == 3
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_the_state_keeps_the_best_epoch_and_training_can_be_made_longer(tmp_path):
    def run(net, epochs, keep):
        state = TrainState(net, tmp_path / "state.pt", keep=keep)
        trainer = nano.bilevel(net, epochs=epochs, handlers=[state])
        trainer.state.best_metric, trainer.state.best_metric_epoch = 0.75, 1
        trainer.run()
        return trainer

    run(nano.network(), 1, keep=True)
    trainer = run(nano.network(), 2, keep=True)
    assert trainer.state.iteration == 8
    content = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (content["epoch"], content["best"]) == (2, {"metric": 0.75, "epoch": 1})


def test_a_state_of_other_settings_is_refused(tmp_path):
    net = nano.network()
    nano.bilevel(net, epochs=1, handlers=[TrainState(net, tmp_path / "s.pt", settings={"draw": 0}, keep=True)]).run()
    for kwargs, message in [({"settings": {"draw": 1}}, "draw was 0, is 1"), ({"seed": 1}, "seed was 0, is 1")]:
        state = TrainState(net, tmp_path / "s.pt", **kwargs)
        with pytest.raises(ValueError, match=f"run with other settings: .*{message}.*Remove .*s.pt"):
            nano.bilevel(net, epochs=1, handlers=[state]).run()
    (tmp_path / "s.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"damaged or not a checkpoint.*Remove"):
        nano.bilevel(net, epochs=1, handlers=[TrainState(net, tmp_path / "s.pt")]).run()
    save_atomically({"model": {}}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match="must be written by TrainState"):
        nano.bilevel(net, epochs=1, handlers=[TrainState(net, tmp_path / "s.pt")]).run()
    nano.bilevel(net, epochs=1, handlers=[TrainState(net, tmp_path / "s.pt", resume=False)]).run()


# AdamW divides a gradient by its own size. With its usual eps of 1e-8, one that is zero but for rounding moves its
# weight by a whole step: noise of 1e-7 on all gradients moved weights by 1.5e-2 in these runs, with this eps by 1e-5.
SMOOTH = 1e-5


def _distributed(rank, folder, order):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    net, losses = nano.network(), []
    wrapped = DistributedDataParallel(net, find_unused_parameters=True)
    nano.bilevel(net, wrapped=wrapped, rank=rank, processes=2, order=order, losses=losses, eps=SMOOTH).run()
    save_atomically({"losses": losses, "adapter": net.adapter_state_dict()}, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("order", ["first", pytest.param("second", marks=pytest.mark.slow)])
def test_two_processes_have_the_losses_and_weights_of_one(tmp_path, order):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_distributed, args=(rank, tmp_path, order), daemon=True) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]

    net, losses = nano.network(), []
    nano.bilevel(net, batch_size=2, order=order, losses=losses, eps=SMOOTH).run()
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for level in (0, 1):
        together = [mean([a[level], b[level]]) for a, b in zip(*(rank["losses"] for rank in ranks), strict=True)]
        assert together == pytest.approx([pair[level] for pair in losses], abs=1e-4)
    for name, value in net.adapter_state_dict().items():
        assert torch.equal(ranks[0]["adapter"][name], ranks[1]["adapter"][name])
        assert torch.allclose(ranks[0]["adapter"][name], value, atol=1e-4)


CONFIG = """
network:
  _target_: amsam_monai.networks.systems.amsam.AMSAM
  sam: {_target_: amsam_monai.networks.sam.build_sam, backbone: vit_nano, image_size: 64}
halves: {_target_: amsam_monai.engines.split_by_patient, datalist: "@datalist", fraction: 0.5, seed: 0}
optimizer: {_target_: torch.optim.AdamW, params: "$@network.lower_parameters()", lr: 0.005, weight_decay: 0.1}
upper_optimizer: {_target_: torch.optim.AdamW, params: "$@network.upper_parameters()", lr: 0.001, weight_decay: 0.1}
trainer:
  _target_: amsam_monai.engines.BilevelTrainer
  device: cpu
  max_epochs: 1
  order: "@order"
  train_data_loader: {_target_: DataLoader, dataset: "$@halves[0]", batch_size: 2, shuffle: true}
  upper_data_loader: {_target_: amsam_monai.engines.cycling_loader, dataset: "$@halves[1]"}
  network: "@network"
  optimizer: "@optimizer"
  upper_optimizer: "@upper_optimizer"
  loss_function:
    _target_: amsam_monai.losses.LowResLoss
    loss: {_target_: amsam_monai.losses.CEDiceLoss}
    image_size: 64
  train_handlers:
    - {_target_: amsam_monai.handlers.PolynomialDecay, optimizers: ["@optimizer", "@upper_optimizer"]}
    - {_target_: amsam_monai.handlers.AdapterSaver, network: "@network", path: "@path", keep: last}
    - {_target_: amsam_monai.handlers.TrainState, network: "@network", path: "$@path + '.state'"}
"""


@pytest.mark.parametrize("order", ["first", "second"])
def test_both_orders_run_from_a_config(tmp_path, order):
    parser = ConfigParser(ConfigParser.load_config_file(_written(tmp_path / "train.yaml")))
    parser["datalist"], parser["order"], parser["path"] = nano.samples(4), order, str(tmp_path / "model.pt")
    trainer = parser.get_parsed_content("trainer")
    trainer.run()
    trained = load_adapter(nano.network(), tmp_path / "model.pt")
    assert torch.equal(trained.prompt_embedding, trainer.network.prompt_embedding)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".yaml"] == ["model.pt"]


def _written(path):
    path.write_text(CONFIG, encoding="utf-8")
    return path
