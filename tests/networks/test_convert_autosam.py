import pytest
import torch

from amsam_monai.networks.convert import autosam_state_dict, hardnet85_state_dict, surrogate_state_dict
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from tests.reference import autosam_golden as golden

pytest.importorskip("pytorchcv")


@pytest.fixture(scope="module")
def published():
    """(g's state dict, dense prompts, masks) of the published modules in our classes, computed once."""
    state = golden.filled(golden.published_g())
    g, h = PromptGenerator("hardnet85").double().eval(), SurrogateDecoder().double().eval()
    g.load_state_dict(autosam_state_dict(state))
    h.load_state_dict(surrogate_state_dict(golden.filled(golden.published_h())))
    pixels = golden.formula(2 * 3 * 256 * 256, golden.INPUT_SEED).reshape(2, 3, 256, 256)
    with torch.no_grad():
        dense = g(pixels)
        return state, dense, h(dense)


def close(values, wanted, atol=1e-9):
    torch.testing.assert_close(values, torch.as_tensor(wanted, dtype=torch.float64), atol=atol, rtol=0)


def test_the_published_generator_gives_its_published_prompts(published):
    _, dense, _ = published
    assert dense.shape == (2, 256, 64, 64)
    close(dense[0, :4, 10, 20], golden.G_0_TO_4_10_20)
    close(dense[1, -3:, 63, 0], golden.G_LAST_63_0)
    close(dense.abs().mean(), golden.G_MEAN_ABS)
    weights = golden.formula(dense.numel(), golden.SUM_SEED).reshape(dense.shape)
    close((dense * weights).sum(), golden.G_WEIGHTED_SUM, atol=1e-8)


def test_the_published_surrogate_gives_its_published_masks(published):
    _, _, masks = published
    assert masks.shape == (2, 1, 256, 256)
    for place, value in golden.H_VALUES.items():
        close(masks[place], value)
    close(masks.abs().mean(), golden.H_MEAN_ABS)


def test_what_is_never_read_is_left_out(published):
    state, _, _ = published
    left = [name for name in state if name.startswith(("backbone.base.16.", "backbone.base.18.", "decoder.final.BN2."))]
    assert len(autosam_state_dict(state)) == len(state) - len(left)
    sizes = [state[name].numel() for name in left if not name.endswith(("running_mean", "running_var", "tracked"))]
    assert sum(sizes) == 17_506_176


def test_the_official_imagenet_file_has_the_backbones_names(published):
    state, _, _ = published
    prefix = "backbone."
    official = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    official["base.19.3.weight"] = torch.zeros(1000, 1280)  # the classifier
    converted = hardnet85_state_dict({f"module.{name}": value for name, value in official.items()})
    ours = {name.removeprefix(prefix): value for name, value in autosam_state_dict(state).items() if "backbone" in name}
    assert converted.keys() == ours.keys()
    assert all(torch.equal(converted[name], ours[name]) for name in ours)


@pytest.mark.parametrize(
    "name", ["backbone.base.2.conv.weight", "backbone.stem.weight", "decoder.up3.conv1.weight", "x"]
)
def test_a_name_that_g_does_not_have_is_refused(name):
    with pytest.raises(ValueError, match=r"state must be a published .*got '"):
        autosam_state_dict({name: torch.zeros(1)})


def test_a_name_that_h_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"surrogate decoder's, got 'conv4\.weight'"):
        surrogate_state_dict({"conv4.weight": torch.zeros(1)})
