import torch

from amsam_monai.transforms.class_index import ClassIndexd, class_index


def test_values_become_indices_and_what_is_no_class_background():
    label = torch.tensor([[0, 6, 11, 5, 255]])
    assert class_index(label, {6: 1, 11: 2}).tolist() == [[0, 1, 2, 0, 255]]


def test_values_that_trade_places_are_read_from_the_file():
    assert class_index(torch.tensor([1, 2]), {2: 1, 1: 2}).tolist() == [2, 1]


def test_labels_that_are_indices_stay():
    label = torch.tensor([0, 1, 7])
    assert ClassIndexd(values={1: 1, 2: 2})({"label": label})["label"] is label
