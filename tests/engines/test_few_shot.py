import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.engines import embedding_cache
from amsam_monai.engines.few_shot import FewShotSettings, dice_of_samples, few_shot_trainer
from amsam_monai.engines.few_shot_rows import ROWS
from amsam_monai.networks.sam import build_sam
from amsam_monai.networks.systems.amsam import AMSAM
from amsam_monai.networks.systems.from_scratch import FromScratch
from tests.engines import nano

QUICK = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "views": 2}
SAMPLES = [{**sample, "image": MetaTensor(sample["image"])} for sample in nano.samples(4)]


def trained(row, tmp_path, **settings):
    torch.manual_seed(0)
    if row.from_scratch:
        network = FromScratch(row.from_scratch, image_size=64)
    else:
        network = AMSAM(build_sam("vit_nano", image_size=64), **row.network)
    cache = None if row.encoder_trains or row.from_scratch else embedding_cache(network, tmp_path)
    before = {name: value.detach().clone() for name, value in network.named_parameters() if value.requires_grad}
    few_shot_trainer(network, SAMPLES, cache, FewShotSettings(**{**row.settings, **QUICK, **settings})).run()
    after = dict(network.named_parameters())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    return network, cache, moved


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.trains])
def test_every_row_trains_what_it_says_and_is_scored(name, tmp_path):
    row = ROWS[name]
    network, cache, moved = trained(row, tmp_path)
    assert any("image_encoder" in part for part in moved) == row.encoder_trains
    assert row.from_scratch or any("output_upscaling" in part for part in moved)
    native, coarse = dice_of_samples(network, SAMPLES[:2], cache)
    assert native.shape == coarse.shape == (2,)
    assert ((native >= 0) & (native <= 1)).all()


@pytest.mark.parametrize(
    ("shots", "steps", "floor", "side"),
    [(4, 160, 0.35, 256), (8, 160, 0.35, 256), (16, 240, 0.5, 384), (32, 240, 0.5, 384)],
)
def test_more_images_mean_more_steps_larger_images_and_a_higher_floor(shots, steps, floor, side):
    row = ROWS["AM-SAM, encoder trained"]
    settings = row.settings_for(FewShotSettings(), shots)
    assert settings.epochs * settings.steps_per_epoch == steps
    assert (row.floor(shots), row.side(shots)) == (floor, side)
    assert (ROWS["AM-SAM"].floor(shots), ROWS["AM-SAM"].side(shots)) == (0, None)
    assert ROWS["AM-SAM"].settings_for(FewShotSettings(epochs=7), shots) == FewShotSettings(epochs=7, bilevel=False)


def test_half_precision_trains_to_nearly_the_same(tmp_path):
    full, half = (trained(ROWS["AM-SAM"], tmp_path, precision=p)[0] for p in ("float32", "bfloat16"))
    assert all(torch.allclose(a, b, atol=3e-3) for a, b in zip(full.parameters(), half.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(full.parameters(), half.parameters(), strict=True))


def test_a_network_without_a_prompt_has_one_level():
    with pytest.raises(ValueError, match="bilevel must be False for a FromScratch"):
        few_shot_trainer(FromScratch("unet", image_size=64), SAMPLES, None, FewShotSettings(bilevel=True))


def test_gradients_of_two_levels_are_not_clipped(tmp_path):
    network = AMSAM(build_sam("vit_nano", image_size=64))
    with pytest.raises(ValueError, match=r"clip must be None on two levels, got 1\.0"):
        few_shot_trainer(network, SAMPLES, embedding_cache(network, tmp_path), FewShotSettings(bilevel=True, clip=1.0))


def test_random_views_keep_no_embeddings(tmp_path):
    network = AMSAM(build_sam("vit_nano", image_size=64))
    with pytest.raises(ValueError, match="random_views must come without a cache"):
        few_shot_trainer(
            network, SAMPLES, embedding_cache(network, tmp_path), FewShotSettings(bilevel=False, random_views=True)
        )


def test_extra_samples_train_too_but_for_a_share_of_none(tmp_path):
    extra = [{"image": torch.zeros(3, 64, 64), "label": torch.ones(1, 64, 64)} for _ in range(20)]

    def weights(extra, **settings):
        torch.manual_seed(0)
        network = AMSAM(build_sam("vit_nano", image_size=64), **ROWS["AM-SAM"].network)
        settings = FewShotSettings(**{**ROWS["AM-SAM"].settings, **QUICK, **settings})
        few_shot_trainer(network, SAMPLES, embedding_cache(network, tmp_path), settings, extra=extra).run()
        return torch.cat([p.detach().flatten() for p in network.parameters() if p.requires_grad])

    alone = weights([])
    assert torch.equal(weights(extra, extra_share=0.0), alone)
    assert not torch.equal(weights(extra, extra_share=0.5), alone)


def test_mirror_images_share_in_the_score(tmp_path):
    network, cache, _ = trained(ROWS["AM-SAM"], tmp_path)
    boxes = {sample["case_id"]: torch.tensor([[8.0, 8.0, 40.0, 48.0]]) for sample in SAMPLES}
    plain, both = (
        dice_of_samples(network, SAMPLES, cache, boxes=boxes, flips=flips)[0] for flips in ((), ("horizontal",))
    )
    assert plain.shape == both.shape == (4,)
    mirrored = [{**s, "image": s["image"].flip(-1), "label": s["label"].flip(-1)} for s in SAMPLES]
    turned = {name: torch.tensor([[64 - 40.0, 8.0, 64 - 8.0, 48.0]]) for name in boxes}
    again, _ = dice_of_samples(network, mirrored, cache, boxes=turned, flips=("horizontal",))
    assert again == pytest.approx(both, abs=1e-6)
