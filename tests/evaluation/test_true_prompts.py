import torch

from amsam_monai.evaluation.prompting.true_prompts import mask_prompt, plain_sam, point_prompt
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM


def network():
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(sam, PromptGenerator("sam", grid=4), surrogate=SurrogateDecoder()).eval()


def test_the_true_point_lies_deepest_in_the_mask():
    label = torch.zeros(1, 20, 30, dtype=torch.long)
    label[0, 4:11, 10:17] = 1
    label[0, 0, 0] = 255
    prompts = point_prompt(label)
    assert prompts.points_xy.tolist() == [[[[13.0, 7.0]]]]
    assert prompts.point_labels.tolist() == [[[1.0]]]


def test_the_true_mask_becomes_logits_of_the_square():
    net = network()
    label = torch.zeros(1, 32, 64, dtype=torch.long)
    label[..., 32:] = 1
    mask = mask_prompt(label, net).mask
    assert mask.shape == (1, 1, 16, 16)
    assert mask[0, 0, 2].tolist()[:7] == [-10.0] * 7
    assert mask[0, 0, 2].tolist()[9:] == [10.0] * 7
    assert (mask[0, 0, 9:] == -10).all()  # the padding


@torch.no_grad()
def test_plain_sam_reads_no_generator():
    net, image = network(), torch.rand(1, 3, 40, 64)
    prompts, embedding = point_prompt(torch.ones(1, 40, 64).long()), net.encode(image)
    before = plain_sam(net, image, embedding=embedding, prompts=prompts)
    for parameter in net.generator.parameters():
        parameter.zero_()
    assert torch.equal(plain_sam(net, image, embedding=embedding, prompts=prompts), before)
    assert before.shape == (1, 2, 40, 64)
    assert plain_sam(net, image, embedding=embedding, prompts=prompts, low_res=True).shape == (1, 2, 10, 16)
