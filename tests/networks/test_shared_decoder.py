import pytest
import torch

from amsam_monai.networks.lora import add_decoder_lora
from amsam_monai.networks.shared_decoder import decode_shared


@pytest.mark.parametrize("with_dense", [False, True])
@pytest.mark.parametrize("with_lora", [False, True])
def test_it_gives_what_sams_decoder_gives(nano_sam, with_dense, with_lora):
    if with_lora:
        add_decoder_lora(nano_sam.mask_decoder)
    for parameter in nano_sam.mask_decoder.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    position, sam = nano_sam.dense_pe().double(), nano_sam.double()
    sam.dense_pe = lambda: position  # segment-anything computes it in single precision only
    embedding, images = torch.randn(2, 256, 4, 4).double(), torch.tensor([0, 1, 1])
    sparse, dense = torch.randn(3, 5, 256).double(), torch.randn(3, 256, 4, 4).double()
    with torch.no_grad():
        wanted = sam.decode(embedding[images], sparse, dense if with_dense else sam.no_mask_dense(3))
        answer = decode_shared(sam, embedding, images, sparse, dense if with_dense else None)
    for name in ("mask_tokens", "iou_token", "upscaled"):
        torch.testing.assert_close(getattr(answer, name), getattr(wanted, name), atol=1e-9, rtol=1e-9)
