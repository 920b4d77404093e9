"""MONAI's door writes the files that `amsam segment` writes."""

import numpy as np
from PIL import Image

from amsam_monai.data.classes import Classes
from amsam_monai.data.files.images import read_label
from amsam_monai.data.files.load import LoadFiled, image_samples
from amsam_monai.data.files.save import SaveLabeld
from amsam_monai.segment.batch import plan


def write_picture(path):
    picture = np.zeros((4, 7, 3), np.uint8)
    picture[1, 5] = 200
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def predicted(path):
    sample = LoadFiled("image")({"image": path})
    sample["pred"] = (sample["image"][:1] > 100).long()
    return sample


def test_a_saved_label_lies_on_its_image_and_has_its_name(tmp_path):
    write_picture(tmp_path / "a b.png")
    SaveLabeld(tmp_path / "out")(predicted(tmp_path / "a b.png"))
    label = read_label(tmp_path / "out" / "a b.png").array
    assert np.argwhere(label).tolist() == [[1, 5]]


def test_names_are_those_of_the_command_line(tmp_path):
    for name in ("a.png", "a.tif", "x/a.png", "x/b.png"):
        write_picture(tmp_path / "in" / name)
    save = SaveLabeld(tmp_path / "out", root=tmp_path / "in")
    for sample in image_samples(tmp_path / "in"):
        save(predicted(sample["image"]))
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == sorted(job.beside(".png") for job in plan(tmp_path / "in", tmp_path / "out"))
    assert [path.name for path in written] == ["a_png.png", "a_tif.png", "a.png", "b.png"]


def test_own_values_are_written(tmp_path):
    write_picture(tmp_path / "a.png")
    SaveLabeld(tmp_path / "out", classes=Classes.of({1: "liver"}, values={1: 6}))(predicted(tmp_path / "a.png"))
    assert np.unique(read_label(tmp_path / "out" / "a.png").array).tolist() == [0, 6]
