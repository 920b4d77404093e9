import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from amsam_monai.segment.films import FilmWriter
from amsam_monai.segment.frames import Clip, FrameSegmenter, FrameSmoother, find_clips
from amsam_monai.segment.segmenter import Segmenter


class LeftBright(nn.Module):
    """Foreground where the left half is bright: an image and its mirror image disagree."""

    def forward(self, image, **_):
        z = 8 * (image[:, :1] - 0.5)
        z[..., z.shape[-1] // 2 :] = -1.0
        return torch.cat([torch.zeros_like(z), z], dim=1)


class Bright(nn.Module):
    """Foreground where the first channel exceeds one half, with logit 8 (p - 0.5)."""

    def forward(self, image, **_):
        z = 8 * (image[:, :1] - 0.5)
        return torch.cat([torch.zeros_like(z), z], dim=1)


def write_frame(path, value, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (value, 0, 0))
    image.putpixel((0, 0), (value, 1, 0))  # not blank
    image.save(path)


def segmenter(**settings):
    return FrameSegmenter(Segmenter(Bright(), {1: "polyp"}, intensity={"mode": "bit_depth"}), **settings)


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def sun_seg(tmp_path):
    root = tmp_path / "Frame"
    for number, value in [(1, 200), (2, 20), (10, 200)]:
        write_frame(root / "case1_1" / f"a{number}.png", value)
    write_frame(root / "case2" / "b.png", 255, size=(6, 4))
    (root / "case2" / "notes.txt").write_text("x", encoding="utf-8")
    return root


def test_clips_are_folders_and_frames_follow_their_numbers(sun_seg):
    clips = find_clips(sun_seg)
    assert [clip.name for clip in clips] == ["case1_1", "case2"]
    assert [frame.name for frame in clips[0].frames] == ["a1.png", "a2.png", "a10.png"]
    assert find_clips(sun_seg / "case2")[0].name == "."


def test_a_folder_without_frames_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold frames"):
        find_clips(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_clips(tmp_path / "nowhere")


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_every_frame_gets_its_mask_whatever_the_batch(sun_seg, tmp_path, batch_size):
    clip = find_clips(sun_seg)[0]
    done = []
    paths = segmenter(batch_size=batch_size)(clip, tmp_path / "out", progress=done.append)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [f"out/case1_1/a{n}.png" for n in (1, 2, 10)]
    assert [read(path).max() for path in paths] == [1, 0, 1]
    assert read(paths[0]).shape == (10, 12)
    assert done == [1, 2, 3]


def test_frames_of_changing_size_are_segmented(tmp_path):
    frames = tmp_path / "in"
    for number, size in enumerate([(12, 10), (12, 10), (6, 4)]):
        write_frame(frames / f"{number}.png", 255, size)
    paths = segmenter(memory=0.9)(find_clips(frames)[0], tmp_path / "out")
    assert [read(path).shape for path in paths] == [(10, 12), (10, 12), (4, 6)]


def test_memory_bridges_a_dark_frame(sun_seg, tmp_path):
    clip = find_clips(sun_seg)[0]
    plain = segmenter()(clip, tmp_path / "plain")
    smooth = segmenter(memory=0.7)(clip, tmp_path / "smooth")
    assert [read(path).max() for path in plain] == [1, 0, 1]
    assert [read(path).max() for path in smooth] == [1, 1, 1]  # 0.7 * 2.27 + 0.3 * -3.37 > 0


def test_a_blank_frame_is_background_and_does_not_end_what_is_remembered(tmp_path):
    frames = tmp_path / "in"
    for number in (1, 3):
        write_frame(frames / f"{number}.png", 200)
    Image.new("RGB", (12, 10), (255, 0, 0)).save(frames / "2.png")
    paths = segmenter(memory=0.9)(find_clips(frames)[0], tmp_path / "out")
    assert [read(path).max() for path in paths] == [1, 0, 1]


def test_the_smoother_is_an_exponential_mean_that_looks_back_only():
    smooth = FrameSmoother(0.5)
    first, second, third = (torch.full((2, 1, 1), value) for value in (4.0, 0.0, 2.0))
    assert [smooth(z)[0].item() for z in (first, second, third)] == [4.0, 2.0, 2.0]
    assert smooth(torch.ones(2, 3, 3)).shape == (2, 3, 3)


@pytest.mark.parametrize("memory", [-0.1, 1.0])
def test_memory_outside_its_range_is_refused(memory):
    with pytest.raises(ValueError, match=r"memory must lie in \[0, 1\)"):
        segmenter(memory=memory)


def test_films_have_a_picture_per_frame(sun_seg, tmp_path):
    cv2 = pytest.importorskip("cv2")
    *_, masks, overlay = segmenter(films=True, rate=5)(find_clips(sun_seg)[0], tmp_path)
    assert (masks.name, overlay.name) == ("mask.mp4", "overlay.mp4")
    for path in (masks, overlay):
        film = cv2.VideoCapture(str(path))
        assert (film.get(cv2.CAP_PROP_FRAME_COUNT), film.get(cv2.CAP_PROP_FPS)) == (3, 5)
        pictures = [film.read()[1] for _ in range(3)]
        assert pictures[0].shape == (10, 12, 3)
    assert not list(tmp_path.rglob(".partial*"))


def test_an_interrupted_film_leaves_nothing_behind(tmp_path):
    pytest.importorskip("cv2")

    def interrupted():
        with FilmWriter(tmp_path / "a.mp4") as film:
            film.add(np.zeros((5, 7, 3), np.uint8))
            film.add(np.zeros((9, 9, 3), np.uint8))  # resized
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_films_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        segmenter(films=True)


def test_masks_are_not_written_over_their_frames(sun_seg):
    with pytest.raises(ValueError, match="masks must not lie among their frames"):
        segmenter()(find_clips(sun_seg)[0], sun_seg)


def test_frames_of_one_name_are_refused(tmp_path):
    clip = Clip("c", (tmp_path / "c" / "a.png", tmp_path / "c" / "a.jpg"))
    with pytest.raises(ValueError, match="must differ in more than their endings"):
        segmenter()(clip, tmp_path / "out")


def test_frames_are_averaged_over_mirror_images_like_pictures(sun_seg, tmp_path):
    slices = {"flips": ["horizontal"]}
    whole = Segmenter(LeftBright(), {1: "polyp"}, intensity={"mode": "bit_depth"}, slices=slices)
    clip = find_clips(sun_seg)[0]
    masks = [label for _, label in FrameSegmenter(whole).labels(clip.frames)]
    np.testing.assert_array_equal(masks[0], whole(clip.frames[0]).label)
    assert masks[0][:, -1].all()  # the mirror image sees the right half
