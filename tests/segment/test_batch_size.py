"""Batches of slices: halves where memory runs out, the same result whatever their size."""

import numpy as np
import pytest
import torch

from amsam_monai.segment.batch_size import FIRST, MOST, BatchSize, fitting
from amsam_monai.segment.slice_inferer import SliceInferer

CPU = torch.device("cpu")


class Small(torch.nn.Module):
    """A network that takes so many slices at once; logits are the slice and its opposite."""

    def __init__(self, room):
        super().__init__()
        self.room, self.seen = room, []

    def forward(self, images):
        self.seen.append(len(images))
        if len(images) > self.room:
            raise torch.OutOfMemoryError("no room")
        return torch.cat([images[:, :1], 1 - images[:, :1]], dim=1)


@pytest.mark.parametrize(
    ("room", "told", "seen"),
    [(9, None, [4, 4, 3]), (2, None, [4, 2, 2, 2, 2, 2, 1]), (1, 3, [3] + [1] * 11), (11, 16, [11])],
)
def test_a_batch_that_does_not_fit_is_done_again_in_halves(room, told, seen, caplog):
    volume, net, done = torch.rand(1, 1, 6, 5, 11), Small(room), []
    inferer = SliceInferer(axis=2, orientation="stored", batch_size=told, progress=done.append)
    logits = inferer(volume, net, affine=np.eye(4))
    assert torch.equal(logits, torch.cat([volume, 1 - volume], dim=1))
    assert net.seen == seen
    assert done[-1] == 11
    assert done == sorted(set(done))
    assert len(caplog.records) == (room < seen[0])


def test_a_slice_that_does_not_fit_alone_is_told():
    inferer = SliceInferer(axis=2, orientation="stored")
    with pytest.raises(torch.OutOfMemoryError, match="cpu: a single slice must fit into its memory"):
        inferer(torch.rand(1, 1, 6, 5, 3), Small(0), affine=np.eye(4))


def test_what_fits_is_a_share_of_the_free_memory():
    assert fitting(100, 1000) == 6
    assert (fitting(100, 10), fitting(1, 10**9), fitting(0, 0)) == (1, MOST, 1)
    assert BatchSize(None, CPU).size == FIRST
    assert not BatchSize(None, CPU).measures
    assert BatchSize(None, torch.device("cuda")).measures
    assert not BatchSize(8, torch.device("cuda")).measures


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_more_from_the_second_batch_on():
    net = Small(MOST).cuda()
    SliceInferer(axis=2, orientation="stored", device="cuda")(torch.rand(1, 1, 64, 64, 80), net, affine=np.eye(4))
    assert net.seen == [FIRST, MOST, 80 - FIRST - MOST]
