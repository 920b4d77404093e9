"""Wrappers for training: what the losses read, and windows of SAM's square with the positions of their place."""

import pytest
import torch

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.aisam import AISAM
from amsam_monai.networks.systems.training_wrappers import OnWindows, WithLossInputs, fixed_encoder, unwrap


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return AISAM(build_sam("vit_t", image_size=128), num_classes=2, encoder="full", depth=1).eval()


def test_positions_are_those_of_the_place_in_the_square(net):
    whole = net.sam.dense_pe()
    with net.sam.window(64, (2, 3)):
        assert net.image_size == 64
        torch.testing.assert_close(net.sam.dense_pe(), whole[..., 2:6, 3:7])
    assert net.image_size == 128
    torch.testing.assert_close(net.sam.dense_pe(), whole)


@torch.no_grad()
def test_prompts_of_a_window_lie_at_its_place_in_the_square(net):
    points, labels = torch.tensor([[[5.0, 9.0], [20.0, 30.0]]]), torch.ones(1, 2)
    boxes, away = torch.tensor([[1.0, 2.0, 30.0, 40.0]]), torch.tensor([48.0, 32.0])
    places = net.sam.point_tokens(points + away, labels), net.sam.box_tokens(boxes + away.repeat(2))
    with net.sam.window(64, (2, 3)):
        torch.testing.assert_close(net.sam.point_tokens(points, labels), places[0])
        torch.testing.assert_close(net.sam.box_tokens(boxes), places[1])


def test_the_size_comes_back_after_an_error(net):
    with pytest.raises(RuntimeError, match="stop"), net.sam.window(64):
        raise RuntimeError("stop")
    assert net.image_size == net.sam.image_encoder.image_size == 128


def test_a_window_gives_logits_of_its_size(net):
    with torch.no_grad():
        assert OnWindows(net, side=64)(torch.rand(2, 3, 64, 64)).shape == (2, 3, 64, 64)


def test_a_window_as_large_as_the_square_is_the_network_itself(net):
    image = torch.rand(1, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(OnWindows(net, side=128)(image), net(image))


@pytest.mark.parametrize("side", [40, 256])
def test_a_window_that_does_not_fit_is_refused(net, side):
    with pytest.raises(ValueError, match="window must be a multiple of 16 and lie in the square of 128"):
        OnWindows(net, side=side)


def test_a_window_beyond_the_edge_is_refused(net):
    with pytest.raises(ValueError, match="window must be a multiple of 16"), net.sam.window(64, (5, 0)):
        pass


def test_an_encoder_of_one_size_takes_no_windows():
    net = AISAM(build_sam("vit_nano", image_size=64), depth=1)
    with pytest.raises(ValueError, match="a window must go with a TinyViT"):
        OnWindows(net, side=32)


@torch.no_grad()
def test_the_losses_see_more_than_the_logits_that_the_network_gives(net):
    image = torch.rand(1, 3, 96, 128)
    seen = WithLossInputs(net)(image, low_res=True)
    assert torch.equal(seen["logits"], net(image, low_res=True))
    assert seen["weights"].shape == (1, 3, 4, 8, 8)
    assert seen["presence_logits"].shape == seen["quality"].shape == (1, 3)


@torch.no_grad()
def test_wrappers_go_round_each_other_and_come_off_together(net):
    wrapped = OnWindows(WithLossInputs(net), side=64)
    seen = wrapped(torch.rand(2, 3, 64, 64), low_res=True)
    assert seen["logits"].shape == (2, 3, 16, 16)
    assert seen["weights"].shape[-2:] == (4, 4)
    assert unwrap(wrapped) is net
    assert unwrap(net) is net


def test_nothing_in_a_fixed_encoder_trains_while_it_is_fixed(net):
    names = net.adapter_keys()
    with fixed_encoder(net):
        assert net.encoder_is_frozen
        assert not [name for name in net.adapter_keys() if name.startswith("sam.image_encoder.")]
    assert not net.encoder_is_frozen
    assert net.adapter_keys() == names


def test_a_wrappers_state_has_the_keys_of_the_network_in_it(net):
    wrapped = OnWindows(WithLossInputs(net), side=64)
    plain = {name: value.clone() for name, value in net.state_dict().items()}
    assert list(wrapped.state_dict()) == list(plain)
    around = torch.nn.ModuleDict({"a": wrapped})
    assert list(around.state_dict()) == [f"a.{name}" for name in plain]
    try:
        for loaded, prefix in ((wrapped, ""), (around, "a.")):
            changed = {
                prefix + name: value + 1 if value.is_floating_point() else value for name, value in plain.items()
            }
            loaded.load_state_dict(changed)
            name = next(iter(plain))
            assert torch.equal(net.state_dict()[name], changed[prefix + name])
            net.load_state_dict(plain)
        with pytest.raises(RuntimeError, match="Missing key"):
            wrapped.load_state_dict({})
    finally:
        net.load_state_dict(plain)
