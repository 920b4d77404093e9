import pytest
import torch

from amsam_monai.losses import AISAMLoss
from amsam_monai.losses.aisam import presence_loss, quality_loss
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.training_wrappers import WithLossInputs


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return AISAM(build_sam("vit_nano", image_size=64), num_classes=2, num_points=2, num_class_tokens=4, depth=1).train()


def label(*size):
    label = torch.zeros(2, 1, *size, dtype=torch.long)
    label[0, 0, 5:20, 5:30] = 1
    label[1, 0, 10:30, 10:20] = 2
    return label


def test_one_step_downhill_lowers_the_loss_and_reaches_every_parameter(net):
    image, target, loss = torch.rand(2, 3, 40, 64), label(40, 64), AISAMLoss(image_size=64)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-3)
    values = []
    for _ in range(3):
        value = loss(WithLossInputs(net)(image, low_res=True), target)
        optimizer.zero_grad()
        value.backward()
        assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []
        optimizer.step()
        values.append(value.item())
    assert values[2] < values[0]


@torch.no_grad()
def test_terms_are_weighted_and_full_size_logits_do_as_well(net):
    image, target = torch.rand(2, 3, 40, 64), label(40, 64)
    outputs = WithLossInputs(net)(image)
    terms = AISAMLoss(image_size=64).terms(outputs, target)
    value = AISAMLoss(image_size=64, presence_weight=0.5, prompt_weight=0, quality_weight=2)(outputs, target)
    torch.testing.assert_close(value, terms["mask"] + 0.5 * terms["presence"] + 2 * terms["quality"])


def test_presence_is_what_the_label_holds():
    logits = torch.tensor([[9.0, 9.0, -9.0], [9.0, -9.0, 9.0]])
    assert presence_loss(logits, label(40, 64)) < 1e-3
    assert presence_loss(-logits, label(40, 64)) > 8


def test_quality_is_compared_with_the_overlap_of_classes_that_are_there():
    target = torch.tensor([[1, 1, 0, 255]])[None, None]
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 1, 0, 0] = logits[0, 0, 0, 1:] = 5  # finds one pixel of two; background has two of which one is right
    predicted = torch.tensor([[0.5, 0.5, 7.0]])
    assert quality_loss(predicted, logits, target) == 0


@torch.no_grad()
def test_another_square_is_refused(net):
    outputs = WithLossInputs(net)(torch.rand(2, 3, 40, 64), low_res=True)
    with pytest.raises(ValueError, match=r"give the loss the network's image_size and resize"):
        AISAMLoss(image_size=64, resize="stretch")(outputs, label(40, 64))
