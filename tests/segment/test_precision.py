"""Segmenting in bfloat16: the network computes in it, what comes out is float32 and nearly the same."""

import numpy as np
import pytest
import torch
from PIL import Image

from amsam_monai.segment.segmenter import Segmenter


class Blobs(torch.nn.Module):
    """Two classes by brightness, with a layer that autocast reaches; keeps the type of what it computed."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 3, padding=1)
        self.computed = []

    def forward(self, image):
        logits = self.layer(image)
        self.computed.append(logits.dtype)
        return logits


@pytest.fixture
def picture(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_bfloat16_is_what_the_network_computes_in_and_probabilities_stay_float32(picture):
    torch.manual_seed(0)
    network = Blobs()
    found = {
        precision: Segmenter(network, {1: "a"}, precision=precision)(picture, probabilities=True)
        for precision in ("float32", "bfloat16")
    }
    assert network.computed == [torch.float32, torch.bfloat16]
    exact, quick = (found[precision].probabilities for precision in ("float32", "bfloat16"))
    assert quick.dtype == np.float32
    assert not np.array_equal(quick, exact)
    np.testing.assert_allclose(quick, exact, atol=0.02)
    np.testing.assert_allclose(quick.sum(0), 1, atol=1e-5)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, bfloat16, float32, got 'float16'"):
        Segmenter(Blobs(), {1: "a"}, precision="float16")
