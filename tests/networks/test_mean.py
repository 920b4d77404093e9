"""The mean of systems: its answer from theirs, by hand."""

import pytest
import torch
import torch.nn.functional as F

from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import AutoSAM, build_autosam
from amsam_monai.networks.systems.mean import Mean
from tests.contract import SystemContract
from tests.networks.test_amsam import FixedDetector


def nano(side=64):
    return build_sam("vit_nano", image_size=side)


def plain(num_classes, side=64, **settings):
    return AMSAM(nano(side), num_classes=num_classes, missing_box="learned", **settings)


class TestTwoOfOneSize(SystemContract):
    def build(self, num_classes):
        other = AISAM(nano(), num_classes=num_classes, depth=1, num_points=2, gate=False)
        return Mean([plain(num_classes), other])


class TestOneThatHeedsNoPrompts(SystemContract):
    classes = 3

    def build(self, num_classes):
        generator = PromptGenerator("sam", num_classes=num_classes, grid=4)
        return Mean([plain(num_classes, 96), AutoSAM(nano(), generator, num_classes=num_classes)])


def built(num_classes=2, *, other=None, **settings):
    torch.manual_seed(0)
    other = other or build_autosam(nano(), num_classes=num_classes)
    net = Mean([plain(num_classes, 96, **settings), other]).eval()
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return net


def share(logits):
    return logits.softmax(1)


@torch.no_grad()
def test_the_probabilities_are_the_mean_of_the_members():
    net, image = built(), torch.rand(2, 3, 50, 80)
    wanted = torch.stack([share(member(image)) for member in net.members]).mean(0)
    torch.testing.assert_close(share(net(image)), wanted)
    torch.testing.assert_close(net(image).exp(), wanted)  # the logits are their logarithms
    answer, own = net.segment(image), [member.segment(image) for member in net.members]
    torch.testing.assert_close(answer.quality, (own[0].quality + own[1].quality) / 2)


@torch.no_grad()
def test_a_prompted_class_is_answered_by_those_who_heed_and_the_others_share_the_rest():
    net, image = built(3), torch.rand(2, 3, 50, 80)
    points = torch.full((2, 3, 1, 2), torch.nan)
    points[0, 1, 0] = torch.tensor([20.0, 30.0])  # the second class of the first image alone
    prompts = Prompts(points, torch.ones(2, 3, 1))
    before, after = share(net(image)), share(net(image, prompts=prompts))
    torch.testing.assert_close(after[1], before[1])
    heeding = share(net.members[0](image, prompts=prompts))
    torch.testing.assert_close(after[0, 2], heeding[0, 2])
    others = [0, 1, 3]
    wanted = before[0, others] / before[0, others].sum(0) * (1 - heeding[0, 2])
    torch.testing.assert_close(after[0, others], wanted)
    assert not torch.allclose(heeding[0, 2], before[0, 2], atol=1e-3)


@torch.no_grad()
def test_all_who_heed_prompts_answer_them():
    net, image = built(1, other=plain(1)), torch.rand(1, 3, 64, 64)
    prompts = Prompts(box_xyxy=torch.tensor([[[8.0, 8.0, 40.0, 48.0]]]))
    wanted = torch.stack([share(member(image, prompts=prompts)) for member in net.members]).mean(0)
    torch.testing.assert_close(share(net(image, prompts=prompts)), wanted)


@torch.no_grad()
def test_a_persons_box_leaves_the_detectors_boxes_of_other_classes():
    net, image = built(2, detector=FixedDetector(classes=2)), torch.rand(1, 3, 64, 64)
    own = net.members[0].segment(image).prompts.box_xyxy
    boxes = torch.tensor([[[torch.nan] * 4, [30.0, 30.0, 60.0, 60.0]]])
    heeding = net.members[0](image, prompts=Prompts(box_xyxy=torch.stack([own[0, 0], boxes[0, 1]])[None]))
    torch.testing.assert_close(share(net(image, prompts=Prompts(box_xyxy=boxes)))[:, 2], share(heeding)[:, 2])


@torch.no_grad()
def test_a_mask_prompt_reaches_members_of_other_squares():
    net, image = built(1, other=plain(1)), torch.rand(1, 3, 64, 64)
    mask = torch.full((1, 1, 24, 24), -8.0)
    mask[..., 8:16, 8:16] = 8
    parts = [Prompts(mask=F.interpolate(mask, (4 * one.sam.grid,) * 2, mode="bilinear")) for one in net.members]
    wanted = torch.stack([share(one(image, prompts=part)) for one, part in zip(net.members, parts, strict=True)])
    torch.testing.assert_close(share(net(image, prompts=Prompts(mask=mask))), wanted.mean(0))


def test_kept_embeddings_are_those_of_all_encoders(tmp_path):
    net = built()
    first = embedding_cache(net, tmp_path).path("x")
    assert embedding_cache(net, tmp_path).path("x") == first
    with torch.no_grad():
        next(net.members[1].sam.image_encoder.parameters()).add_(1.0)
    assert embedding_cache(net, tmp_path).path("x") != first


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([plain(1)], "members must be two systems at least, got 1"),
        ([plain(1), plain(2)], "same classes and framing, 1 and 'pad', got 2 and 'pad'"),
        ([plain(1), plain(1, resize="stretch")], "got 1 and 'stretch'"),
    ],
)
def test_members_that_do_not_fit_each_other_are_refused(members, message):
    with pytest.raises(ValueError, match=message):
        Mean(members)
