from dataclasses import replace

import pytest
import torch
from torch import nn

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.class_prompts import ClassPrompts, point_signs
from amsam_monai.networks.prompts.confine import box_cells, box_keeps, outside_of_masks
from amsam_monai.networks.prompts.prompt_sets import group_by_length
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.class_decoding import SUPPRESSED_LOGIT
from amsam_monai.networks.systems.training_wrappers import WithLossInputs
from tests.contract import SystemContract

NAN = torch.nan


def build(num_classes=2, **settings):
    torch.manual_seed(0)
    settings = {"num_points": 2, "num_class_tokens": 4, "depth": 1, "gate": False} | settings
    return AISAM(build_sam("vit_nano", image_size=64), num_classes=num_classes, **settings)


def clicks(*per_class):
    """Prompts of one image: for each class a list of (x, y, label)."""
    longest = max(map(len, per_class))
    rows = [[*points, *[(NAN, NAN, 1)] * (longest - len(points))] for points in per_class]
    table = torch.tensor(rows, dtype=torch.float32)[None]
    return {"points_xy": table[..., :2], "point_labels": table[..., 2]}


def state(net, presence):
    """Make the classifier say so for any image."""
    nn.init.zeros_(net.classifier.head.weight)
    net.classifier.forward = lambda embedding: torch.tensor([presence]).expand(len(embedding), -1)
    return net


@pytest.fixture(scope="module")
def net():
    return build().eval()


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class TestAISAM(SystemContract):
    def build(self, num_classes):
        return build(num_classes)


class TestAISAMOfThreeClassesBehindTheGate(SystemContract):
    classes = 3

    def build(self, num_classes):
        return build(num_classes, gate=True, calibration="fused", decoder="lora", encoder="frozen")


@torch.no_grad()
def test_a_batch_of_four_equals_four_singles_whatever_each_one_holds(net):
    images = torch.rand(4, 3, 64, 64)
    prompts = ClassPrompts(
        points_xy=torch.full((4, 2, 2, 2), NAN),
        point_labels=torch.ones(4, 2, 2),
        present=torch.tensor([[1.0, 0], [1, 1], [0, 0], [NAN, NAN]]),
    )
    prompts.points_xy[1, 0, 0], prompts.points_xy[3, 1] = torch.tensor([10.0, 20]), torch.tensor([30.0, 5])
    together = net(images, prompts=prompts)
    for i in range(4):
        one = ClassPrompts(
            prompts.points_xy[i : i + 1], prompts.point_labels[i : i + 1], present=prompts.present[i : i + 1]
        )
        torch.testing.assert_close(net(images[i : i + 1], prompts=one)[0], together[i], atol=1e-5, rtol=1e-5)


def test_an_answers_prompts_give_the_same_answer(net, image):
    asked = Prompts(**clicks([(5, 9, 1), (40, 40, 0)], []), box_xyxy=torch.tensor([[[NAN] * 4, [8.0, 8, 60, 50]]]))
    for prompts in (None, asked):
        answer = net.segment(image, prompts)
        again = net.segment(image, answer.prompts)
        torch.testing.assert_close(again.logits, answer.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(again.prompts.box_xyxy, answer.prompts.box_xyxy, equal_nan=True)


def test_points_in_the_padding_may_be_handed_back_but_not_asked_for(net):
    wide = torch.rand(1, 3, 20, 64, generator=torch.Generator().manual_seed(1))
    answer = net.segment(wide)
    points = answer.prompts.points_xy
    assert (points[..., 1] > 20 + 16).any()  # else another seed
    torch.testing.assert_close(net.segment(wide, answer.prompts).logits, answer.logits, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="points_xy must lie in the image of 64 x 20 pixels"):
        net.segment(wide, Prompts(points, answer.prompts.point_labels))
    with pytest.raises(ValueError, match="points_xy must lie in the image of 64 x 20 pixels"):
        net.segment(wide, replace(answer.prompts, points_xy=points + 64))


def test_automatic_points_lie_on_cell_centres_own_ones_first_then_backgrounds(net, image):
    prompts = net.segment(image).prompts
    assert prompts.points_xy.shape == (1, 2, 4, 2)
    assert prompts.point_labels[0].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert ((prompts.points_xy - 7.5) % 16 == 0).all()
    assert torch.equal(prompts.points_xy[0, 0, 2:], prompts.points_xy[0, 1, 2:])


def test_an_automatic_point_can_be_moved_and_removed(net, image):
    answer = net.segment(image)
    moved = replace(answer.prompts, points_xy=answer.prompts.points_xy.clone())
    moved.points_xy[0, 0, 0] = torch.tensor([1.0, 62.0])
    assert not torch.allclose(net.segment(image, moved).logits, answer.logits, atol=1e-4)
    moved.points_xy[0, 0, 0] = NAN
    one_less = net.segment(image, moved)
    assert not torch.allclose(one_less.logits, answer.logits, atol=1e-4)
    assert one_less.prompts.points_xy[0, 0].isnan().any(-1).sum() == 1 + 4  # and no automatic ones beside


def test_a_class_whose_points_are_all_removed_is_left_out(net, image):
    prompts = net.segment(image).prompts
    prompts.points_xy[0, 0, :2] = NAN
    logits = net.segment(image, prompts).logits
    assert (logits[:, 1] == SUPPRESSED_LOGIT).all()
    assert (logits[:, 2] > SUPPRESSED_LOGIT).all()


def test_automatic_points_may_be_asked_for_one_class_alone(net, image):
    answer = net.segment(image, ClassPrompts(automatic=torch.tensor([[False, True, False]])))
    assert not answer.prompts.points_xy[0, 0, :2].isnan().any()
    assert answer.prompts.points_xy[0, 1].isnan().all()
    assert (answer.logits[:, 2] == SUPPRESSED_LOGIT).all()


def test_what_the_classifier_does_not_see_is_left_out_and_its_points_count_for_nothing(image):
    net = state(build(gate=True).eval(), [-9.0, 3.0, -3.0])  # background is there whatever the classifier says
    answer = net.segment(image)
    assert (answer.logits[:, 2] == SUPPRESSED_LOGIT).all()
    assert answer.prompts.points_xy[0, 1, :2].isnan().all()
    torch.testing.assert_close(answer.presence, torch.tensor([[3.0, -3.0]]).sigmoid())
    torch.testing.assert_close(answer.quality[0, 1], torch.tensor(3.0).sigmoid())  # sure that there is nothing
    alone = net.segment(image, ClassPrompts(automatic=torch.tensor([[True, True, False]])))
    torch.testing.assert_close(alone.logits, answer.logits)


def test_a_person_overrules_the_classifier_by_choice_point_box_or_mask(image):
    net = state(build(gate=True).eval(), [0.0, -3.0, -3.0])
    for prompts in (
        ClassPrompts(present=torch.tensor([[1.0, NAN]])),
        Prompts(**clicks([(0, 0, 1)], [])),
        Prompts(box_xyxy=torch.tensor([[[0.0, 0, 32, 32], [NAN] * 4]])),
        Prompts(mask=torch.cat([torch.ones(1, 1, 16, 16), torch.full((1, 1, 16, 16), NAN)], dim=1)),
    ):
        answer = net.segment(image, prompts)
        assert answer.presence[0, 0] == 1
        assert (answer.logits[:, 1].amax() > SUPPRESSED_LOGIT).all()
        assert (answer.logits[:, 2] == SUPPRESSED_LOGIT).all()
    refused = net.segment(image, ClassPrompts(**clicks([(5, 5, 1)], []), present=torch.tensor([[0.0, NAN]])))
    assert (refused.logits[:, 1] == SUPPRESSED_LOGIT).all()


def test_a_point_is_for_its_class_and_against_the_others():
    prompts = clicks([(1, 1, 1), (3, 3, 0)], [(2, 2, 1)])
    signs = point_signs(prompts["points_xy"], prompts["point_labels"])[0]
    assert signs[0].tolist() == [[-1, 0], [-1, 0]]  # background
    assert signs[1].tolist() == [[1, -1], [-1, 0]]
    assert signs[2].tolist() == [[-1, 0], [1, 0]]


def test_a_point_against_every_class_is_for_background_once():
    prompts = clicks([(9, 9, 1), (3, 3, 0)], [(3, 3, 0), (7, 7, 0)])
    signs = point_signs(prompts["points_xy"], prompts["point_labels"])[0]
    assert signs[0].tolist() == [[-1, 1], [0, 0]]
    one = clicks([(3, 3, 0)])
    assert point_signs(one["points_xy"], one["point_labels"])[0, 0].tolist() == [[1]]


def test_boxes_confine_points_and_masks(net, image):
    box = torch.tensor([[[NAN] * 4, [32.0, 16, 64, 48]]])
    answer = net.segment(image, Prompts(box_xyxy=box))
    x, y = answer.prompts.points_xy[0, 1, :2].unbind(-1)
    assert ((x >= 32) & (x < 64) & (y >= 16) & (y < 48)).all()
    inside = answer.logits[0, 2] > SUPPRESSED_LOGIT / 2
    assert inside[16:48, 32:].all()
    assert not inside[:, :22].any()
    assert not inside[58:].any()


def test_box_cells_follow_the_middle_pixel_and_keep_the_nearest():
    boxes = torch.tensor([[[8.0, 8, 24, 25], [9.0, 9, 15, 15], [NAN] * 4]])
    cells = box_cells(boxes, 4, 64)[0]
    assert cells[0].nonzero().tolist() == [[0, 0], [1, 0]]
    assert cells[1].nonzero().tolist() == [[0, 0]]
    assert cells[2].all()


def test_a_mask_keeps_the_cells_of_its_box_and_one_around():
    kept = box_keeps(torch.tensor([[[16.0, 20, 24, 24], [NAN] * 4]]), 16, 64)[0]
    assert kept[0].nonzero().amin(0).tolist() == [4, 3]
    assert kept[0].nonzero().amax(0).tolist() == [6, 6]
    assert kept[1].all()


class FixedDetector(nn.Module):
    def forward(self, image):
        boxes = torch.tensor([[16.0, 16, 32, 32], [NAN] * 4]).expand(len(image), -1, -1)
        return boxes, boxes.isnan().logical_not().float()[..., 0]


def test_a_detectors_box_is_obeyed_with_a_margin_where_a_person_gave_none(image):
    net = build(box_source="detector", detector=FixedDetector(), box_margin=0.25).eval()
    found = net.segment(image).prompts.box_xyxy[0]
    assert found[0].tolist() == [12, 12, 36, 36]
    assert found[1].isnan().all()
    given = torch.tensor([[[1.0, 2, 30, 40], [NAN] * 4]])
    torch.testing.assert_close(net.segment(image, Prompts(box_xyxy=given)).prompts.box_xyxy, given, equal_nan=True)


class FixedDense(nn.Module):
    def __init__(self, dense):
        super().__init__()
        self.dense = nn.Parameter(dense.detach().clone())  # (1, 256)

    def forward(self, pixels, embedding):
        return self.dense.flatten()[None, :, None, None].expand(len(pixels), -1, 4, 4).repeat(1, 2, 1, 1)


@torch.no_grad()
def test_a_dense_prompter_stands_in_for_no_mask_of_the_foreground(image):
    net = build().eval()
    usual = net(image)
    no_mask = net.sam.prompt_encoder.no_mask_embed.weight
    net.dense_prompter = FixedDense(no_mask)
    torch.testing.assert_close(net(image), usual, atol=1e-5, rtol=1e-5)
    net.dense_prompter = FixedDense(no_mask + 1)
    changed = net(image)
    torch.testing.assert_close(changed[:, 0], usual[:, 0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(changed[:, 1:], usual[:, 1:], atol=1e-4)


def test_a_persons_mask_goes_before_the_dense_prompters(image):
    net = build(dense_prompter=FixedDense(torch.ones(1, 256))).eval()
    mask = torch.full((1, 2, 16, 16), NAN)
    mask[0, 0] = 3.0
    with_mask = net(image, prompts=Prompts(mask=mask))
    net.dense_prompter.dense.data += 1
    moved = net(image, prompts=Prompts(mask=mask))
    torch.testing.assert_close(moved[:, :2], with_mask[:, :2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(moved[:, 2], with_mask[:, 2], atol=1e-4)


def test_box_source_none_obeys_no_box(image):
    net = build(box_source="none").eval()
    box = torch.tensor([[[0.0, 0, 8, 8], [0, 0, 8, 8]]])
    assert torch.equal(net(image, prompts=Prompts(box_xyxy=box)), net(image))


@torch.no_grad()
def test_one_hot_and_generalised_points_can_be_compared_in_evaluation_mode(image):
    hard, soft = (build(one_hot=flag).eval() for flag in (True, False))
    soft.load_state_dict(hard.state_dict())
    assert not torch.equal(hard(image), soft(image))
    assert torch.equal(WithLossInputs(hard)(image)["weights"], WithLossInputs(soft)(image)["weights"])


def unsettled():
    """A network without and with a second look, some of whose points lie outside their masks."""
    first, second = (build(num_points=4, num_class_prompts=2, second_look=look).eval() for look in (False, True))
    with torch.no_grad():
        first.class_prompts[1, :, :128] += 2  # foreground masks in some places, and not in others
    second.load_state_dict(first.state_dict())
    return first, second


@torch.no_grad()
def test_a_second_look_moves_points_into_their_masks_and_nothing_else(image):
    nets = unsettled()
    _, before = nets[0].predict_image(image)
    _, after = nets[1].predict_image(image)
    surest, outside = outside_of_masks(before.points.points_xy[:, 1:], before.logits, 64)
    assert outside.any()
    assert not outside.all()
    expected = torch.where(outside[..., None], surest[:, :, None], before.points.points_xy[:, 1:])
    assert torch.equal(after.points.points_xy[:, 1:], expected)
    assert torch.equal(after.points.points_xy[:, :1], before.points.points_xy[:, :1])
    assert not torch.equal(after.logits, before.logits)
    handed_in = nets[0].segment(image, nets[1].segment(image).prompts)
    torch.testing.assert_close(handed_in.logits, nets[1].segment(image).logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_second_look_keeps_points_in_the_box(image):
    _, second = unsettled()
    box = torch.tensor([[[8.0, 8, 40, 40], [20, 4, 60, 44]]])
    points = second.predict_image(image, prompts=Prompts(box_xyxy=box))[1].points.points_xy[:, 1:]
    assert bool(((points >= box[:, :, None, :2] - 4) & (points < box[:, :, None, 2:] + 4)).all())


@pytest.mark.parametrize("settings", [{}, {"num_points": [2, 1, 3, 2]}, {"one_hot": False}, {"second_look": True}])
@pytest.mark.parametrize("boxed", [False, True])
@torch.no_grad()
def test_points_of_absent_classes_are_not_made_and_nothing_else_changes(settings, boxed, monkeypatch):
    net = build(3, gate=True, num_class_prompts=2, **settings).eval()
    image = torch.rand(2, 3, 64, 64)
    box = torch.tensor([8.0, 8, 40, 40]).expand(2, 3, 4) if boxed else None
    prompts = ClassPrompts(box_xyxy=box, present=torch.tensor([[0.0, 0, 1], [1, 0, 1]]))
    seen, forward = [], net.prompter.transformer.forward

    def watched(tokens, *rest):
        seen.append(len(tokens))
        return forward(tokens, *rest)

    monkeypatch.setattr(net.prompter.transformer, "forward", watched)
    _, short = net.predict_image(image, prompts=prompts)
    points = net._points
    monkeypatch.setattr(net, "_points", lambda embedding, boxes, wanted: points(embedding, boxes, wanted | True))
    _, long = net.predict_image(image, prompts=prompts)
    assert seen == [3, 4]  # background and the two that one of the images has
    for name in ("logits", "iou", "presence"):
        torch.testing.assert_close(getattr(short, name), getattr(long, name), atol=1e-5, rtol=1e-5, equal_nan=True)
    for name in ("points_xy", "point_labels"):
        found, wanted = getattr(short.prompts, name), getattr(long.prompts, name)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert short.points.points_xy[:, 2].isnan().all()
    assert not short.points.weights[:, 2].any()


def test_training_hands_out_all_that_the_losses_read(image):
    net = build(gate=True).train()
    answer = WithLossInputs(net)(image.expand(2, -1, -1, -1), low_res=True)
    shapes = {name: tuple(value.shape) for name, value in answer.items()}
    assert shapes == {
        "logits": (2, 3, 16, 16),
        "weights": (2, 3, 2, 4, 4),
        "features": (2, 3, 2, 256),
        "points_xy": (2, 3, 2, 2),
        "presence_logits": (2, 3),
        "quality": (2, 3),
    }
    assert answer["logits"].amin() > SUPPRESSED_LOGIT  # nothing is gated


def test_gradients_behind_a_mask_are_those_of_groups(image, monkeypatch):
    def gradients():
        net = build(num_class_prompts=1, box_tokens=True, encoder="full").train()
        boxes = torch.tensor([[[8.0, 8, 40, 40], [NAN] * 4]])
        answer = WithLossInputs(net)(
            image, low_res=True, prompts=ClassPrompts(box_xyxy=boxes, present=torch.tensor([[1.0, 0.0]]))
        )
        (answer["logits"].square().mean() + answer["quality"].sum()).backward()
        return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.grad is not None}

    wanted = gradients()
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # no value may be read back then
    found = gradients()
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            found[name], gradient, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_every_parameter_that_trains_gets_a_gradient(image):
    for settings in ({}, {"encoder": "full", "decoder": "lora", "calibration": "fused"}, {"encoder": "frozen"}):
        net = build(**settings).train()
        answer = WithLossInputs(net)(image, low_res=True)
        sum(answer[name].square().mean() for name in ("logits", "features", "presence_logits", "quality")).backward()
        idle = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert idle == []


def test_prompter_and_classifier_losses_do_not_reach_the_encoder(image):
    net = build(encoder="full").train()
    answer = WithLossInputs(net)(image)
    (answer["features"].square().sum() + answer["presence_logits"].sum()).backward()
    assert all(parameter.grad is None for parameter in net.sam.parameters())


def test_a_class_known_to_be_absent_gives_no_negatives_in_training_but_still_a_mask(image):
    net = build().train()
    usual = net(image, low_res=True)
    known = net(image, low_res=True, prompts=ClassPrompts(present=torch.tensor([[1.0, 0.0]])))
    assert known.amin() > SUPPRESSED_LOGIT
    assert not torch.allclose(known[:, 1], usual[:, 1], atol=1e-5)
    torch.testing.assert_close(known[:, 2], usual[:, 2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("encoder", ["lora", "full"])
def test_batch_norms_keep_their_statistics(encoder):
    torch.manual_seed(0)
    sam = build_sam("vit_t", image_size=64)
    net = AISAM(sam, num_classes=1, num_points=1, num_class_tokens=1, depth=1, encoder=encoder).train()
    norms = [module for module in sam.image_encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert sam.image_encoder.training
    assert net.classifier.training


def test_each_class_may_have_its_own_number_of_points(image):
    net = build(num_points=[1, 2, 3]).eval()
    prompts = net.segment(image).prompts
    assert (~prompts.points_xy.isnan().any(-1) & (prompts.point_labels == 1)).sum(-1).tolist() == [[2, 3]]
    torch.testing.assert_close(net.segment(image, prompts).logits, net.segment(image).logits, atol=1e-4, rtol=1e-4)


def test_class_prompts_tell_classes_apart_while_their_points_are_alike(image):
    for count, alike in ((0, True), (2, False)):
        net = build(num_class_prompts=count, one_hot=False).eval()
        torch.nn.init.zeros_(net.prompter.point_norm.weight)  # every point is everywhere, and so is that of any class
        torch.nn.init.zeros_(net.prompter.point_norm.bias)
        with torch.no_grad():
            logits = net(image)
        spread = float((logits - logits[:, :1]).abs().max())
        assert spread < 1e-4 if alike else spread > 1e-2


def test_class_prompts_train_and_belong_to_the_adapter(image):
    net = build(num_class_prompts=2).train()
    net(image).square().mean().backward()
    assert net.class_prompts.shape == (net.num_classes + 1, 2, 256)
    assert bool((net.class_prompts.grad.flatten(1).abs().amax(1) > 0).all())
    assert "class_prompts" in net.adapter_state_dict()
    assert build().class_prompts is None


def test_points_outside_of_a_mask_and_where_the_mask_is_surest():
    logits = torch.zeros(1, 3, 4, 4)  # cells of 4 pixels; class 2 has no mask
    logits[0, 1, 1:3, 1:3] = torch.tensor([[1.0, 2], [3, 1]])
    logits[0, 2] = -1
    points = torch.tensor([[[[5.5, 5.5], [3.0, 5.5], [NAN, NAN]], [[0.0, 0], [15, 15], [8, 8]]]])
    surest, outside = outside_of_masks(points, logits, 16)
    assert surest[0, 0].tolist() == [5.5, 9.5]
    assert outside.tolist() == [[[False, True, False], [False, False, False]]]


def test_tokens_are_grouped_by_length_and_never_padded():
    tokens = torch.arange(6.0).reshape(3, 2, 1)
    valid = torch.tensor([[True, True], [False, True], [True, True]])
    groups = group_by_length(tokens, valid)
    assert [(rows.tolist(), part.flatten().tolist()) for rows, part in groups] == [([1], [3]), ([0, 2], [0, 1, 4, 5])]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "half"}, "encoder must be one of frozen, lora, full, got 'half'"),
        ({"decoder": "half"}, "decoder must be one of frozen, lora, full, got 'half'"),
        ({"box_source": "oracle"}, "box_source must be one of none, detector, user, got 'oracle'"),
        ({"box_source": "detector"}, 'box_source "detector" must come with a detector, got None'),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_a_choice_of_other_classes_is_refused(net, image):
    with pytest.raises(ValueError, match=r"present must have shape \(1, 2\), got \(1, 3\)"):
        net.segment(image, ClassPrompts(present=torch.ones(1, 3)))
    with pytest.raises(ValueError, match=r"automatic must have shape \(1, 3\), got \(1, 2\)"):
        net.segment(image, ClassPrompts(automatic=torch.ones(1, 2, dtype=torch.bool)))


def test_the_prompter_rests_where_a_person_gives_all_points(image, monkeypatch):
    net = build().eval()
    answer = net.segment(image)

    def refuse(*_):
        raise AssertionError("the prompter was asked")

    monkeypatch.setattr(net.prompter, "forward", refuse)
    again = net.segment(image, answer.prompts)
    torch.testing.assert_close(again.logits, answer.logits)
