import pytest
import torch

from amsam_monai.networks.systems.from_scratch import NETWORKS, FromScratch


@pytest.mark.parametrize("name", NETWORKS)
def test_any_image_gives_logits_of_its_own_size(name):
    torch.manual_seed(0)
    net = FromScratch(name, num_classes=2, image_size=64).eval()
    image = torch.rand(2, 3, 40, 80)
    with torch.no_grad():
        assert net(image).shape == (2, 3, 40, 80)
        assert net(image, low_res=True, prompts=None).shape == (2, 3, 32, 64)
        torch.testing.assert_close(net(image[:1]), net(image)[:1], rtol=1e-3, atol=1e-4)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of unet, swin_unetr, deeplabv3, got 'vnet'"):
        FromScratch("vnet")


def test_deeplab_knows_its_batch_statistics_after_fifty_steps():
    torch.manual_seed(0)
    net = FromScratch("deeplabv3", image_size=64).train()
    norm = next(module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].mean((0, 2, 3))))
    image = torch.rand(2, 3, 64, 64) + 1
    with torch.no_grad():
        for _ in range(50):
            net(image)
    torch.testing.assert_close(norm.running_mean, seen[-1], rtol=0.01, atol=0.01)
