import copy
from functools import lru_cache

import pytest
import torch

from amsam_monai.losses import BCEDiceLoss, CEDiceLoss
from amsam_monai.networks.prompts import Prompts
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import PIXEL_MEAN, PIXEL_STD, build_sam
from amsam_monai.networks.systems.autosam import AutoSAM
from tests.contract import SystemContract


@lru_cache
def generator(backbone, num_classes) -> PromptGenerator:
    torch.manual_seed(0)
    return PromptGenerator(backbone, num_classes=num_classes, grid=4)


def build(num_classes=1, backbone="sam", **settings) -> AutoSAM:
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(sam, copy.deepcopy(generator(backbone, num_classes)), num_classes=num_classes, **settings)


class TestOneClass(SystemContract):
    def build(self, num_classes):
        return build(num_classes)


class TestThreeClasses(SystemContract):
    classes = 3

    def build(self, num_classes):
        return build(num_classes, lora_rank=2)


class TestStandaloneBackbone(SystemContract):
    def build(self, num_classes):
        pytest.importorskip("timm")
        return build(num_classes, "efficientnet_lite0", prompt_size=64)


@torch.no_grad()
def test_the_mask_is_sam_s_first_under_the_dense_prompt_alone():
    net = build().eval()
    image = torch.rand(1, 3, 64, 64)
    sam, embedding = net.sam, net.encode(image)
    pixels = (image - torch.tensor(PIXEL_MEAN).reshape(1, 3, 1, 1)) / torch.tensor(PIXEL_STD).reshape(1, 3, 1, 1)
    small = torch.nn.functional.interpolate(pixels, (40, 40), mode="bilinear", antialias=True)
    dense = net.generator(small, embedding)
    masks, _ = sam.mask_decoder(  # segment-anything's own call
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=torch.zeros(1, 0, 256),
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    logits = net(image, low_res=True)
    torch.testing.assert_close(logits[:, 1:], masks, atol=1e-5, rtol=1e-5)
    assert not logits[:, 0].any()


@torch.no_grad()
def test_no_mask_embedding_of_sam_is_not_read():
    net = build().eval()
    image = torch.rand(1, 3, 64, 64)
    before = net(image)
    net.sam.prompt_encoder.no_mask_embed.weight.fill_(9.0)
    assert torch.equal(net(image), before)


@torch.no_grad()
def test_a_mask_prompt_takes_the_place_of_the_generated_one_of_its_class():
    net = build(2).eval()
    image = torch.rand(1, 3, 64, 64)
    mask = torch.full((1, 2, 16, 16), torch.nan)
    torch.testing.assert_close(net(image, prompts=Prompts(mask=mask)), net(image))
    mask[0, 1] = torch.randn(16, 16) * 5
    changed = net(image, prompts=Prompts(mask=mask)) - net(image)
    assert not changed[:, 1].abs().max() > 1e-5
    assert changed[:, 2].abs().max() > 1e-4


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("rank", [0, 2])
def test_training_moves_g_and_lora_and_leaves_sam_bit_identical(classes, rank):
    net = build(classes, lora_rank=rank).train()
    frozen = {name: p.clone() for name, p in net.sam.state_dict().items() if ".lora_" not in name}
    moving = {name: p.clone() for name, p in net.named_parameters() if p.requires_grad}
    assert all(name.startswith("generator.") or ".lora_" in name for name in moving)
    assert any(".lora_" in name for name in moving) == bool(rank)
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-2)
    loss = BCEDiceLoss() if classes == 1 else CEDiceLoss()
    image, label = torch.rand(2, 3, 64, 64), torch.randint(0, classes + 1, (2, 1, 64, 64))
    for _ in range(2):
        optimizer.zero_grad()
        loss(net(image, low_res=True), label).backward()
        optimizer.step()
    after = net.state_dict()
    still = [name for name, value in moving.items() if torch.equal(after[name], value)]
    assert not still
    assert all(torch.equal(after[f"sam.{name}"], value) for name, value in frozen.items())
    assert all(p.grad is None for p in net.parameters() if not p.requires_grad)


def test_a_few_steps_lower_the_loss():
    net = build().train()
    image = torch.rand(2, 3, 64, 64)
    label = (image[:, :1] > 0.5).long()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = BCEDiceLoss()(net(image, low_res=True), label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


class TestLight:
    """h(g(I))."""

    def build(self, classes=1):
        return build(classes, surrogate=SurrogateDecoder(), light=True).eval()

    @torch.no_grad()
    def test_it_is_h_of_g(self):
        net = self.build(2)
        image = torch.rand(1, 3, 64, 64)
        dense = net.dense_prompt(image, net.encode(image))
        torch.testing.assert_close(net(image, low_res=True)[:, 1:], net.surrogate(dense), atol=1e-5, rtol=1e-5)

    @torch.no_grad()
    def test_a_backbone_that_stands_alone_spares_sam_s_encoder(self, monkeypatch):
        pytest.importorskip("timm")
        net = build(backbone="efficientnet_lite0", prompt_size=64, surrogate=SurrogateDecoder(), light=True).eval()
        monkeypatch.setattr(net.sam.image_encoder, "forward", None)
        assert net(torch.rand(2, 3, 40, 90)).shape == (2, 2, 40, 90)
        answer = net.segment(torch.rand(1, 3, 64, 64))
        assert answer.quality is None

    def test_only_h_trains_and_g_keeps_its_statistics(self):
        pytest.importorskip("timm")
        net = build(backbone="efficientnet_lite0", prompt_size=64, surrogate=SurrogateDecoder(), light=True).train()
        before = {name: value.clone() for name, value in net.generator.state_dict().items()}
        BCEDiceLoss()(net(torch.rand(2, 3, 64, 64), low_res=True), torch.ones(2, 1, 64, 64).long()).backward()
        assert all(torch.equal(value, before[name]) for name, value in net.generator.state_dict().items())
        assert {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None} == {"surrogate"}

    @torch.no_grad()
    def test_one_adapter_serves_both_forms(self):
        light, image = self.build(), torch.rand(1, 3, 64, 64)
        full = build(surrogate=SurrogateDecoder()).eval()
        for p in light.surrogate.parameters():
            p.add_(0.05)
        full.load_adapter_state_dict(light.adapter_state_dict())
        torch.testing.assert_close(full.use_light()(image), light(image))
        torch.testing.assert_close(full.use_light(False)(image), light.use_light(False)(image))

    def test_light_without_a_surrogate_is_refused(self):
        with pytest.raises(ValueError, match="light must come with a surrogate decoder"):
            build().use_light()


@torch.no_grad()
def test_normalising_twice_nearly_blinds_sam_as_the_published_code_does():
    seen = {}
    for twice in (False, True):
        net = build(normalise_twice=twice).eval()
        net.sam.image_encoder.register_forward_hook(lambda _, inputs, __, key=twice: seen.update({key: inputs[0]}))
        black, white = (torch.full((1, 3, 64, 64), value) for value in (0.0, 1.0))
        net.encode(torch.cat([black, white]))
    once, twice = (seen[key][:, 0, 0, 0] for key in (False, True))
    torch.testing.assert_close(once, torch.tensor([-2.118, 2.249]), atol=1e-3, rtol=0)
    torch.testing.assert_close(twice, torch.tensor([-2.154, -2.079]), atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_network_s_own_domain_reaches_a_shared_generator():
    sam = build_sam("vit_nano", image_size=64)
    g = PromptGenerator("sam", grid=4, domains=2)
    g.domain_token.weight.normal_()
    image = torch.rand(1, 3, 64, 64)
    first, second = (AutoSAM(sam, g, domain=domain).eval()(image) for domain in (0, 1))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("grid", "classes", "message"),
    [(8, 1, "generator must have SAM's grid 4, got 8"), (4, 2, "generator must have 1 classes, got 2")],
)
def test_a_generator_of_another_shape_is_refused(nano_sam, grid, classes, message):
    with pytest.raises(ValueError, match=message):
        AutoSAM(nano_sam, PromptGenerator("sam", grid=grid, num_classes=classes))
