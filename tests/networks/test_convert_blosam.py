"""State dicts with BLO-SAM's and SAMed's key names give the logits that a plain SAM with merged weights gives."""

import copy

import pytest
import torch
from torch import nn

from amsam_monai.networks.convert import blosam_state_dict, samed_state_dict
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM

IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


def plain_sam(tokens):
    """A SAM whose decoder has as many mask tokens as both codes give it."""
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64, normalise=False)
    decoder = sam.mask_decoder
    decoder.mask_tokens = nn.Embedding(tokens, 256)
    heads = decoder.output_hypernetworks_mlps
    decoder.output_hypernetworks_mlps = nn.ModuleList([copy.deepcopy(heads[0]) for _ in range(tokens)])
    decoder.num_mask_tokens = tokens
    return sam


def base_state():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=64).state_dict()


def joint(tokens, **settings):
    sam = build_sam("vit_nano", image_size=64, normalise=False)
    sam.load_state_dict(base_state())
    return AMSAM(sam, num_classes=tokens - 1, resize="stretch", joint=True, calibration="none", **settings).eval()


def reference_logits(sam):
    embedding = sam.encode(IMAGE)
    rows = len(embedding)
    return sam.masks(sam.decode(embedding, sam.sparse(rows=rows), sam.no_mask_dense(rows)))


def perturb(module):
    for parameter in module.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.05)


@torch.no_grad()
def test_blo_sams_checkpoint_gives_its_logits():
    sam = plain_sam(tokens=2)
    for part in ("mask_tokens", "iou_token", "output_upscaling", "output_hypernetworks_mlps"):
        perturb(getattr(sam.mask_decoder, part))
    perturb(sam.prompt_encoder.no_mask_embed)
    published = {"no_mask_embed": sam.prompt_encoder.no_mask_embed.weight.clone()}
    published |= {f"mask_decoder.{name}": value.clone() for name, value in sam.mask_decoder.state_dict().items()}
    transformer = sam.mask_decoder.transformer
    names = {"sa": "self_attn", "cti": "cross_attn_token_to_image", "cit": "cross_attn_image_to_token"}
    for short, attribute in names.items():
        for number in range(4):  # layer 0 q, layer 0 v, layer 1 q, layer 1 v
            attention = getattr(transformer.layers[number // 2], attribute)
            linear = attention.v_proj if number % 2 else attention.q_proj
            a, b = torch.randn(4, linear.in_features) * 0.1, torch.randn(linear.out_features, 4) * 0.1
            published |= {f"{short}_a_{number:03d}": a, f"{short}_b_{number:03d}": b}
            linear.weight.add_(b @ a)
    for letter in "qv":
        linear = getattr(transformer.final_attn_token_to_image, f"{letter}_proj")
        a, b = torch.randn(4, linear.in_features) * 0.1, torch.randn(linear.out_features, 4) * 0.1
        published |= {f"fati_{letter}a": a, f"fati_{letter}b": b}
        linear.weight.add_(b @ a)
    net = joint(tokens=2)
    net.load_adapter_state_dict(blosam_state_dict(published))
    ours = net(IMAGE, low_res=True)
    torch.testing.assert_close(ours, reference_logits(sam), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_sam_eds_checkpoint_gives_its_logits():
    sam = plain_sam(tokens=9)
    perturb(sam.mask_decoder)
    perturb(sam.prompt_encoder.no_mask_embed)
    published = {f"mask_decoder.{name}": value.clone() for name, value in sam.mask_decoder.state_dict().items()}
    published |= {f"prompt_encoder.{name}": value.clone() for name, value in sam.prompt_encoder.state_dict().items()}
    for block, layer in enumerate(sam.image_encoder.blocks):
        width = layer.attn.qkv.in_features
        for place, rows in enumerate((slice(0, width), slice(2 * width, 3 * width))):  # q, v
            a, b = torch.randn(4, width) * 0.1, torch.randn(width, 4) * 0.1
            number = 2 * block + place
            published |= {f"w_a_{number:03d}": a, f"w_b_{number:03d}": b}
            layer.attn.qkv.weight[rows] += b @ a
    net = joint(tokens=9, lora_rank=0, encoder_lora_rank=4, decoder="all")
    net.load_adapter_state_dict(samed_state_dict(published))
    torch.testing.assert_close(net(IMAGE, low_res=True), reference_logits(sam), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("convert", [blosam_state_dict, samed_state_dict])
def test_another_methods_checkpoint_is_refused(convert):
    with pytest.raises(ValueError, match="checkpoint must hold"):
        convert({"auto_prompt.prompt_emb": torch.zeros(4, 256)})
