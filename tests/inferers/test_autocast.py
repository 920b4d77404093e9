import pytest
import torch

from amsam_monai.inferers.autocast import AutocastInferer

NET = torch.nn.Linear(2, 2)


def test_the_network_computes_in_the_dtype():
    image = torch.rand(1, 2)
    assert AutocastInferer()(image, NET).dtype == torch.bfloat16
    assert torch.equal(AutocastInferer("float32")(image, NET), NET(image))


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype must be bfloat16 or float32, got 'float16'"):
        AutocastInferer("float16")
