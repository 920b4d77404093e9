"""The overlay for TensorRT finds the image encoders and refuses what could not work; nothing here runs TensorRT."""

import importlib.util
import logging

import pytest

from amsam_monai.bundles.tensorrt import encoder_names, encoders_in_tensorrt
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.autosam import build_autosam
from amsam_monai.networks.systems.mean import Mean


def sam():
    return build_sam("vit_nano", image_size=64)


def test_encoders_are_found_in_a_system_and_in_a_mean():
    amsam, autosam = AMSAM(sam()), build_autosam(sam(), backbone="sam")
    assert encoder_names(amsam) == ["sam.image_encoder"]
    assert encoder_names(sam()) == ["image_encoder"]
    mean = Mean([amsam, autosam])
    found = [mean.get_submodule(name) for name in encoder_names(mean)]
    assert found == [amsam.sam.image_encoder, autosam.sam.image_encoder]


@pytest.mark.parametrize("batch", [(1, 8), (8, 4, 2), (0, 1, 2)])
def test_another_batch_is_refused(batch, tmp_path):
    with pytest.raises(ValueError, match="batch must be the fewest, usual and most images at once, got"):
        encoders_in_tensorrt(AMSAM(sam()), tmp_path, batch=batch)


def test_a_bundle_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "models").touch()
    with pytest.raises(OSError, match="must be a folder that can be written to"):
        encoders_in_tensorrt(AMSAM(sam()), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is there")
def test_without_tensorrt_nothing_changes_and_that_is_told(tmp_path, caplog):
    network = AMSAM(sam())
    forward = network.sam.image_encoder.forward
    with caplog.at_level(logging.WARNING):
        assert encoders_in_tensorrt(network, tmp_path) is network
    assert network.sam.image_encoder.forward == forward
