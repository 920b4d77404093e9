import pytest
import torch

from amsam_monai.engines.turned_batch import PrepareTurnedBatch, recoloured, turned


def batch(count=16, side=8):
    square = torch.arange(side * side, dtype=torch.float32).reshape(1, 1, side, side).repeat(count, 1, 1, 1)
    return {"image": square.repeat(1, 3, 1, 1), "label": square.long(), "embedding": square[..., ::2, ::2].half()}


def test_the_eight_symmetries_differ_and_the_first_is_none():
    square = torch.arange(9.0).reshape(1, 3, 3)
    assert torch.equal(turned(square, 0), square)
    assert len({tuple(turned(square, move).flatten().tolist()) for move in range(8)}) == 8
    assert torch.equal(turned(square, 2)[0], square[0].fliplr())
    assert torch.equal(turned(square, 4)[0], square[0].flipud())


def test_image_label_and_embedding_move_together():
    torch.manual_seed(0)
    image, label, _, arguments = PrepareTurnedBatch()(batch())
    assert arguments["low_res"]
    assert torch.equal(image[:, :1], label.float())
    corners = {tuple(one[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist()) for one in image}
    assert len(corners) > 4
    first = arguments["embedding"][:, 0].flatten(1).argmin(1)  # the cell of pixel 0
    for one, cell in zip(image[:, 0], first.tolist(), strict=True):
        row, column = divmod(int(one.argmin()), 8)
        assert (row // 4, column // 4) == (cell // 4 // 2, cell % 4 // 2)


def test_without_turns_the_batch_stays():
    given = batch(2)
    image, label, _, _ = PrepareTurnedBatch(turns=False)(given)
    assert torch.equal(image, given["image"])
    assert torch.equal(label, given["label"])


def test_images_outside_the_square_are_refused():
    given = batch(2)
    with pytest.raises(ValueError, match="turns need square images with label"):
        PrepareTurnedBatch()({**given, "image": given["image"][..., :4]})


def test_what_brings_no_embedding_is_turned_too():
    given = batch(2)
    del given["embedding"]
    _, _, _, arguments = PrepareTurnedBatch()(given)
    assert "embedding" not in arguments


def test_colours_change_by_image_and_by_no_more_than_said():
    torch.manual_seed(0)
    grey = torch.full((64, 3, 4, 4), 0.5)
    changed = recoloured(grey, 0.3)
    brightness = changed.mean((1, 2, 3))
    assert 0.5 * 0.7 * 0.9 <= brightness.min() < 0.45
    assert 0.55 < brightness.max() <= 0.5 * 1.3 * 1.1
    assert (changed.amax((2, 3)) - changed.amin((2, 3))).max() < 1e-6  # an even image stays even
    tint = changed[..., 0, 0] / brightness[:, None]
    assert 1.02 < tint.max() <= 1.1 / 0.9
    edge = torch.rand(64, 3, 4, 4)
    changed = recoloured(edge, 0.3)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert not torch.allclose(changed, edge, atol=0.05)


def test_only_the_image_is_recoloured():
    given = {**batch(2), "image": torch.rand(2, 3, 8, 8)}
    image, label, _, arguments = PrepareTurnedBatch(turns=False, colour=0.3)(given)
    assert not torch.equal(image, given["image"])
    assert torch.equal(label, given["label"])
    assert torch.equal(arguments["embedding"], given["embedding"].float())
    with pytest.raises(ValueError, match=r"colour must be in \[0, 1\), got 1"):
        PrepareTurnedBatch(colour=1)
