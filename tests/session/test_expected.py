"""The Dice to expect in a session: what a segmenter tells of the same masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from amsam_monai.data.files.images import LoadedImage
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.calibration import Mask, fit_quality
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.session.session import InteractiveSession

LABELS = {1: "liver", 2: "spleen"}


@pytest.fixture
def net(nano_sam):
    torch.manual_seed(2)
    return AMSAM(nano_sam, num_classes=2).eval()


def calibrated(*, slices=True):
    """A calibration that goes by every feature."""
    rng, masks = np.random.default_rng(0), []
    for number in (None, 0, 1) if slices else (None,):
        for case in range(9):
            for label in LABELS.values():
                told = dict(zip(FEATURES, rng.uniform(0.3, 1, len(FEATURES)), strict=True))
                masks.append(Mask(f"c{case}", label, {**told, "size": -1.0}, told["confidence"], -1.0, number))
    return fit_quality(masks)


FEATURES = ("confidence", "firmness", "agreement", "whole", "continuity")


def volume():
    noise = np.random.default_rng(1).random((24, 20, 4)).astype(np.float32)
    return LoadedImage(noise, "volume", Path("v.nii"), "nifti", affine=np.diag([1.0, 1.0, -3.0, 1.0]))


def picture():
    noise = np.random.default_rng(1).random((20, 24, 3)).astype(np.float32)
    return LoadedImage(noise, "image", Path("p.png"), "picture")


def session_of(net, image, quality, **slices):
    session = InteractiveSession(net, LABELS, intensity={"mode": "none"}, slices=slices, quality=quality)
    session.open(image)
    return session


@pytest.mark.parametrize("flips", [(), ("horizontal",)])
def test_a_session_tells_what_amsam_segment_tells(net, flips):
    quality = calibrated()
    segment = Segmenter(net, LABELS, intensity={"mode": "none"}, slices={"flips": flips}, quality=quality)
    told = segment(volume()).quality
    session = session_of(net, volume(), quality, flips=flips)
    session.segment("all")
    for name in LABELS.values():
        assert session.expected_dice()[name] == pytest.approx(told[name]["case"], abs=2e-4)
        for number in range(4):
            assert session.expected_dice(number)[name] == pytest.approx(told[name]["slices"][number], abs=2e-4)


def test_of_a_picture_it_is_that_of_the_case(net):
    quality = calibrated(slices=False)
    told = Segmenter(net, LABELS, intensity={"mode": "none"}, quality=quality)(picture()).quality
    session = session_of(net, picture(), quality)
    assert session.expected_dice(0) == {}  # not segmented yet
    session.segment(0)
    assert session.expected_dice(0) == session.expected_dice()
    assert session.expected_dice(0)["liver"] == pytest.approx(told["liver"]["case"], abs=2e-4)


def test_without_a_calibration_nothing_is_told(net):
    session = session_of(net, volume(), None)
    session.segment("all")
    assert session.expected_dice(1) == session.expected_dice() == {}
    session = session_of(net, volume(), calibrated(slices=False))  # of pictures: it knows no slices
    session.segment("all")
    assert session.expected_dice(1) == {}
    assert set(session.expected_dice()) == {"liver", "spleen"}


def test_a_click_changes_it_undo_brings_it_back_and_painting_ends_it(net):
    session = session_of(net, volume(), calibrated())
    session.segment(1)
    before = session.expected_dice(1)
    assert session.expected_dice() == {}  # not all slices
    session.add_point("liver", (12, 10, 1))
    session.segment(1)
    assert session.expected_dice(1) != before
    session.undo()
    assert session.expected_dice(1) == {}  # the mask is back, its answer is not
    session.segment(1)
    assert session.expected_dice(1) == before
    session.paint("spleen", [(3, 3, 1)], size=3)
    assert set(session.expected_dice(1)) == {"liver"}
