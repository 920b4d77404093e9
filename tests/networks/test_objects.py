"""Several objects of a class: each decoded by its own box, the class their union."""

import logging

import pytest
import torch
from torch import nn

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.objects import Objects, as_sets, union
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems import amsam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import ABSENT_LOGIT, AMSAM
from tests.contract import SystemContract

NAN = torch.nan
LEFT, RIGHT = (4.0, 8.0, 26.0, 34.0), (36.0, 20.0, 60.0, 52.0)


class FixedObjects(nn.Module):
    """The same objects in every image: a list of boxes for each class, the first of them that of the class alone."""

    def __init__(self, *classes):
        super().__init__()
        most = max(1, *(len(boxes) for boxes in classes))
        self.boxes = torch.full((len(classes), most, 4), NAN)
        for row, boxes in zip(self.boxes, classes, strict=True):
            row[: len(boxes)] = torch.tensor(boxes).reshape(-1, 4)

    def objects(self, image):
        boxes = self.boxes.expand(len(image), -1, -1, -1)
        return boxes, torch.where(boxes.isnan().any(-1), 0.0, 0.9)

    def forward(self, image):
        boxes, sure = self.objects(image)
        return boxes[:, :, 0], sure[:, :, 0]


def build(detector=None, seed=0, **settings):
    torch.manual_seed(seed)
    net = AMSAM(build_sam("vit_nano", image_size=64), detector=detector, **settings).eval()
    for parameter in net.parameters():  # make what starts at zero count
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.02)
    net.sam.mask_decoder.iou_prediction_head.layers[-1].bias.data.fill_(0.5)  # between 0 and 1
    return net


def boxed(*boxes):
    return Prompts(object_boxes=torch.tensor(boxes).reshape(1, 1, -1, 4))


class TestAMSAMOfAllObjects(SystemContract):
    classes = 2

    def build(self, num_classes):
        detector = FixedObjects([LEFT, RIGHT], [RIGHT])
        return AMSAM(build_sam("vit_nano", image_size=64), num_classes=num_classes, detector=detector, objects="all")


def test_a_class_is_the_largest_of_its_objects_at_every_pixel():
    image = torch.rand(1, 3, 64, 64)
    net = build(FixedObjects([LEFT, RIGHT]), objects="all")
    one, other = (net.segment(image, Prompts(box_xyxy=torch.tensor(box)[None, None])) for box in (LEFT, RIGHT))
    both = net.segment(image)
    low = torch.maximum(*(net(image, prompts=boxed(box), low_res=True)[:, 1] for box in (LEFT, RIGHT)))
    torch.testing.assert_close(net(image, low_res=True)[:, 1], low, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.objects.quality[0, 0, :2], torch.cat([one.quality[0], other.quality[0]]))
    assert one.quality.item() != pytest.approx(other.quality.item(), abs=1e-6)
    assert min(one.quality, other.quality) <= both.quality <= max(one.quality, other.quality)
    torch.testing.assert_close(both.prompts.object_boxes[0, 0], torch.tensor([LEFT, RIGHT]))
    assert both.objects.confidence[0, 0].nan_to_num(-1).tolist() == pytest.approx([0.9, 0.9, -1])


def test_one_object_is_as_the_paper_has_it():
    image = torch.rand(2, 3, 48, 64)
    wanted = build(FixedObjects([LEFT])).segment(image)
    got = build(FixedObjects([LEFT]), objects="all").segment(image)
    torch.testing.assert_close(got.logits, wanted.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.quality, wanted.quality, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.prompts.box_xyxy, wanted.prompts.box_xyxy)
    assert wanted.objects is None


def test_each_class_may_have_one_or_all():
    image = torch.rand(1, 3, 64, 64)
    detector = FixedObjects([LEFT, RIGHT], [LEFT, RIGHT])
    net = build(detector, num_classes=2, objects=["one", "all"])
    found = net.segment(image).objects
    assert found.boxes[0].isnan().any(-1).tolist() == [[False, True, True], [False, False, True]]
    paper = build(detector, num_classes=2).segment(image)
    torch.testing.assert_close(net.segment(image).logits[:, 1], paper.logits[:, 1], atol=1e-5, rtol=1e-5)


def test_the_learned_prompt_is_for_pictures_without_any_detection():
    image = torch.rand(1, 3, 64, 64)
    learned = build().segment(image)
    nothing = build(FixedObjects([]), objects="all").segment(image)
    torch.testing.assert_close(nothing.logits, learned.logits, atol=1e-5, rtol=1e-5)
    absent = build(FixedObjects([], [LEFT]), num_classes=2, objects="all").segment(image)
    assert (absent.logits[:, 1] == ABSENT_LOGIT).all()


@pytest.mark.parametrize("most", [1, 3])
def test_batches_of_the_decoder_give_what_one_gives(most, monkeypatch):
    image = torch.rand(2, 3, 64, 64)
    boxes = torch.tensor([[6.0 * n, 4, 6.0 * n + 12, 40] for n in range(7)]).expand(2, 1, 7, 4)
    net = build()
    whole = net.segment(image, Prompts(object_boxes=boxes))
    monkeypatch.setattr(amsam, "SETS_OF_CELLS", most * net.sam.grid**2)
    parts = net.segment(image, Prompts(object_boxes=boxes))
    torch.testing.assert_close(parts.objects.logits, whole.objects.logits, atol=1e-5, rtol=1e-5)


def test_a_box_without_area_is_left_out_with_a_word(caplog):
    image = torch.rand(1, 3, 64, 64)
    net = build()
    with caplog.at_level(logging.WARNING):
        got = net.segment(image, boxed(LEFT, (20.0, 30.0, 20.0, 50.0)))
    assert "a box of class 1 in image 0 has no area and is left out" in caplog.text
    torch.testing.assert_close(got.logits, net.segment(image, boxed(LEFT)).logits, atol=1e-5, rtol=1e-5)
    assert got.objects.boxes[0, 0].isnan().any(-1).tolist() == [False, True, True]


@pytest.mark.parametrize("objects", ["one", "all"])
def test_a_detectors_box_without_area_is_left_out_with_a_word(objects, caplog):
    image = torch.rand(1, 3, 64, 64)
    nothing = (20.0, 30.0, 20.0, 50.0)
    with caplog.at_level(logging.WARNING):
        got = build(FixedObjects([nothing]), objects=objects).segment(image)
        both = build(FixedObjects([LEFT, nothing]), objects="all").segment(image)
    assert caplog.text.count("a box of class 1 in image 0 has no area and is left out") == 2
    torch.testing.assert_close(got.logits, build(FixedObjects([]), objects=objects).segment(image).logits)
    assert both.objects.boxes[0, 0].isnan().any(-1).tolist() == [False, True, True]
    torch.testing.assert_close(both.logits, build(FixedObjects([LEFT]), objects="all").segment(image).logits)


class TestPoints:
    """A point belongs to the smallest box that holds it; outside of all boxes it is an object of its own."""

    BOXES = torch.tensor([[[LEFT, RIGHT, (0.0, 0.0, 40.0, 40.0)]]])

    def sets(self, points, signs):
        xy = torch.tensor(points).reshape(1, 1, -1, 2)
        return as_sets(Prompts(xy, torch.tensor(signs).reshape(1, 1, -1), object_boxes=self.BOXES))

    def owners(self, points, signs):
        prompts, there = self.sets(points, signs)
        return (~prompts.points_xy.isnan().any(-1))[0].int().tolist(), there[0, 0].tolist()

    def test_positive_ones(self):
        owners, there = self.owners([[10.0, 10.0], [50.0, 40.0], [2.0, 2.0]], [1.0, 1.0, 1.0])
        assert owners == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
        assert there == [True, True, True, False]

    def test_outside_of_all_boxes(self):
        owners, there = self.owners([[62.0, 62.0], [10.0, 10.0]], [1.0, 1.0])
        assert owners == [[0, 1], [0, 0], [0, 0], [1, 0]]
        assert there == [True, True, True, True]

    def test_negative_ones_are_for_all(self):
        owners, there = self.owners([[62.0, 62.0], [NAN, NAN]], [0.0, 1.0])
        assert owners == [[1, 0]] * 4
        assert there == [True, True, True, False]

    def test_a_class_without_objects_keeps_its_points_and_its_box(self):
        xy, box = torch.tensor([[[[5.0, 6.0]]]]), torch.tensor([[RIGHT]])
        none = torch.full((1, 1, 2, 4), NAN)
        prompts, there = as_sets(Prompts(xy, torch.ones(1, 1, 1), box, object_boxes=none))
        assert there[0, 0].tolist() == [False, False, True]
        assert prompts.points_xy[0, 2, 0].tolist() == [5.0, 6.0]
        assert prompts.box_xyxy[0, 2].tolist() == list(RIGHT)
        image, net = torch.rand(1, 3, 64, 64), build()
        torch.testing.assert_close(
            net.segment(image, Prompts(xy, torch.ones(1, 1, 1), box, object_boxes=none)).logits,
            net.segment(image, Prompts(xy, torch.ones(1, 1, 1), box)).logits,
            atol=1e-5,
            rtol=1e-5,
        )


def test_the_quality_of_a_class_is_the_mean_of_its_objects_by_area():
    logits = torch.full((1, 1, 3, 4, 4), -1.0)
    logits[0, 0, 0, :3, :] = 1.0  # 12 pixels
    logits[0, 0, 1, 3, :] = 2.0  # 4 pixels
    logits[0, 0, 2] = -torch.inf
    quality = torch.tensor([[[0.8, 0.4, NAN]]])
    mask, mean = union(Objects(torch.zeros(1, 1, 3, 4), quality, quality, logits))
    assert mean.item() == pytest.approx((0.8 * 12 + 0.4 * 4) / 16)
    assert mask[0, 0].tolist() == [[1.0] * 4] * 3 + [[2.0] * 4]


def test_a_system_that_takes_one_box_refuses_several():
    net = AISAM(build_sam("vit_nano", image_size=64), depth=1).eval()
    with pytest.raises(ValueError, match="object_boxes must go with a system that decodes objects, such as AM-SAM"):
        net.segment(torch.rand(1, 3, 64, 64), boxed(LEFT))


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(1, 1, 4), r"object_boxes must have shape \(B, K, \.\.\., 4\)"),
        (torch.tensor([[[[70.0, 70.0, 80.0, 80.0]]]]), "object_boxes must cover some of the image of 64 x 64 pixels"),
        (torch.full((1, 1, 1, 4), torch.inf), "object_boxes must be finite"),
    ],
)
def test_boxes_that_cannot_be_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        build().segment(torch.rand(1, 3, 64, 64), Prompts(object_boxes=boxes))


class TestWindows:
    """Small objects are decoded in a window of half the square, which costs a quarter."""

    SMALL, LARGE = (20.0, 24.0, 34.0, 38.0), (20.0, 24.0, 80.0, 70.0)  # of a square of 128 pixels, 8 x 8 cells

    def build(self, **settings):
        torch.manual_seed(0)
        return AMSAM(build_sam("vit_nano", image_size=128), **settings).eval()

    def test_what_lies_outside_of_the_window_has_no_say(self):
        net, image = self.build(windows=True), torch.rand(1, 3, 128, 128)
        embedding = net.encode(image)
        other = embedding.clone()
        other[..., 5:] += 1  # the window of the small box has the cells 0 to 3
        for boxes, same in (((self.SMALL,), True), ((self.LARGE,), False)):
            first, second = (net.segment(image, boxed(*boxes), given).objects for given in (embedding, other))
            assert torch.allclose(first.logits, second.logits) is same
        beyond = net.segment(image, boxed(self.SMALL), embedding).objects.logits[0, 0, 0]
        assert (beyond[16:] == ABSENT_LOGIT).all()
        assert (beyond[:16, :16] > ABSENT_LOGIT).all()

    def test_an_object_does_not_depend_on_the_others(self):
        net, image = self.build(windows=True), torch.rand(2, 3, 128, 128)
        boxes = torch.tensor([[[self.LARGE, self.SMALL, self.SMALL]], [[self.SMALL, [NAN] * 4, self.LARGE]]])
        both = net.segment(image, Prompts(object_boxes=boxes)).objects
        for index in range(2):
            for place in range(3):
                if not boxes[index, 0, place].isnan().any():
                    alone = net.segment(image[index : index + 1], boxed(boxes[index, 0, place].tolist())).objects
                    torch.testing.assert_close(
                        both.logits[index, 0, place], alone.logits[0, 0, 0], atol=1e-5, rtol=1e-5
                    )
                    torch.testing.assert_close(both.quality[index, 0, place], alone.quality[0, 0, 0])

    def test_large_objects_and_training_see_the_whole(self):
        image = torch.rand(1, 3, 128, 128)
        whole, windows = self.build(), self.build(windows=True)
        for boxes, net in ((boxed(self.LARGE), windows), (boxed(self.SMALL), windows.train())):
            wanted = whole.train(net.training)(image, prompts=boxes)
            torch.testing.assert_close(net(image, prompts=boxes), wanted, atol=1e-5, rtol=1e-5)

    def test_three_hundred_objects_are_embedded_once_and_decoded_in_batches(self, monkeypatch):
        corners = [(4.0 + 6 * (n % 20), 4.0 + 8 * (n // 20)) for n in range(300)]
        net = self.build(windows=True, detector=FixedObjects([(x, y, x + 5, y + 6) for x, y in corners]), objects="all")
        embedded, decoded = [], []
        net.sam.image_encoder.register_forward_hook(lambda *_: embedded.append(1))
        last = net.sam.mask_decoder.transformer.norm_final_attn
        last.register_forward_hook(lambda module, given, answer: decoded.append(len(answer)))
        monkeypatch.setattr(amsam, "SETS_OF_CELLS", 64 * 16)  # windows of 16 cells
        found = net.segment(torch.rand(1, 3, 128, 128)).objects
        assert len(embedded) == 1
        assert decoded == [64, 64, 64, 64, 44]
        assert int((~found.quality.isnan()).sum()) == 300
