"""The three methods in one network, and each part left out."""

import itertools

import pytest
import torch
from torch import nn

from amsam_monai.losses import AISAMLoss
from amsam_monai.networks.prompts.class_prompts import ClassPrompts
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM
from amsam_monai.networks.systems.training_wrappers import WithLossInputs
from amsam_monai.networks.systems.unified import DensePrompter, build_unified


class FixedDetector(nn.Module):
    def forward(self, pixels):
        box = torch.tensor([[16.0, 16.0, 48.0, 48.0], [torch.nan] * 4])
        return box.expand(len(pixels), 2, 4), torch.ones(len(pixels), 2)


def build(points=True, box=True, dense=True, calibration="fused"):
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    generator = PromptGenerator("efficientnet_lite0", num_classes=2, grid=sam.grid) if dense else None
    return build_unified(
        sam,
        num_classes=2,
        points=points,
        detector=FixedDetector() if box else None,
        generator=generator,
        calibration=calibration,
        depth=1,
        gate=False,
    )


@pytest.fixture
def image():
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


SWITCHES = [s for s in itertools.product([True, False], repeat=3) if any(s)]


@pytest.mark.parametrize(("points", "box", "dense"), SWITCHES)
def test_every_choice_of_parts_segments_and_trains(points, box, dense, image):
    net = build(points, box, dense).train()
    label = torch.randint(0, 3, (2, 1, 64, 64))
    AISAMLoss(image_size=64)(WithLossInputs(net)(image, low_res=True), label).backward()
    trained = {
        name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert ("prompter" in trained) == points
    assert ("dense_prompter" in trained) == dense
    assert "sam" in trained
    answer = net.eval().segment(image)
    assert answer.logits.shape == (2, 3, 64, 64)
    assert (answer.prompts.points_xy.isnan().all()) == (not points)


def test_the_detectors_box_confines_points_and_mask(image):
    free, confined = build(box=False).eval(), build(box=True).eval()
    answer = confined.segment(image)
    own = answer.prompts.points_xy[:, 0][answer.prompts.point_labels[:, 0] > 0]
    assert ((own >= 16) & (own < 48)).all()
    outside = answer.logits[:, 1, :8]
    assert (outside < free.segment(image).logits[:, 1, :8]).all()


def test_the_box_is_a_prompt_of_its_class_too(image):
    net = build(points=False, dense=False).eval()
    prompted = net(image)
    assert (prompted[:, 2] <= -1e3).all()  # no box, no mask
    smaller = torch.tensor([[20.0, 20.0, 40.0, 40.0], [torch.nan] * 4]).expand(2, 2, 4)
    other = net(image, prompts=ClassPrompts(box_xyxy=smaller))
    assert not torch.allclose(prompted[:, 1, 22:38, 22:38], other[:, 1, 22:38, 22:38], atol=1e-4)
    answer = net.segment(image)
    torch.testing.assert_close(net.segment(image, answer.prompts).logits, answer.logits)


def test_the_dense_prompt_matters_and_a_point_still_counts(image):
    net = build(points=False, box=False).eval()
    before = net(image)
    clicked = net(image, prompts=ClassPrompts(torch.full((2, 2, 1, 2), 30.0), torch.ones(2, 2, 1)))
    assert not torch.equal(before, clicked)
    net.dense_prompter.generator.decoder.final[-1].bias.data += 0.5
    assert not torch.equal(before, net(image))


@torch.no_grad()
def test_its_dense_prompt_is_autosams(image):
    sam = build_sam("vit_nano", image_size=64)
    generator = PromptGenerator("sam", num_classes=2, grid=sam.grid).eval()
    embedding = sam.encode(image)
    wanted = AutoSAM(sam, generator, num_classes=2).eval().dense_prompt(image, embedding)
    assert torch.equal(DensePrompter(generator)(image, embedding), wanted)


def test_something_must_prompt():
    with pytest.raises(ValueError, match="automatic_points=False must come with a dense prompter"):
        build(points=False, box=False, dense=False)
