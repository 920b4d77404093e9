"""MONAI FL trains and scores bundles: two clients, two rounds, in this process, on phantoms."""

import pytest
import torch
from monai.fl.client.monai_algo import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject

from amsam_monai.bundles.build import build_bundle
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.systems.training_wrappers import unwrap
from amsam_monai.phantoms.sets import write_phantoms

QUICK = {
    "settings#sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "precision": "float32",
    "listed": None,
    "shots": 2,
    "val": 1,
    "pool": 2,
    "batch_size": 2,
    "mixed_phantoms": 2,
}
METHODS = {
    "amsam": {"settings#detector": None, "steps_per_epoch": 2, "views": 1},
    "aisam": {"settings#arguments#depth": 1, "window": 0},
    "autosam": {"settings#arguments#backbone_weights": None},
}


def client(method, name, root):
    """A client with data of its own, initialised as MONAI FL does it."""
    bundle = build_bundle(f"isic_{method}", root / name)
    list(write_phantoms("isic", root / f"data_{name}", cases=5, side=48, seed=len(name)))
    overrides = {**QUICK, **METHODS[method], "bundle_root": str(bundle), "dataset_dir": str(root / f"data_{name}")}
    algo = MonaiAlgo(
        str(bundle),
        local_epochs=1,
        send_weight_diff=False,
        config_train_filename="configs/train.yaml",
        config_evaluate_filename=["configs/train.yaml", "configs/evaluate.yaml"],
        train_kwargs=dict(overrides),
        eval_kwargs=dict(overrides),
    )
    algo.initialize({ExtraItems.CLIENT_NAME: name})
    return algo


def adapter(network):
    return {name: value.detach().clone() for name, value in unwrap(network).adapter_state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_two_clients_train_together_and_score_the_weights_that_they_are_sent(method, folder):
    clients = [client(method, name, folder) for name in ("one", "other")]
    shared = clients[0].get_weights().weights
    assert not [name for name in shared if "module." in name]
    trained = set(adapter(clients[0].trainer.network))
    assert trained <= set(shared)
    for _ in range(2):
        sent = {name: value.clone() for name, value in shared.items()}
        answers = []
        for algo in clients:
            algo.train(ExchangeObject(weights={name: value.clone() for name, value in sent.items()}))
            answers.append(algo.get_weights().weights)
        assert any(not torch.equal(answers[0][name], sent[name]) for name in trained)
        assert any(not torch.equal(answers[0][name], answers[1][name]) for name in trained)
        shared = {
            name: (answers[0][name] + answers[1][name]) / 2 if value.is_floating_point() else value
            for name, value in answers[0].items()
        }
        for algo in clients:
            save_another(algo)
            metrics = algo.evaluate(ExchangeObject(weights=shared)).metrics
            assert "val_dice" in metrics
            scored = adapter(algo.evaluator.network)
            assert all(torch.equal(scored[name].cpu(), shared[name].cpu()) for name in trained)


def save_another(algo):
    """Put a model file into the client's bundle that must not be what is scored."""
    network = unwrap(algo.trainer.network)
    own = adapter(network)
    network.load_adapter_state_dict({name: value * 0 for name, value in own.items()})
    save_adapter(network, f"{algo.bundle_root}/models/model.pt")
    network.load_adapter_state_dict(own)
