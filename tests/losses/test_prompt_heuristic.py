import pytest
import torch

from amsam_monai.losses import PromptHeuristicLoss


def published_case():
    """The case whose loss was measured with the authors' public code (gamma 0.1, temperature 1/7)."""
    k = torch.arange(2 * 3 * 4 * 64, dtype=torch.float64)
    weights = (3 * torch.sin(0.37 * k)).reshape(2, 3, 4, 64).softmax(-1).reshape(2, 3, 4, 8, 8)
    features = torch.cos(0.11 * torch.arange(2 * 3 * 4 * 16, dtype=torch.float64)).reshape(2, 3, 4, 16)
    target = torch.zeros(2, 3, 16, 16)
    target[0, 1, 2:9, 3:11] = 1
    target[0, 2, 10:14, 9:15] = 1
    target[1, 1, 4:12, 4:12] = 1
    target[:, 0] = 1 - target[:, 1:].sum(1)
    return weights.requires_grad_(), features, target


def close(value, wanted):
    torch.testing.assert_close(value.item(), wanted, atol=1e-6, rtol=0)


def test_total_equals_the_published_one_with_and_without_features():
    weights, features, target = published_case()
    loss = PromptHeuristicLoss.published()
    close(loss(weights, target, features), 1.79896234)
    close(loss(weights, target), 1.64650867)


def test_terms_equal_the_published_ones():
    weights, features, target = published_case()
    loss = PromptHeuristicLoss.published()
    share = loss.share_of_cells(target, weights)
    exists = share.sum(-1) > 0
    assert exists.sum() * 4 == 20
    correct, sharp = loss.terms(weights, share)
    close(correct[exists].mean(), 0.54302912)
    close(sharp[exists].mean(), 0.56045044)
    inner, outer = loss.diversity(features, torch.ones(2, 3, 4, dtype=torch.bool))
    close(inner, 0.06288726)
    close(outer, 0.27975244)


def test_the_gradient_equals_the_published_one_and_the_papers_without_the_stop():
    for stop, wanted in ((True, -0.05424723), (False, -0.0130)):
        weights, features, target = published_case()
        PromptHeuristicLoss.published(stop_gradient=stop)(weights, target, features).backward()
        assert abs(weights.grad[0, 1, 2, 3, 3].item() - wanted) < (1e-6 if stop else 5e-5)


def test_one_mask_stands_for_two_classes():
    weights, features, target = published_case()
    loss = PromptHeuristicLoss.published()
    close(loss(weights[:, :2], target[:, 1:2], features[:, :2]), 1.69412775)


def test_class_indices_and_masks_give_the_same_loss():
    weights, features, target = published_case()
    loss = PromptHeuristicLoss()
    close(loss(weights, target.argmax(1, keepdim=True), features), loss(weights, target, features).item())


def test_a_one_hot_point_inside_its_object_costs_nothing():
    weights = torch.zeros(1, 2, 1, 2, 2)
    weights[0, 0, 0, 0, 0] = weights[0, 1, 0, 1, 1] = 1
    label = torch.tensor([[0, 0], [0, 1]])[None, None]
    assert PromptHeuristicLoss()(weights, label) == 0


def test_a_point_outside_its_object_costs_as_computed_by_hand():
    weights = torch.tensor([1.0, 0, 0, 0]).reshape(1, 1, 1, 2, 2)
    target = torch.tensor([0.0, 1, 1, 1]).reshape(1, 1, 2, 2)
    # L_pc = 1 - 0.1 / 1.1, L_ps = 1 - 0.1 / 0.1
    close(PromptHeuristicLoss()(weights, target), 2 * (1 - 0.1 / 1.1))


def test_the_target_comes_to_the_grid_by_area():
    weights, target = torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 4, 4)
    target[..., 0, 0] = 1
    assert PromptHeuristicLoss().share_of_cells(target, weights).tolist() == [[[0.25, 0, 0, 0]]]


def test_a_cell_whose_centre_is_not_covered_is_no_target_unless_none_is():
    weights, target = torch.zeros(1, 2, 1, 2, 2), torch.zeros(1, 2, 6, 6)
    target[0, 0, :3, :2] = 1  # the centre of the first cell, and nothing else of it
    target[0, 0, 0, 3:] = 1  # a third of the second cell, its centre not
    target[0, 1, 0, 3:] = 1
    share = PromptHeuristicLoss(target_reduction="centre").share_of_cells(target, weights)
    torch.testing.assert_close(share, torch.tensor([[[6 / 9, 0, 0, 0], [0, 3 / 9, 0, 0]]]))


def test_absent_classes_take_no_part():
    weights, features, target = published_case()
    both = PromptHeuristicLoss()
    changed = features.clone()
    changed[1, 2] = -features[1, 2] + 1
    close(both(weights, target, features), both(weights, target, changed).item())
    assert PromptHeuristicLoss.published()(weights, target, features) != PromptHeuristicLoss.published()(
        weights, target, changed
    )


def test_nothing_there_costs_nothing():
    weights = torch.full((1, 2, 1, 2, 2), 0.25, requires_grad=True)
    label = torch.full((1, 1, 2, 2), 255)
    loss = PromptHeuristicLoss()(weights, label, torch.ones(1, 2, 1, 3))
    loss.backward()
    assert loss == 0
    assert (weights.grad == 0).all()


def test_averaging_over_classes_gives_an_image_the_same_share_in_any_batch():
    weights, _, target = published_case()
    loss = PromptHeuristicLoss(averaging="classes")
    alone = torch.stack([loss(weights[i : i + 1], target[i : i + 1]) for i in range(2)])
    close(loss(weights, target), alone.mean().item())


def test_places_without_a_point_are_not_counted():
    weights, features, target = published_case()
    loss = PromptHeuristicLoss()
    padded = torch.cat([weights, torch.zeros_like(weights[:, :, :1])], dim=2)
    more = torch.cat([features, torch.zeros_like(features[:, :, :1])], dim=2)
    close(loss(padded, target, more), loss(weights, target, features).item())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PromptHeuristicLoss(averaging="images"), r"averaging must be one of \('points', 'classes'\)"),
        (lambda: PromptHeuristicLoss(target_reduction="nearest"), "target_reduction must be one of"),
        (
            lambda: PromptHeuristicLoss()(torch.rand(1, 3, 1, 2, 2), torch.rand(1, 2, 4, 4)),
            "target must have 1 or 3 channels, got 2",
        ),
        (
            lambda: PromptHeuristicLoss()(torch.rand(1, 3, 1, 2, 2), torch.rand(1, 4, 4)),
            r"target must have shape \(B, C, H, W\) or \(B, 1, H, W\), got \(1, 4, 4\)",
        ),
        (
            lambda: PromptHeuristicLoss()(torch.rand(1, 3, 1, 2, 2), torch.rand(2, 3, 4, 4)),
            "target must hold 1 images, got 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
