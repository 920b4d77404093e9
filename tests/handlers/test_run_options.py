"""What a run computes with, as plain values."""

import torch
from monai.losses import DiceCELoss

from amsam_monai.engines.autosam_training import adam
from amsam_monai.handlers import loss_options, optimizer_options
from amsam_monai.losses import AISAMLoss, CEDiceLoss, LowResLoss
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import build_autosam


def test_a_loss_tells_its_weights_and_those_of_its_parts():
    told = loss_options(LowResLoss(CEDiceLoss(dice_weight=0.3), image_size=64))
    assert (told["class"], told["image_size"], told["resize"]) == ("LowResLoss", 64, "pad")
    assert (told["loss"]["class"], told["loss"]["dice_weight"]) == ("CEDiceLoss", 0.3)
    assert loss_options(AISAMLoss(image_size=64, prompt_weight=2.5))["weights"]["prompt"] == 2.5
    assert loss_options(torch.nn.functional.mse_loss) == {"class": "mse_loss"}


def test_weights_of_classes_in_a_loss_of_monai_are_told():
    one, other = (loss_options(DiceCELoss(softmax=True, weight=torch.tensor([1.0, w]))) for w in (2.0, 3.0))
    assert one != other
    assert loss_options(DiceCELoss(softmax=True, weight=torch.tensor([1.0, 2.0]))) == one


def test_what_is_told_stays_and_a_file_holds_it(tmp_path):
    loss = AISAMLoss(image_size=64)
    told = loss_options(loss)
    loss.weights["prompt"] = 9.0
    assert told["weights"]["prompt"] == 1.0
    torch.save(told, tmp_path / "told.pt")
    assert torch.load(tmp_path / "told.pt", weights_only=True) == told


def test_an_optimizer_tells_what_it_was_made_with_and_where_groups_differ():
    told = optimizer_options(torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1, weight_decay=0.3))
    assert (told["class"], told["weight_decay"], told["lr"], told["betas"]) == ("AdamW", 0.3, 0.1, [0.9, 0.999])
    net = build_autosam(build_sam("vit_nano", image_size=64), tuned=True)
    told = optimizer_options(adam(net, learning_rate=0.01, weight_decay=0.2, pretrained_rate=0.5))
    assert (told["lr"], told["weight_decay"]) == ([0.01, 0.005], 0.2)
