import pytest
import torch

from amsam_monai.networks.sam.tiny_vit import ConvNorm, LayerNorm2d, TinyViT, WindowAttention
from amsam_monai.networks.weights import store as weights


def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give every parameter and statistic a value that matters."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim < 2:
            tensor.copy_(1 + 0.2 * torch.rand(tensor.shape, generator=generator))
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (tensor[0].numel() ** -0.5))
    return model.eval()


def ultralytics_tiny_vit(image_size: int) -> torch.nn.Module:
    encoder = pytest.importorskip("ultralytics.models.sam.modules.tiny_encoder")
    return encoder.TinyViT(
        img_size=image_size,
        num_classes=1,
        embed_dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        num_heads=(2, 4, 5, 10),
        window_sizes=(7, 7, 14, 7),
        drop_path_rate=0.0,
    )


def encoder_state(name: str) -> dict[str, torch.Tensor]:
    """The encoder's part of a published checkpoint, or a skip."""
    try:
        state = weights.load_weights(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not in the weights folder; `amsam weights fetch {name}` brings it")
    own = {
        key.removeprefix("image_encoder."): value for key, value in state.items() if key.startswith("image_encoder.")
    }
    return {key: value for key, value in own.items() if not key.startswith(("head.", "norm_head."))}


@pytest.mark.parametrize(("stride", "image_size", "grid"), [(16, 64, 4), (16, 80, 5), (4, 32, 8)])
def test_the_embedding_has_one_cell_per_stride(stride, image_size, grid):
    model = TinyViT(image_size=image_size, stride=stride).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, image_size, image_size)).shape == (2, 256, grid, grid)
    assert model.grid == grid


@pytest.mark.parametrize("image_size", [0, 100, -16])
def test_an_image_size_off_the_grid_is_refused(image_size):
    with pytest.raises(ValueError, match="image_size must be a positive multiple of 16"):
        TinyViT(image_size=image_size)


def test_an_unknown_stride_is_refused():
    with pytest.raises(ValueError, match="stride must be 16"):
        TinyViT(stride=8)


@pytest.mark.parametrize("shape", [(1, 3, 32, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"image must have shape \(B, 3, 64, 64\)"):
        TinyViT(image_size=64)(torch.zeros(shape))


@pytest.mark.parametrize("image_size", [208, 256])
def test_outputs_equal_ultralytics_on_random_weights(image_size):
    theirs = ultralytics_tiny_vit(image_size)
    ours = randomised(TinyViT(image_size=image_size))
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert all(key.startswith(("head.", "norm_head.")) for key in missing)
    assert not unexpected
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.eval()(image), rtol=0, atol=1e-5)


def test_an_image_does_not_change_its_batch_mates():
    model = randomised(TinyViT(image_size=64))
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_query_key_and_value_rows_are_interleaved_per_head():
    attention = randomised(WindowAttention(8, 2, 2))
    assert (attention.num_heads, attention.key_dim, attention.qkv.out_features) == (2, 4, 24)
    x = torch.randn(1, 2, 2, 8)
    attention.proj.weight.data = torch.eye(8)
    attention.proj.bias.data.zero_()
    with torch.no_grad():
        before = attention(x)
        attention.qkv.bias[12 + 8 : 12 + 12] += 1.0  # v of head 1
        change = attention(x) - before
    torch.testing.assert_close(change[..., :4], torch.zeros(1, 2, 2, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(change[..., 4:], torch.ones(1, 2, 2, 4), rtol=0, atol=1e-5)


def test_attention_is_softmax_of_scaled_products_plus_the_bias_of_the_offset():
    attention = randomised(WindowAttention(4, 1, 2))
    x = torch.randn(1, 2, 2, 4)
    with torch.no_grad():
        q, k, v = attention.qkv(attention.norm(x))[0].flatten(0, 1).split(4, dim=-1)
        table = attention.attention_biases[0]  # offsets (0, 0), (0, 1), (1, 0), (1, 1)
        bias = torch.stack([table[i] for i in ([0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0])])
        expected = attention.proj((q @ k.T / 2 + bias).softmax(-1) @ v)
        torch.testing.assert_close(attention(x)[0].flatten(0, 1), expected, rtol=0, atol=1e-6)


def test_kept_statistics_in_the_convolution_give_what_two_layers_give():
    layer = randomised(ConvNorm(6, 8, 3, stride=2, groups=2).double())
    image = torch.rand(2, 6, 9, 9, dtype=torch.float64, requires_grad=True)
    grads = []
    for output in (layer(image), layer.bn(layer.c(image))):
        grads.append(torch.autograd.grad(output.square().sum(), [image, *layer.parameters()]))
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(layer(image), layer.bn(layer.c(image)))
    means = layer.bn.running_mean.clone()
    layer.train()(image)
    assert not torch.equal(layer.bn.running_mean, means)  # a training with statistics of its own still moves them


def test_gradients_reach_every_parameter():
    model = randomised(TinyViT(image_size=32))
    model(torch.randn(1, 3, 32, 32)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_layer_norm_is_over_channels():
    x = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(LayerNorm2d(2)(x).flatten(), torch.tensor([-1.0, 1.0]), rtol=0, atol=1e-4)


def test_parameters_are_those_of_mobile_sams_encoder():
    # Counted in mobile_sam.pt, without batch statistics and without its classification head.
    assert sum(parameter.numel() for parameter in TinyViT().parameters()) == 5_743_892


@pytest.mark.weights
@pytest.mark.parametrize("image_size", [256, 512])
def test_mobile_sam_gives_what_ultralytics_gives(image_size):
    ours, theirs = TinyViT(image_size=image_size), ultralytics_tiny_vit(image_size)
    state = encoder_state("mobile_sam")
    ours.load_state_dict(state, strict=True)
    theirs.load_state_dict(state, strict=False)
    image = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(image), theirs.eval()(image), rtol=0, atol=1e-5)


@pytest.mark.weights
def test_lite_medsam_loads_and_gives_its_grid():
    model = TinyViT(image_size=256, stride=4)
    model.load_state_dict(encoder_state("lite_medsam"), strict=True)
    with torch.no_grad():
        embedding = model.eval()(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(3)))
    assert embedding.shape == (1, 256, 64, 64)
    assert embedding.isfinite().all()
