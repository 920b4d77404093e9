import pytest
import torch

from amsam_monai.networks.sam.mask_calibration import MaskCalibration


def inputs(rows=2, masks=3, channels=32, side=5):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(rows, masks, channels, generator=generator, dtype=torch.float64),
        torch.randn(rows, channels, side, side, generator=generator, dtype=torch.float64),
    )


def dot(hyper, features):
    return torch.einsum("nmc,nchw->nmhw", hyper, features)


def trained(alpha=0.7):
    torch.manual_seed(1)
    calibration = MaskCalibration(mode="fused", alpha=alpha).double()
    torch.nn.init.normal_(calibration.drop.weight)
    return calibration


def test_none_is_the_dot_product():
    hyper, features = inputs()
    torch.testing.assert_close(MaskCalibration(mode="none")(hyper, features), dot(hyper, features))


@pytest.mark.parametrize(
    ("alpha", "scale"), [(0.1, 0.128125), (0.3, 0.321875), (0.5, 0.515625), (0.7, 0.709375), (0.9, 0.903125)]
)
@pytest.mark.parametrize("mode", ["paper", "fused"])
def test_an_untrained_calibration_rescales_by_s(alpha, scale, mode):
    hyper, features = inputs()
    calibrated = MaskCalibration(mode=mode, alpha=alpha).double()(hyper, features)
    torch.testing.assert_close(calibrated, scale * dot(hyper, features))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.7, 1.0])
def test_paper_never_changes_the_winning_mask(alpha):
    hyper, features = inputs()
    calibrated = MaskCalibration(mode="paper", alpha=alpha)(hyper, features)
    assert torch.equal(calibrated.argmax(1), dot(hyper, features).argmax(1))


def test_a_trained_fusion_is_not_a_rescale():
    hyper, features = inputs()
    calibrated = trained()(hyper, features)
    assert not torch.equal(calibrated.argmax(1), dot(hyper, features).argmax(1))


@pytest.mark.parametrize("mode", ["none", "paper", "fused"])
def test_a_row_does_not_depend_on_its_batch_mates(mode):
    hyper, features = inputs(rows=4)
    calibration = trained() if mode == "fused" else MaskCalibration(mode=mode)
    torch.testing.assert_close(calibration(hyper, features)[:1], calibration(hyper[:1], features[:1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "batch"}, "calibration must be one of none, paper, fused, got 'batch'"),
        ({"alpha": 1.2}, r"alpha must lie in \[0, 1\], got 1.2"),
    ],
)
def test_unknown_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MaskCalibration(**settings)


def test_different_channels_are_refused():
    with pytest.raises(ValueError, match="hyper and features must share channels, got 32 and 16"):
        MaskCalibration(mode="none")(torch.rand(1, 1, 32), torch.rand(1, 16, 4, 4))
