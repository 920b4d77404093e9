import torch

from amsam_monai.transforms.random_views import random_views


def test_random_views_are_new_each_time_and_the_same_for_a_seed():
    image, label = torch.rand(3, 40, 64), torch.zeros(1, 40, 64)
    label[:, 10:20, 10:30] = 1
    drawn = [
        [views({"image": image, "label": label}) for _ in range(2)]
        for views in (random_views(64).set_random_state(seed) for seed in (0, 0, 1))
    ]
    assert not torch.equal(drawn[0][0]["image"], drawn[0][1]["image"])
    assert all(torch.equal(one["image"], other["image"]) for one, other in zip(drawn[0], drawn[1], strict=True))
    assert not torch.equal(drawn[0][0]["image"], drawn[2][0]["image"])
    view = drawn[0][0]
    assert view["image"].shape == (3, 64, 64)
    assert view["image"].min() >= 0
    assert view["image"].max() <= 1
    assert set(view["label"].unique().tolist()) <= {0, 1, 255}
