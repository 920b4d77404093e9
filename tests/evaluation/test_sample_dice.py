import pytest
import torch

from amsam_monai.engines import embedding_cache
from amsam_monai.evaluation.scoring.sample_dice import dice_of_samples
from tests.engines import nano


def test_mirror_images_share_in_the_score_with_their_boxes(tmp_path):
    network, samples = nano.network(), nano.samples(4)
    cache = embedding_cache(network, tmp_path)
    boxes = {sample["case_id"]: torch.tensor([[8.0, 8.0, 40.0, 48.0]]) for sample in samples}
    plain, both = (
        dice_of_samples(network, samples, cache, boxes=boxes, flips=flips) for flips in ((), ("horizontal",))
    )
    assert [scores.shape for scores in (*plain, *both)] == [(4,)] * 4
    assert ((plain[0] >= 0) & (plain[0] <= 1)).all()
    mirrored = [{**s, "image": s["image"].flip(-1), "label": s["label"].flip(-1)} for s in samples]
    turned = {name: torch.tensor([[64 - 40.0, 8.0, 64 - 8.0, 48.0]]) for name in boxes}
    again, _ = dice_of_samples(network, mirrored, cache, boxes=turned, flips=("horizontal",))
    assert again == pytest.approx(both[0], abs=1e-6)


def test_without_a_cache_the_network_looks_itself(tmp_path):
    network, samples = nano.network(), nano.samples(2)
    kept, _ = dice_of_samples(network, samples, embedding_cache(network, tmp_path, dtype="float32"))
    assert dice_of_samples(network, samples, None)[0] == pytest.approx(kept, abs=1e-3)
