import sys

import pytest
import torch

from amsam_monai.networks.prompts.backbones import EfficientNetLite0, HarDNet85
from amsam_monai.networks.prompts.backbones.efficientnet_lite import lite0_state_dict
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.weights import store as weights
from tests.reference import autosam_golden as golden

LIBRARIES = {"hardnet85": "pytorchcv", "efficientnet_lite0": "timm", "sam": "timm"}


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def built(backbone, **settings):
    if backbone in LIBRARIES:
        pytest.importorskip(LIBRARIES[backbone])
    torch.manual_seed(0)
    return PromptGenerator(backbone, **settings).eval()


@pytest.fixture(scope="module")
def pytorchcv_hardnet():
    hardnet = pytest.importorskip("pytorchcv.models.hardnet")
    return hardnet.hardnet85().features


def test_the_paper_s_generator_has_its_parameters_with_and_without_the_dead_part(pytorchcv_hardnet):
    live = parameters(built("hardnet85"))
    assert live == 24_052_124
    second_norm = 2 * 256  # built in the published decoder, never used
    assert live + parameters(pytorchcv_hardnet.stage4) + second_norm == 41_558_300


def test_every_unit_of_hardnet_has_the_published_parameters(pytorchcv_hardnet):
    ours = HarDNet85()
    first, second, third = ours.stages
    found = {0: ours.stem.conv1, 1: ours.stem.conv2, 3: first.unit1.blocks, 4: first.unit1.conv}
    found |= {6: second.unit1.blocks, 7: second.unit1.conv, 8: second.unit2.blocks, 9: second.unit2.conv}
    found |= {11: third.unit1.blocks, 12: third.unit1.conv, 13: third.unit2.blocks, 14: third.unit2.conv}
    found |= {16: pytorchcv_hardnet.stage4.unit1.blocks, 18: pytorchcv_hardnet.stage4.unit1.conv}
    assert {index: parameters(unit) for index, unit in found.items()} == golden.UNIT_PARAMETERS


def test_every_layer_of_hardnet_has_the_published_widths():
    ours = HarDNet85()
    first, second, third = ours.stages
    blocks = {3: first.unit1, 6: second.unit1, 8: second.unit2, 11: third.unit1, 13: third.unit2}
    for index, unit in blocks.items():
        layers = [(block.conv.in_channels, block.conv.out_channels) for block in unit.blocks]
        assert layers == golden.block_layers(*golden.BLOCKS[index]), index
        assert all(isinstance(block.activ, torch.nn.ReLU6) for block in [*unit.blocks, unit.conv])


@torch.no_grad()
def test_hardnet_s_taps_have_the_published_shapes(pytorchcv_hardnet):
    ours = HarDNet85().eval()
    pixels = torch.zeros(1, 3, 256, 256)
    half = ours.stem.conv2(ours.stem.conv1(pixels))
    quarter, eighth, sixteenth = ours(pixels)
    deepest = pytorchcv_hardnet.stage4.eval()(torch.nn.functional.max_pool2d(sixteenth, 2))  # the stage left out
    taps = [(tap.shape[1], tap.shape[2]) for tap in (half, quarter, eighth, sixteenth, deepest)]
    assert taps == [(96, 128), (192, 64), (320, 32), (720, 16), (1280, 8)]


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["hardnet85", "efficientnet_lite0", "sam"])
def test_any_backbone_gives_k_prompts_on_sam_s_grid(backbone):
    g = built(backbone, num_classes=3, grid=8)
    dense = g(torch.randn(2, 3, 64, 64), torch.randn(2, 256, 8, 8))
    assert dense.shape == (2, 3 * 256, 8, 8)
    assert dense.abs().max() <= 1


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "sam"])
def test_an_image_does_not_depend_on_its_batch_mates(backbone):
    g = built(backbone, grid=8)
    pixels, embedding = torch.randn(3, 3, 64, 64), torch.randn(3, 256, 8, 8)
    alone = torch.cat([g(p[None], e[None]) for p, e in zip(pixels, embedding, strict=True)])
    torch.testing.assert_close(g(pixels, embedding), alone, atol=1e-5, rtol=1e-5)


def test_the_sam_backbone_asks_for_the_embedding():
    g = built("sam", grid=4)
    assert g.reads_embedding
    assert g.preferred_size == 40
    with pytest.raises(ValueError, match="must be given SAM's embedding, got None"):
        g(torch.zeros(1, 3, 32, 32))


@torch.no_grad()
def test_a_shared_generator_starts_alike_for_every_data_set_and_can_tell_them_apart():
    g = built("sam", grid=4, domains=2)
    pixels, embedding = torch.randn(2, 3, 32, 32), torch.randn(2, 256, 4, 4)
    first, second = (g(pixels, embedding, domain=torch.full((2,), domain)) for domain in (0, 1))
    torch.testing.assert_close(first, second)
    g.domain_token.weight.normal_()
    first, second, mixed = (g(pixels, embedding, domain=torch.tensor(d)) for d in ([0, 0], [1, 1], [0, 1]))
    assert not torch.allclose(first, second)
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1]]))
    with pytest.raises(ValueError, match="domain must name one of 2 data sets"):
        g(pixels, embedding)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="backbone must be one of hardnet85, efficientnet_lite0, sam, got 'vgg'"):
        PromptGenerator("vgg")


def test_sam_s_companion_stays_as_it_was_loaded():
    g = built("sam", grid=4).train()
    assert not [name for name, p in g.named_parameters() if p.requires_grad and name.startswith("backbone.")]
    before = {name: value.clone() for name, value in g.backbone.state_dict().items()}
    g(torch.randn(2, 3, 48, 48), torch.randn(2, 256, 4, 4)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in g.backbone.state_dict().items())
    assert all(p.grad is not None for p in g.decoder.parameters())


def test_a_tuned_companion_learns_from_stride_8_on_and_keeps_its_statistics():
    g = built("sam", grid=4, tuned=True).train()
    assert [tuple(tap.shape[1:]) for tap in g.backbone(torch.zeros(1, 3, 64, 64))] == [
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    trained = {name.split(".")[1] for name, p in g.backbone.named_parameters() if p.requires_grad}
    assert trained == {"2", "3", "4", "5", "6"}
    assert not g.backbone.conv_stem.weight.requires_grad
    before = {name: value.clone() for name, value in g.backbone.state_dict().items() if "running" in name}
    g(torch.randn(2, 3, 48, 48), torch.randn(2, 256, 4, 4)).sum().backward()
    after = g.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is not None for p in g.parameters() if p.requires_grad)
    assert (g.preferred_size, parameters(g.backbone)) == (32, 2_958_848)


def test_only_the_companion_of_sam_is_tuned_apart():
    with pytest.raises(ValueError, match="tuned must go with backbone \"sam\", got 'efficientnet_lite0'"):
        PromptGenerator("efficientnet_lite0", tuned=True)


def test_a_generator_computes_in_bfloat16():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dense = built("sam", grid=4)(torch.randn(2, 3, 48, 48), torch.randn(2, 256, 4, 4))
    assert dense.isfinite().all()


def test_weights_of_another_network_are_refused(tmp_path):
    pytest.importorskip("timm")
    path = tmp_path / "w.pth"
    torch.save({"a.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"weights must be EfficientNet-Lite0's, got 'a\.weight'"):
        PromptGenerator("efficientnet_lite0", weights=path)
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match="must be those of efficientnet_lite0"):
        PromptGenerator("efficientnet_lite0", weights=path)


@pytest.mark.parametrize("backbone", ["hardnet85", "efficientnet_lite0", "sam"])
def test_a_missing_library_says_what_to_install(backbone, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == LIBRARIES[backbone]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, LIBRARIES[backbone], None)
    with pytest.raises(ImportError, match=rf"needs {LIBRARIES[backbone]}; install it with"):
        PromptGenerator(backbone)


def test_names_of_lite0_map_onto_timm_s_one_by_one():
    timm = pytest.importorskip("timm")
    whole = timm.create_model("tf_efficientnet_lite0").state_dict()
    ours = EfficientNetLite0().state_dict()
    assert set(ours) <= set(whole)
    assert parameters(EfficientNetLite0()) == 700_768
    published = {"_conv_stem.weight": torch.zeros(1), "_blocks.0._bn2.bias": torch.zeros(1), "_fc.bias": torch.zeros(1)}
    published |= {"_blocks.5._project_conv.weight": torch.zeros(1), "_blocks.15._bn2.bias": torch.zeros(1)}
    assert list(lite0_state_dict(published)) == [
        "conv_stem.weight",
        "blocks.0.0.bn2.bias",
        "blocks.3.0.conv_pwl.weight",
    ]
    with pytest.raises(ValueError, match="16 blocks, got number 16"):
        lite0_state_dict({"_blocks.16._bn0.bias": torch.zeros(1)})


@pytest.mark.weights
@torch.no_grad()
def test_imagenet_weights_of_the_package_index_fit():
    pytest.importorskip("timm")
    try:
        file = weights.path("efficientnet_lite0")
    except FileNotFoundError:
        pytest.skip("efficientnet_lite0 is not in the weights folder")
    g = PromptGenerator("efficientnet_lite0", weights=file).eval()
    assert [tuple(tap.shape[1:]) for tap in g.backbone(torch.zeros(1, 3, 64, 64))] == [
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
    ]
    stem = weights.load_weights(file)["_conv_stem.weight"]
    assert torch.equal(g.backbone.conv_stem.weight, stem)
