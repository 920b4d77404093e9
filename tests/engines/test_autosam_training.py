"""Rates and loss of AutoSAM's training, and the light form's start."""

import pytest
import torch

from amsam_monai.engines.autosam_training import adam, low_res_loss, ready_to_train
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.losses import BCEDiceLoss, CEDiceLoss
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM


def network(classes=1, **settings):
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(sam, PromptGenerator("sam", grid=4, num_classes=classes), num_classes=classes, **settings)


def test_a_tuned_backbone_learns_at_its_share_of_the_rate():
    net = AutoSAM(build_sam("vit_nano", image_size=64), PromptGenerator("sam", grid=4, tuned=True))
    rest, backbone = adam(net, learning_rate=0.01, pretrained_rate=0.1).param_groups
    assert (rest["lr"], backbone["lr"]) == (0.01, pytest.approx(0.001))
    tuned = sum(p.numel() for p in net.generator.backbone.parameters() if p.requires_grad)
    assert sum(p.numel() for p in backbone["params"]) == tuned > 0
    assert len(adam(network(), learning_rate=0.01).param_groups) == 1


def test_one_class_learns_by_bce_and_several_by_ce():
    assert isinstance(low_res_loss(network()).loss, BCEDiceLoss)
    assert isinstance(low_res_loss(network(2)).loss, CEDiceLoss)


def test_the_light_form_starts_from_the_trained_generator(tmp_path):
    trained = network(surrogate=SurrogateDecoder())
    name, weight = next((n, p) for n, p in trained.generator.named_parameters() if p.requires_grad)
    with torch.no_grad():
        weight.add_(1)
    save_adapter(trained, tmp_path / "model.pt")
    light = ready_to_train(network(surrogate=SurrogateDecoder(), light=True), tmp_path / "model.pt", "cpu")
    assert torch.equal(light.generator.get_parameter(name), weight)
    with pytest.raises(FileNotFoundError):
        ready_to_train(network(surrogate=SurrogateDecoder(), light=True), tmp_path / "nothing.pt", "cpu")
