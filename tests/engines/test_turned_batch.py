import pytest
import torch

from amsam_monai.engines.turned_batch import PrepareTurnedBatch, turned


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
    with pytest.raises(ValueError, match="turns need square images with label and embedding"):
        PrepareTurnedBatch()({**given, "image": given["image"][..., :4]})
    del given["embedding"]
    with pytest.raises(ValueError, match="turns need square images with label and embedding"):
        PrepareTurnedBatch()(given)
