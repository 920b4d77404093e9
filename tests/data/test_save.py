import numpy as np
from PIL import Image

from amsam_monai.data.files.images import read_label
from amsam_monai.data.files.load import LoadFiled
from amsam_monai.data.files.save import SaveLabeld


def test_a_saved_label_lies_on_its_image(tmp_path):
    picture = np.zeros((4, 7, 3), np.uint8)
    picture[1, 5] = 200
    Image.fromarray(picture).save(tmp_path / "a b.png")
    sample = LoadFiled("image")({"image": tmp_path / "a b.png"})
    sample["pred"] = (sample["image"][:1] > 100).long()
    SaveLabeld(tmp_path / "out")(sample)
    label = read_label(tmp_path / "out" / "a b_seg.png").array
    assert np.argwhere(label).tolist() == [[1, 5]]
