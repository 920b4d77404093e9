import pytest
import torch

from amsam_monai.evaluation.picture_sheet import picture_sheet
from amsam_monai.evaluation.prompting.part_costs import time_parts
from amsam_monai.networks.prompts.prompt_generator import PromptGenerator
from amsam_monai.networks.prompts.surrogate_decoder import SurrogateDecoder
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.autosam import AutoSAM


def network():
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    return AutoSAM(sam, PromptGenerator("sam", grid=4), surrogate=SurrogateDecoder()).eval()


def samples(count=2):
    pictures = [torch.rand(3, 40, 64) for _ in range(count)]
    return [{"image": picture, "label": (picture[:1] > 0.5).long()} for picture in pictures]


def test_every_part_is_timed():
    found = time_parts(network(), [sample["image"] for sample in samples()])
    assert set(found["seconds_per_image"]) == {"encoder", "g", "decoder", "h", "light", "autosam"}
    assert min(found["seconds_per_image"].values()) > 0
    assert found["million_parameters"]["h"] == pytest.approx(0.151809)
    assert 64 * 8 * 8 * 4 / 2**20 < found["peak_mib"]["h"] < 2  # its first map (64, 8, 8), and little more
    assert found["gmacs"]["h"] == pytest.approx(16 * (256 * 64 * 9 + 4 * 64 * 16 * 4 + 16 * 16) / 1e9, rel=0.1)


def test_the_sheet_has_a_column_per_image_and_four_rows():
    assert picture_sheet(network(), samples(3), side=20).size == (60, 80)
