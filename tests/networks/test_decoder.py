import pytest
import torch

from amsam_monai.networks.sam.lora import add_decoder_lora


def stock(sam, embedding, sparse, dense):
    """Segment-anything's own transformer and upscaling."""
    tokens = torch.cat([sam.output_tokens().expand(len(sparse), -1, -1), sparse], dim=1)
    queries, keys = sam.mask_decoder.transformer(embedding + dense, sam.dense_pe(), tokens)
    upscaled = sam.mask_decoder.output_upscaling(keys.transpose(1, 2).reshape(embedding.shape))
    return {"mask_tokens": queries[:, 1 : len(sam.output_tokens())], "iou_token": queries[:, 0], "upscaled": upscaled}


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
        wanted = stock(sam, embedding[images], sparse, dense if with_dense else sam.no_mask_dense(3))
        answer = sam.decode(embedding, sparse, dense if with_dense else None, images=images)
    found = {
        "mask_tokens": answer.mask_tokens,
        "iou_token": answer.iou_token,
        "upscaled": answer.picture(answer.features),
    }
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("count", [5, 12])  # few tokens, and too many to spare the projection of cells
@pytest.mark.parametrize("images", [None, torch.tensor([0, 1])])
def test_its_gradients_are_those_of_sams_decoder(nano_sam, images, count):
    add_decoder_lora(nano_sam.mask_decoder)
    for parameter in nano_sam.mask_decoder.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    position, sam = nano_sam.dense_pe().double(), nano_sam.double()
    sam.dense_pe = lambda: position
    embedding = torch.randn(2, 256, 4, 4).double().requires_grad_()
    sparse, dense = torch.randn(2, count, 256).double().requires_grad_(), torch.randn(2, 256, 1, 1).double()
    learned = [embedding, sparse, *(p for name, p in sam.mask_decoder.named_parameters() if "transformer" in name)]
    learned = [part for part in learned if part.requires_grad]
    answer = sam.decode(embedding, sparse, dense, images=images)
    found = torch.autograd.grad(answer.picture(answer.features).square().sum(), learned, allow_unused=True)
    upscaled = stock(sam, embedding, sparse, dense.expand(-1, -1, 4, 4))["upscaled"]
    wanted = torch.autograd.grad(upscaled.square().sum(), learned, allow_unused=True)
    assert sum(part is not None for part in wanted) > 20
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-8)


def test_a_dense_prompt_of_one_cell_stands_for_all_cells(nano_sam):
    add_decoder_lora(nano_sam.mask_decoder)
    for parameter in nano_sam.mask_decoder.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    embedding, images = torch.randn(2, 256, 4, 4), torch.tensor([0, 1, 1])
    sparse, cell = torch.randn(3, 5, 256), torch.randn(3, 256, 1, 1, requires_grad=True)

    def masks_and_gradient(dense, images):
        masks = nano_sam.masks(nano_sam.decode(embedding, sparse, dense, images=images))
        return masks, torch.autograd.grad(masks.square().sum(), cell)[0]

    found, wanted = masks_and_gradient(cell, images), masks_and_gradient(cell.expand(-1, -1, 4, 4), images)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        alone = nano_sam.masks(nano_sam.decode(embedding[[0, 1, 1]], sparse, cell))
    torch.testing.assert_close(alone, found[0], atol=1e-4, rtol=1e-4)
    assert nano_sam.masks(nano_sam.decode(embedding.half(), sparse, cell, images=images)).dtype == torch.float32


@pytest.mark.parametrize("count", [5, 12])  # few tokens, and too many to spare the projection of cells
def test_tokens_that_are_not_there_count_for_nothing(nano_sam, count):
    embedding, sparse, cell = torch.randn(2, 256, 4, 4), torch.randn(2, count, 256), torch.randn(2, 256, 1, 1)
    there = torch.ones(2, count, dtype=torch.bool)
    there[1, 2:] = False
    with torch.no_grad():
        found = nano_sam.masks(nano_sam.decode(embedding, sparse, cell, there=there))
        whole = nano_sam.masks(nano_sam.decode(embedding[:1], sparse[:1], cell[:1]))
        short = nano_sam.masks(nano_sam.decode(embedding[1:], sparse[1:, :2], cell[1:]))
    torch.testing.assert_close(found, torch.cat([whole, short]), atol=1e-5, rtol=1e-5)
