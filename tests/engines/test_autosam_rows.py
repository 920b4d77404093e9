import pytest
import torch

from amsam_monai.engines.autosam_rows import (
    mask_prompt,
    picture_sheet,
    plain_sam,
    point_prompt,
    time_parts,
    train_shared,
)
from amsam_monai.engines.embeddings import embedding_cache
from amsam_monai.engines.fixed_views_training import FixedViewsSettings
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM


def network(domains=0, **settings):
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(
        sam, PromptGenerator("sam", grid=4, domains=domains), surrogate=SurrogateDecoder(), **settings
    ).eval()


def samples(count=2):
    pictures = [torch.rand(3, 40, 64) for _ in range(count)]
    return [{"image": picture, "label": (picture[:1] > 0.5).long()} for picture in pictures]


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


def test_every_part_is_timed():
    found = time_parts(network(), [sample["image"] for sample in samples()])
    assert set(found["seconds_per_image"]) == {"encoder", "g", "decoder", "h", "light", "autosam"}
    assert min(found["seconds_per_image"].values()) > 0
    assert found["million_parameters"]["h"] == pytest.approx(0.151809)
    assert 64 * 8 * 8 * 4 / 2**20 < found["peak_mib"]["h"] < 2  # its first map (64, 8, 8), and little more
    assert found["gmacs"]["h"] == pytest.approx(16 * (256 * 64 * 9 + 4 * 64 * 16 * 4 + 16 * 16) / 1e9, rel=0.1)


def test_one_generator_learns_several_data_sets(tmp_path):
    net = network(domains=2)
    settings = FixedViewsSettings(epochs=2, batch_size=2, views=2)
    train_shared(net, [(samples(2), settings), (samples(4), settings)], embedding_cache(net, tmp_path))
    assert (net.generator.domain_token.weight.abs().sum(1) > 0).all()


def test_the_sheet_has_a_column_per_image_and_four_rows():
    assert picture_sheet(network(), samples(3), side=20).size == (60, 80)
