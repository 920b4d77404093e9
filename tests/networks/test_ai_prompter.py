import pytest
import torch

from amsam_monai.networks.convert.aisam import aisam_state_dict
from amsam_monai.networks.prompts.ai_prompter import AIPrompter
from amsam_monai.networks.prompts.confine import confine
from amsam_monai.networks.sam.token_image_transformer import TokenImageTransformer
from tests.reference import aisam_golden as golden


def parameters(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def inputs(batch=2, rows=4, columns=4):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(batch, 256, rows, columns, generator=generator),
        torch.randn(1, 256, rows, columns, generator=generator),
        torch.randn(3, 256, generator=generator),
    )


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return AIPrompter(3, num_points=2, num_class_tokens=4, depth=2).eval()


@pytest.fixture(scope="module")
def published():
    prompter = AIPrompter(golden.NUM_CLASSES).double().eval()
    prompter.load_state_dict(aisam_state_dict(golden.filled(golden.published_shapes()))["prompter"])
    return prompter


@torch.no_grad()
def test_points_equal_the_published_ones(published):
    answer = published(*golden.inputs())
    weights = answer.weights.flatten(3)[0]
    torch.testing.assert_close(weights.amax(-1), torch.tensor(golden.LARGEST_WEIGHTS).double(), atol=1e-6, rtol=0)
    assert weights.argmax(-1).tolist() == golden.LARGEST_CELLS
    wanted = torch.tensor(golden.SPARSE_CLASS_1_CHANNEL_5).double()
    torch.testing.assert_close(answer.sparse[0, 1, :, 5], wanted, atol=1e-6, rtol=0)
    wanted = torch.tensor(golden.FEATURES_0_2_3).double()
    torch.testing.assert_close(answer.features[0, 2, 3, :4], wanted, atol=1e-6, rtol=0)
    # Cell 1687 is row 26, column 23.
    assert answer.points_xy[0, 0, 0].tolist() == [23 * 16 + 7.5, 26 * 16 + 7.5]


@torch.no_grad()
def test_image_features_equal_the_published_ones(published):
    tokens = torch.cat([published.point_queries, published.class_tokens[0]])[None]
    image = published.transformer(tokens, golden.inputs()[0])[1].reshape(4096, 256)
    torch.testing.assert_close(image[100, 7].item(), golden.IMAGE_0_100_7, atol=1e-6, rtol=0)
    torch.testing.assert_close(image[-1, -1].item(), golden.IMAGE_LAST, atol=1e-6, rtol=0)
    torch.testing.assert_close(image.abs().sum().item(), golden.IMAGE_ABS_SUM, atol=1e-5, rtol=0)


@torch.no_grad()
def test_boxes_confine_the_points_as_published_and_a_small_box_keeps_its_nearest_cell(published):
    masks = torch.zeros(1, 3, 1024, 1024)
    masks[:, 0] = 1
    masks[:, 1, 200:400, 300:500] = 1
    masks[:, 2, 700:705, 700:705] = 1  # between the cells' pixels 696 and 712
    weights = published(*golden.inputs(), box_masks=masks).weights.flatten(3)[0]
    wanted = torch.tensor(golden.BOXED_WEIGHTS_CLASS_1).double()
    torch.testing.assert_close(weights[1].amax(-1), wanted, atol=1e-6, rtol=0)
    assert weights[1].argmax(-1).tolist() == golden.BOXED_CELLS_CLASS_1
    assert weights[2].argmax(-1).tolist() == [43 * 64 + 43] * 4
    assert (weights[2].amax(-1) == 1).all()


def test_parameters_are_as_many_as_published_and_none_is_dead():
    assert parameters(TokenImageTransformer()) == 5_926_016
    prompter = AIPrompter(9)
    assert parameters(prompter) == 5_926_016 + 789_504 + 512 + 9 * 4096 + 1_024


def test_every_parameter_gets_a_gradient(small):
    answer = small(*inputs())
    (answer.sparse.square().sum() + answer.features.square().sum()).backward()
    for name, parameter in small.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or name.endswith("k_proj.bias"), name  # softmax knows no shift of keys
    small.zero_grad()


@torch.no_grad()
def test_untrained_points_are_soft_so_that_they_can_move(small):
    assert small(*inputs(rows=16, columns=16)).weights.flatten(3).amax(-1).mean() < 0.2


@torch.no_grad()
def test_classes_in_one_batch_equal_classes_alone(small):
    embedding, position, labels = inputs()
    together = small(embedding, position, labels)
    for c in range(3):
        alone = AIPrompter(1, num_points=2, num_class_tokens=4, depth=2)
        state = small.state_dict()
        state["class_tokens"] = state["class_tokens"][c : c + 1]
        alone.load_state_dict(state)
        torch.testing.assert_close(
            alone(embedding, position, labels).weights[:, 0], together.weights[:, c], atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch_mates(small):
    embedding, position, labels = inputs(batch=4)
    together = small(embedding, position, labels).sparse
    alone = torch.cat([small(one[None], position, labels).sparse for one in embedding])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_own_points_come_first_and_positive_the_others_ascending_and_negative(small):
    embedding, position, labels = inputs()
    answer = small(embedding, position, labels)
    p, negative, positive = answer.points, labels[1], labels[2]
    wanted = torch.cat([p[:, 1] + positive, p[:, 0] + negative, p[:, 2] + negative], dim=1)
    torch.testing.assert_close(answer.sparse[:, 1], wanted)


@torch.no_grad()
def test_one_hot_points_are_the_position_of_the_likeliest_cell(small):
    embedding, position, labels = inputs(rows=3, columns=5)
    soft, hard = (small(embedding, position, labels, one_hot=flag) for flag in (False, True))
    torch.testing.assert_close(soft.weights, hard.weights)
    cell = hard.weights[0, 1, 0].flatten().argmax()
    torch.testing.assert_close(hard.points[0, 1, 0], position.flatten(2)[0, :, cell])
    torch.testing.assert_close(hard.features[0, 1, 0], (position + embedding).flatten(2)[0, :, cell])
    xy = torch.tensor([cell % 5, cell // 5])
    torch.testing.assert_close(hard.points_xy[0, 1, 0], xy * 16 + 7.5)


def test_one_hot_points_pass_the_gradient_of_soft_ones(small):
    embedding, position, labels = inputs(batch=1)
    gradients = []
    for one_hot in (False, True):
        answer = small(embedding, position, labels, one_hot=one_hot)
        (answer.points * torch.arange(256)).sum().backward()
        gradients.append(small.class_tokens.grad.clone())
        small.zero_grad()
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_fewer_points_of_a_class_are_as_if_no_class_had_more():
    torch.manual_seed(0)
    ragged = AIPrompter(2, num_points=[1, 3], num_class_tokens=4, depth=2).eval()
    one = AIPrompter(2, num_points=1, num_class_tokens=4, depth=2).eval()
    one.load_state_dict(ragged.state_dict() | {"point_queries": ragged.point_queries[:1]}, strict=False)
    answer, wanted = ragged(*inputs()), one(*inputs())
    assert answer.sparse.shape == (2, 2, 4, 256)
    torch.testing.assert_close(answer.weights[:, 0, :1], wanted.weights[:, 0], atol=1e-5, rtol=1e-5)
    assert (answer.weights[:, 0, 1:] == 0).all()
    assert answer.points_xy[:, 0, 1:].isnan().all()
    assert not answer.points_xy[:, 1].isnan().any()


def test_a_cell_is_inside_when_its_middle_pixel_is():
    masks = torch.zeros(1, 2, 64, 64)
    masks[0, 0, 8:25, 8:24] = 1  # pixels 8 and 24 of rows, 8 of columns
    masks[0, 1, 9:24, 9:24] = 1  # neither
    inside = confine(masks, (4, 4))
    assert inside[0, 0].nonzero().tolist() == [[0, 0], [1, 0]]
    assert inside[0, 1].nonzero().tolist() == [[0, 0]]  # middle 16 is as near to 8 as to 24: the first


def test_an_empty_mask_confines_nothing():
    assert confine(torch.zeros(1, 1, 64, 64), (4, 4)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AIPrompter(0), "must be at least 1, .* got 0, 4 and 16"),
        (lambda: AIPrompter(2, num_points=[1, 2, 3]), r"one per class, got 2, \[1, 2, 3\] and 16"),
        (lambda: AIPrompter(2, num_points=[1, 0]), "must be at least 1"),
    ],
)
def test_counts_that_cannot_work_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.rand(1, 128, 4, 4)}, r"embedding must have shape \(B, 256, h, w\), got \(1, 128, 4, 4\)"),
        ({1: torch.rand(1, 256, 4, 5)}, r"position must have shape \(1, 256, 4, 4\), got \(1, 256, 4, 5\)"),
        ({2: torch.rand(2, 256)}, r"point_labels must have shape \(3, 256\)"),
        ({3: torch.rand(2, 4, 64, 64)}, r"box_masks must have shape \(2, 3\)"),
    ],
)
def test_inputs_of_another_shape_are_refused(small, change, message):
    arguments = [*inputs(), None]
    for index, value in change.items():
        arguments[index] = value
    with pytest.raises(ValueError, match=message):
        small(*arguments)
