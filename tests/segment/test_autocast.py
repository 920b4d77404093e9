import pytest
import torch

from amsam_monai.segment.autocast import AutocastInferer, has_bfloat16

NET = torch.nn.Linear(2, 2)


def test_the_network_computes_in_the_dtype():
    image = torch.rand(1, 2)
    assert AutocastInferer("bfloat16")(image, NET).dtype == torch.bfloat16
    assert torch.equal(AutocastInferer("float32")(image, NET), NET(image))


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", None])
def test_auto_takes_bfloat16_only_where_the_cpu_has_it(instruction, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, instruction: True}, raising=False)
    expected = torch.bfloat16 if instruction else torch.float32
    assert has_bfloat16(torch.device("cpu")) == bool(instruction)
    assert AutocastInferer()(torch.rand(1, 2), NET).dtype == expected


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match="precision must be one of auto, bfloat16, float32, got 'float16'"):
        AutocastInferer("float16")
