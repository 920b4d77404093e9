"""Sessions that average over mirror images: the same masks as `Segmenter`, and a person's prompts turned along."""

import numpy as np
import pytest
import torch

from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.session.image import load_source
from amsam_monai.session.session import InteractiveSession, SessionPoint
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import AXIAL, two_bars

BOTH = ("horizontal", "vertical")
LABELS = {1: "liver", 2: "spleen"}
SYSTEMS = {
    "amsam": AMSAM,
    "aisam": lambda sam, **settings: AISAM(sam, gate=False, **settings),
    "autosam": build_autosam,
}


def system_of(name, sam):
    torch.manual_seed(1)
    return SYSTEMS[name](sam, num_classes=2).eval()


def volume(shape=(40, 36, 4)):
    i, j, k = np.mgrid[: shape[0], : shape[1], : shape[2]]
    ball = (i - 15) ** 2 + (j - 12) ** 2 + 9 * (k - 1) ** 2 < 80
    return (100 * ball + 3 * (i % 7) + 2 * (j % 5)).astype(np.int16)


def session_of(net, flips, image=None):
    session = InteractiveSession(net, LABELS, slices={"flips": list(flips)})
    session.open(volume() if image is None else image, affine=None if image is not None else AXIAL)
    return session


@pytest.mark.parametrize("system", list(SYSTEMS))
@pytest.mark.parametrize("flips", [("horizontal",), BOTH])
def test_an_automatic_session_has_the_masks_of_the_segmenter(nano_sam, system, flips):
    net = system_of(system, nano_sam)
    session = session_of(net, flips)
    session.segment("all")
    source = load_source(volume(), AXIAL)
    expected = Segmenter(net, LABELS, slices={"flips": flips}, intensity={"mode": "percentile"})(source).label
    np.testing.assert_array_equal(session.label, expected)
    without = Segmenter(net, LABELS, intensity={"mode": "percentile"})(source).label
    assert (expected != without).any()  # the flips count


@pytest.mark.parametrize("flips", [("horizontal",), ("vertical",), BOTH])
def test_points_and_boxes_are_turned_along(flips):
    """A network that answers alike in every mirror image gives what it gives without them."""
    masks = []
    for used in ((), flips):
        session = InteractiveSession(BrightRegions(), intensity={"mode": "none"}, slices={"flips": used})
        session.open(two_bars(), affine=np.diag([-1.0, 1.0, 5.0, 1.0]))
        session.set_points(1, [SessionPoint((3, 3, 1)), SessionPoint((8, 6, 1)), SessionPoint((9, 7, 2))])
        session.set_box(1, (1, 1, 3), (3, 5, 3))
        session.add_point(1, (8, 6, 1), positive=False)
        session.segment([1, 2, 3])
        masks.append(session.label.copy())
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_every_mirror_image_is_encoded_once_and_decoded_at_every_click():
    net = BrightRegions()
    session = InteractiveSession(net, intensity={"mode": "none"}, slices={"flips": BOTH})
    session.open(two_bars(), affine=AXIAL)
    session.segment(2)
    assert (net.encoded, net.decoded) == (4, 4)
    session.add_point(1, (3, 3, 2))
    session.segment(2)
    assert (net.encoded, net.decoded) == (4, 8)


@pytest.mark.parametrize("system", ["amsam", "aisam"])
def test_a_click_on_one_class_is_the_same_whatever_was_asked_before(nano_sam, system):
    net = system_of(system, nano_sam)
    session = session_of(net, BOTH)
    session.segment(1)
    session.add_point("liver", (15, 12, 1))
    session.segment(1)
    session.add_point("spleen", (5, 5, 1), positive=False)
    clicked = session.segment(1)
    at_once = session_of(net, BOTH)
    at_once.segment(1)
    at_once.edits[1] = dict(session.edits[1])
    whole = at_once.answers.answer(1, at_once.edits[1])
    np.testing.assert_array_equal(clicked.mask, whole.logits[0].argmax(0))
    assert list(clicked.quality.values()) == pytest.approx(whole.quality[0].tolist(), abs=1e-4)


def test_a_click_leaves_what_the_mirror_images_say_of_other_classes(nano_sam):
    session = session_of(system_of("amsam", nano_sam), ("horizontal",))
    session.answers.answer(1, {})
    before = [answer.logits.clone() for answer in session.answers._last.answers]
    session.add_point("liver", (15, 12, 1))
    session.answers.answer(1, session.edits[1])
    for old, new in zip(before, session.answers._last.answers, strict=True):
        torch.testing.assert_close(new.logits[:, 2], old[:, 2], atol=0, rtol=0)
        assert (new.logits[:, 1] - old[:, 1]).abs().max() > 1e-3


def test_a_picture_keeps_the_largest_part_of_a_class_that_nobody_edited():
    picture = np.zeros((12, 16), dtype=np.uint8)
    picture[1:6, 1:6] = picture[8:10, 10:12] = 255
    net = BrightRegions(1, automatic=(1,))
    session = InteractiveSession(net, intensity={"mode": "bit_depth"}, largest_component=True)
    session.open(picture)
    session.segment(0)
    assert session.label.sum() == 25
    session.set_points(1, [SessionPoint((2, 2, 0)), SessionPoint((10, 8, 0))])
    session.segment(0)
    assert session.label.sum() == 29
