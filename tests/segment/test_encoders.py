"""Encoders made faster: what they give stays what it was, or nearly."""

import shutil

import pytest
import torch

from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.segment.encoders import compile_encoders, encoders_of, shrink_encoders
from amsam_monai.segment.segmenter import Segmenter

PICTURE = torch.rand(2, 3, 64, 50, generator=torch.Generator().manual_seed(0))


def network(backbone):
    torch.manual_seed(0)
    return AMSAM(build_sam(backbone, image_size=64), num_classes=2).eval()


def layers(net):
    return [type(module).__module__ for module in net.sam.image_encoder.modules() if type(module).__name__ == "Linear"]


@torch.no_grad()
def test_eight_bits_change_the_embedding_a_little():
    net, exact = network("vit_t"), network("vit_t").encode(PICTURE)
    before = layers(net)
    shrink_encoders(net)
    assert set(before) == {"torch.nn.modules.linear"}
    assert set(layers(net)) == {"torch.ao.nn.quantized.dynamic.modules.linear"}
    assert len(layers(net)) == len(before)
    given = net.encode(PICTURE)
    assert not torch.equal(given, exact)
    assert (given - exact).abs().mean() < 0.1 * exact.abs().mean()


def test_eight_bits_are_refused_where_they_cannot_be():
    net = network("vit_t")
    net.sam.image_encoder.train()
    with pytest.raises(ValueError, match="int8 must go with a network in evaluation mode"):
        shrink_encoders(net)
    with pytest.raises(ValueError, match="int8 must go with a network on a processor"):
        shrink_encoders(network("vit_t").to("meta"))
    with pytest.raises(ValueError, match="int8 must go with MobileSAM's TinyViT"):
        shrink_encoders(network("vit_nano"))
    with pytest.raises(ValueError, match="network must have a SAM with an image encoder"):
        shrink_encoders(torch.nn.Linear(2, 2))


def test_every_encoder_of_a_network_is_found():
    net = network("vit_nano")
    assert [encoder for _, encoder in encoders_of(net)] == [net.sam.image_encoder]


def test_another_way_to_compile_is_refused():
    with pytest.raises(ValueError, match="compile must be one of default, max-autotune, got 'fast'"):
        Segmenter(network("vit_nano"), {1: "a", 2: "b"}, compile="fast")


@pytest.mark.slow  # a compiler runs
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("backbone", ["vit_nano", "vit_t"])
@torch.no_grad()
def test_a_compiled_encoder_gives_the_same(backbone):
    net, exact = network(backbone), network(backbone)
    compile_encoders(net, "default")
    for images in (PICTURE, PICTURE[:1]):
        torch.testing.assert_close(net(images), exact(images), atol=1e-4, rtol=1e-4)
