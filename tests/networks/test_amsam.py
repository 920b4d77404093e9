import pytest
import torch
from torch import nn

from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import ABSENT_LOGIT, AMSAM
from tests.contract import SystemContract


class FixedDetector(nn.Module):
    """Finds the same box for the first class, nothing for the others."""

    def __init__(self, box=(8.0, 8.0, 40.0, 48.0), classes=1):
        super().__init__()
        self.boxes = torch.full((classes, 4), torch.nan)
        if box:
            self.boxes[0] = torch.tensor(box)

    def forward(self, image):
        self.seen = image
        boxes = self.boxes.expand(len(image), -1, -1)
        return boxes, (~boxes.isnan().any(-1)).float()


def nano():
    return build_sam("vit_nano", image_size=64)


class TestAMSAM(SystemContract):
    def build(self, num_classes):
        return AMSAM(nano(), num_classes=num_classes)


class TestAMSAMOfThreeClasses(TestAMSAM):
    classes = 3


class TestBLOSAM(SystemContract):
    def build(self, num_classes):
        return AMSAM(nano(), num_classes=num_classes, joint=True, calibration="none")


class TestSAMed(SystemContract):
    def build(self, num_classes):
        return AMSAM(nano(), num_classes=num_classes, joint=True, calibration="none", encoder_lora_rank=4)


def test_untrained_and_uncalibrated_it_is_sam_itself():
    sam = nano()
    image, box = torch.rand(1, 3, 64, 64), torch.tensor([[[4.0, 6.0, 50.0, 60.0]]])
    with torch.no_grad():
        wanted = sam.masks(sam.decode(sam.encode(image), sam.sparse(boxes=box[0]), sam.no_mask_dense(1)))[:, :1]
        net = AMSAM(sam, calibration="none").eval()
        logits = net(image, prompts=Prompts(box_xyxy=box), low_res=True)
    torch.testing.assert_close(logits[:, 1:], wanted, atol=1e-5, rtol=1e-5)
    assert (logits[:, 0] == 0).all()


def test_blo_sam_trains_as_many_parameters_as_its_code():
    net = AMSAM(nano(), joint=True, calibration="none")
    counts = {
        "lora": sum(p.numel() for n, p in net.named_parameters() if "lora_" in n),
        "tokens": net.sam.mask_decoder.mask_tokens.weight.numel(),
        "upscaling": sum(p.numel() for p in net.sam.mask_decoder.output_upscaling.parameters()),
        "hyper": sum(p.numel() for p in net.sam.mask_decoder.output_hypernetworks_mlps.parameters()),
    }
    assert counts == {"lora": 23_552, "tokens": 512, "upscaling": 73_952, "hyper": 279_616}


def test_upper_and_lower_level_share_no_parameter_and_miss_none():
    net = AMSAM(nano())
    for fusion_is_upper in (False, True):
        upper = {id(p) for p in net.upper_parameters(calibration=fusion_is_upper)}
        lower = {id(p) for p in net.lower_parameters(calibration=not fusion_is_upper)}
        assert not upper & lower
        assert upper | lower == {id(p) for p in net.parameters() if p.requires_grad}
    assert [p.shape for p in net.upper_parameters()] == [(1, 256)]


def test_the_detectors_box_is_the_prompt():
    image = torch.rand(1, 3, 64, 64)
    torch.manual_seed(0)
    with_detector = AMSAM(nano(), detector=FixedDetector()).eval()
    torch.manual_seed(0)
    without = AMSAM(nano()).eval()
    without.load_state_dict(with_detector.state_dict())
    box = torch.tensor([[[8.0, 8.0, 40.0, 48.0]]])
    answer = with_detector.segment(image)
    torch.testing.assert_close(answer.logits, without.segment(image, Prompts(box_xyxy=box)).logits)
    torch.testing.assert_close(answer.prompts.box_xyxy, box)


def test_the_detector_does_not_see_the_padding():
    net = AMSAM(nano(), detector=FixedDetector()).eval()
    image = torch.rand(1, 3, 48, 64)
    net.segment(image)
    assert torch.equal(net.detector.seen, image)


def test_a_persons_box_overrides_the_detectors():
    net = AMSAM(nano(), detector=FixedDetector()).eval()
    box = torch.tensor([[[1.0, 2.0, 20.0, 22.0]]])
    torch.testing.assert_close(net.segment(torch.rand(1, 3, 64, 64), Prompts(box_xyxy=box)).prompts.box_xyxy, box)


def test_without_a_detection_one_class_falls_back_to_the_learned_prompt():
    image = torch.rand(1, 3, 64, 64)
    net = AMSAM(nano(), detector=FixedDetector(box=None)).eval()
    fallback = net.segment(image).logits
    net.detector = None
    torch.testing.assert_close(fallback, net.segment(image).logits)


def test_without_a_detection_one_class_of_several_is_absent():
    net = AMSAM(nano(), num_classes=2, detector=FixedDetector(classes=2)).eval()
    logits = net.segment(torch.rand(1, 3, 64, 64)).logits
    assert (logits[:, 2] == ABSENT_LOGIT).all()
    assert (logits[:, 1] > ABSENT_LOGIT).all()


def test_the_boxs_centre_may_be_a_point_too():
    net = AMSAM(nano(), detector=FixedDetector(), box_centre_point=True).eval()
    points = net.segment(torch.rand(1, 3, 64, 64)).prompts.points_xy
    torch.testing.assert_close(points, torch.tensor([[[[23.5, 27.5]]]]))


def test_a_mask_prompt_changes_only_the_image_that_has_one():
    net = AMSAM(nano()).eval()
    images, mask = torch.rand(2, 3, 64, 64), torch.full((2, 1, 16, 16), torch.nan)
    with torch.no_grad():
        before = net(images)
        mask[0] = torch.randn(16, 16) * 10
        after = net(images, prompts=Prompts(mask=mask))
    assert not torch.allclose(before[0], after[0], atol=1e-4)
    torch.testing.assert_close(before[1], after[1], atol=1e-5, rtol=1e-5)


def test_a_class_decoded_alone_is_as_among_the_others():
    net = AMSAM(build_sam("vit_nano", image_size=64), num_classes=3).eval()
    image, points = torch.rand(1, 3, 50, 64), torch.rand(1, 3, 2, 2) * 40
    prompts = Prompts(points, torch.ones(1, 3, 2))
    whole, part = net.segment(image, prompts), net.segment(image, prompts, classes=[2])
    torch.testing.assert_close(part.logits[:, 2], whole.logits[:, 2], atol=1e-4, rtol=1e-4)
    assert part.logits[:, [1, 3]].isnan().all()
    assert part.quality[0].isnan().tolist() == [True, False, True]


def test_a_frozen_encoder_stays_in_evaluation_mode():
    net = AMSAM(nano(), detector=FixedDetector()).train()
    assert not net.sam.image_encoder.training
    assert not net.detector.training
    assert net.encoder_is_frozen
    assert not AMSAM(nano(), encoder_lora_rank=4).encoder_is_frozen


def test_all_of_the_encoder_trains_on_request_but_for_its_batch_statistics():
    net = AMSAM(build_sam("vit_t", image_size=64), encoder="full").train()
    assert all(parameter.requires_grad for parameter in net.sam.image_encoder.parameters())
    norms = [module for module in net.sam.image_encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert not any(p.requires_grad for p in AMSAM(nano()).sam.image_encoder.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 0}, "num_classes must count foreground classes, at least 1, got 0"),
        ({"resize": "crop"}, r"resize mode must be one of \('pad', 'stretch'\), got 'crop'"),
        ({"calibration": "mean"}, "calibration must be one of none, paper, fused, got 'mean'"),
        ({"encoder": "lora"}, "encoder must be one of frozen, late, full, got 'lora'"),
        ({"encoder": "full", "encoder_lora_rank": 4}, "encoder='full' trains its own weights; set encoder_lora_rank=0"),
        ({"encoder": "late", "encoder_adapters": 0.25}, "encoder='late' trains its own weights; set"),
        ({"objects": "two"}, "objects must be one of one, all, or such a word for each of 1 classes, got 'two'"),
        ({"num_classes": 3, "objects": ["one", "all"]}, "such a word for each of 3 classes"),
        ({"objects": "all", "joint": True}, "objects='all' is for classes that are decoded alone; set joint=False"),
        ({"objects": "all", "detector": FixedDetector()}, "needs a detector that gives a box for each object"),
        ({"missing_box": "guess"}, "missing_box must be learned or absent, got 'guess'"),
        ({"joint": True, "num_classes": 2, "detector": FixedDetector()}, "joint decoding takes one box an image"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AMSAM(nano(), **settings)


class TestContrast:
    """The dark object in a box shares in the mask's probability."""

    BOX = torch.tensor([[[16.0, 16.0, 48.0, 48.0]]])

    def image(self):
        y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
        dark = (x - 31.5) ** 2 + (y - 31.5) ** 2 < 15**2
        return torch.where(dark, 0.3, 0.8).expand(1, 3, 64, 64).clone(), dark

    @torch.no_grad()
    def probability(self, share, prompts, training=False):
        torch.manual_seed(0)
        net = AMSAM(nano(), dark_object_weight=share).train(training)
        return net(self.image()[0], prompts=prompts).softmax(1)[0, 1]

    def test_the_probability_is_the_weighted_mean(self):
        own = self.probability(0.0, Prompts(box_xyxy=self.BOX))
        shares = [self.probability(share, Prompts(box_xyxy=self.BOX)) for share in (0.25, 0.75)]
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[26:38, 26:38] = True
        for share, got in zip((0.25, 0.75), shares, strict=True):
            wanted = (1 - share) * own[inside] + share * torch.tensor(4.0).sigmoid()
            torch.testing.assert_close(got[inside], wanted, atol=0.03, rtol=0)
        outside = ~torch.zeros(64, 64, dtype=torch.bool)
        outside[10:54, 10:54] = False
        assert (shares[1][outside] < 0.25 * own[outside] + 0.05).all()

    def test_it_gives_way_to_points_and_has_no_part_in_training(self):
        box = Prompts(box_xyxy=self.BOX)
        point = Prompts(torch.full((1, 1, 1, 2), 30.0), torch.ones(1, 1, 1), self.BOX)
        for prompts, training in ((point, False), (box, True), (Prompts(), False)):
            a, b = (self.probability(share, prompts, training) for share in (0.0, 0.5))
            torch.testing.assert_close(a, b, atol=1e-6, rtol=0)

    def test_what_cannot_be_is_refused(self):
        with pytest.raises(ValueError, match=r"dark_object_weight must be a share in \[0, 1\), got 1"):
            AMSAM(nano(), dark_object_weight=1.0)
        with pytest.raises(ValueError, match="set joint=False or dark_object_weight=0"):
            AMSAM(nano(), dark_object_weight=0.5, joint=True)
