"""Files that point elsewhere, are damaged unseen, declare more than there is, or hold other things than numbers."""

import csv
import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from amsam_monai.data.files import limits
from amsam_monai.data.files.arrays import read_arrays
from amsam_monai.data.files.images import ImageFileError, read_image, read_label
from amsam_monai.evaluation.evaluate import evaluate_pairs
from amsam_monai.evaluation.pairs import Pair
from amsam_monai.evaluation.report import write_scores
from amsam_monai.evaluation.scoring.case_scores import Score
from amsam_monai.segment.batch import BatchSegmenter, Extras, Job, plan, refuse_clashes
from amsam_monai.segment.batch_report import Record
from amsam_monai.segment.batch_report import write_table as write_quality
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.session.files import restore_session
from amsam_monai.session.image import load_source
from tests.data.tiny_sets import picture
from tests.faults.fuzzing import tried
from tests.segment.toy import LABELS, Toy
from tests.session.test_session import opened

VOXELS = np.random.default_rng(0).normal(100, 20, (8, 16, 12)).astype(np.int16)
SECRET = b"root:x:0:0:" * 400


# Files that point to other files


def meta(folder, data, name="a.mhd"):
    text = f"ObjectType = Image\nNDims = 2\nDimSize = 16 16\nElementType = MET_UCHAR\nElementDataFile = {data}\n"
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def nrrd(folder, data, name="a.nhdr"):
    text = f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 16 16\nencoding: raw\ndata file: {data}\n\n"
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.fixture
def folders(tmp_path):
    """A folder for headers, beside a file that is none of its business."""
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "in" / "beside.raw").write_bytes(bytes(range(256)))
    (tmp_path / "in" / "link.raw").symlink_to(tmp_path / "secret")
    return tmp_path / "in"


@pytest.mark.parametrize("header", [meta, nrrd])
@pytest.mark.parametrize("data", ["{0}/secret", "../secret", "sub/../../secret", "link.raw", "LIST\n{0}/secret"])
@pytest.mark.parametrize("read", [read_image, read_label])
def test_voxels_outside_the_header_s_folder_are_refused(header, data, read, folders):
    path = header(folders, data.format(folders.parent))
    with pytest.raises(ImageFileError, match="its voxels must lie in it or beside it, it points to"):
        read(path)


@pytest.mark.parametrize("header", [meta, nrrd])
def test_voxels_beside_a_header_are_read_unless_a_stranger_sent_it(header, folders):
    path = header(folders, "beside.raw")
    assert read_image(path).array[..., 0].T.ravel().tolist() == list(range(256))
    with pytest.raises(ImageFileError, match=r"must hold its voxels itself, points to beside\.raw"):
        read_image(path, alone=True)


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_a_whole_file_may_point_nowhere_else_either(name, folders):
    path = (meta if name.endswith("mha") else nrrd)(folders, folders.parent / "secret", name)
    with pytest.raises(ImageFileError, match="it points to"):
        read_image(path)


def test_h5_links_into_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = np.zeros((4, 5), np.uint8)
    (tmp_path / "raw").write_bytes(SECRET)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = h5py.ExternalLink("other.h5", "image")
        file["soft"] = h5py.SoftLink("/image")
        file["own"] = np.ones((4, 5), np.uint8)
        file["alias"] = h5py.SoftLink("/own")
        file.create_dataset("stored", (4, 5), "u1", external=[(str(tmp_path / "raw"), 0, 20)])
        layout = h5py.VirtualLayout((4, 5), "u1")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "image", (4, 5))
        file.create_virtual_dataset("virtual", layout)
    for key in ("image", "soft", "stored", "virtual"):
        with pytest.raises(ImageFileError, match="must lie in the file itself"):
            read_image(tmp_path / "a.h5", key=key)
    for key in ("own", "alias"):
        assert read_image(tmp_path / "a.h5", key=key).array.sum() == 20


def test_h5_links_that_lead_in_a_circle_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink("/image")
    with pytest.raises(ImageFileError, match="its links lead in a circle"):
        read_image(tmp_path / "a.h5")


# Damage


def write_each(folder):
    """The same volume in every format that has a checksum."""
    image = sitk.GetImageFromArray(VOXELS)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)
    np.savez_compressed(folder / "a.npz", image=VOXELS)
    Image.fromarray(VOXELS[0].clip(0, 255).astype(np.uint8)).save(folder / "a.png")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha", "a.npz", "a.png"])
def test_no_flipped_bit_is_read_as_other_voxels(name, tmp_path):
    write_each(tmp_path)
    wanted, data = read_image(tmp_path / name).array, (tmp_path / name).read_bytes()
    rng, refused = np.random.default_rng(1), 0
    start = 400 if name in ("a.nrrd", "a.mha") else 0  # the text of their headers has no checksum
    for _ in range(40):
        damaged = bytearray(data)
        damaged[rng.integers(start, len(data))] ^= 1 << int(rng.integers(8))
        (tmp_path / f"b{name[1:]}").write_bytes(damaged)
        try:
            np.testing.assert_array_equal(read_image(tmp_path / f"b{name[1:]}").array, wanted)
        except ImageFileError:
            refused += 1
    assert refused > 20


# More than there is


def test_a_small_nifti_that_declares_a_large_volume_is_refused_before_it_is_read(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 3000))
    for name, write in (("a.nii", open), ("a.nii.gz", gzip.open)):
        with write(tmp_path / name, "wb") as file:
            header.write_to(file)
            file.write(b"\0" * 12)
        with pytest.raises(
            ImageFileError, match="at most 1073741824 voxels, declares 30000 x 30000 x 3000; give --max"
        ):
            read_image(tmp_path / name)
    header.set_data_shape((1000, 1000, 1000))
    with gzip.open(tmp_path / "b.nii.gz", "wb") as file:
        header.write_to(file)
    with pytest.raises(ImageFileError, match="more than it can hold"):
        read_image(tmp_path / "b.nii.gz")


@pytest.mark.parametrize("form", ["npz", "h5", "mhd", "nrrd"])
def test_other_formats_declare_no_more_than_the_limit_either(form, tmp_path, monkeypatch):
    path = tmp_path / f"a.{form}"
    if form == "npz":
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "|u1", "fortran_order": False, "shape": (3000, 2000, 2000)}
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("image.npy", head.getvalue())
    elif form == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("image", (3000, 2000, 2000), "u1", chunks=(1, 2000, 2000))
    elif form == "mhd":
        path.write_text(
            "NDims = 3\nDimSize = 2000 2000 3000\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n", encoding="utf-8"
        )
    else:
        path.write_text(
            "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2000 2000 3000\nencoding: raw\n\n", encoding="utf-8"
        )
    with pytest.raises(ImageFileError, match="at most 1073741824 voxels"):
        read_image(path)
    monkeypatch.setenv("AMSAM_MAX_PIXELS", "many")
    with pytest.raises(ValueError, match="AMSAM_MAX_PIXELS must be a whole number"):
        read_image(path)


def test_a_picture_of_a_few_bytes_that_declares_many_pixels_is_refused(tmp_path):
    chunk = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", chunk), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(ImageFileError, match="at most 178956970 pixels, got 60000 x 60000"):
        read_image(tmp_path / "a.png")
    with pytest.raises(ImageFileError, match="at most 178956970 pixels"):
        read_label(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["nii.gz", "mha", "nrrd"])
def test_a_small_file_that_unpacks_to_far_more_than_it_declares_is_not_read_on(form, tmp_path, monkeypatch):
    """A volume of 4 x 4 x 4, and after its voxels as many zeros as one likes."""
    path, zeros = tmp_path / f"a.{form}", bytes(2**22)
    if form == "nii.gz":
        data = nib.Nifti1Image(VOXELS[:4, :4, :4], np.eye(4)).to_bytes()
        path.write_bytes(gzip.compress(data + zeros))
    elif form == "mha":
        head = "NDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nCompressedData = True\nElementDataFile = LOCAL\n"
        path.write_bytes(head.encode() + zlib.compress(zeros))
    else:
        head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 4\nencoding: gzip\n\n"
        path.write_bytes(head.encode() + gzip.compress(zeros))
    assert read_image(path).array.shape == (4, 4, 4)  # some padding is no harm
    monkeypatch.setattr(limits, "MAX_REST", 2**21)
    with pytest.raises(ImageFileError, match="unpacks to over 2097152 bytes beyond the voxels that it declares"):
        read_image(path)


# Other things than numbers


def test_complex_and_text_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", image=VOXELS[0] * 1j, label=np.array([["a", "b"]]))
    for key in ("image", "label"):
        with pytest.raises(ImageFileError, match=f"array {key} must be of numbers"):
            read_arrays(tmp_path / "a.npz", key=key)
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.astype(np.complex64)), str(tmp_path / "a.mha"))
    nib.save(nib.Nifti1Image(VOXELS.astype(np.complex64), np.eye(4)), tmp_path / "a.nii")
    for name in ("a.mha", "a.nii"):
        with pytest.raises(ImageFileError, match="single numbers"):
            read_image(tmp_path / name)
    for array in (VOXELS * 1j, np.array([["a", "b"], ["c", "d"]])):
        with pytest.raises(ValueError, match="must hold single real numbers"):
            load_source(array)


def test_no_name_becomes_a_formula_in_a_table(tmp_path):
    scores = [Score(case, "-lesion", "found", {"dice": -0.5}) for case in ("=1+1", "@a", "+b", "plain")]
    write_scores(scores, ["dice"], tmp_path / "scores.csv")
    rows = list(csv.reader((tmp_path / "scores.csv").open(encoding="utf-8")))[1:]
    assert [row[0] for row in rows] == ["'=1+1", "'@a", "'+b", "plain"]
    assert [row[1:3] for row in rows] == [["'-lesion", "-0.5"]] * 4


def test_no_name_becomes_a_formula_in_tables_of_a_run_either(tmp_path):
    """What to expect of masks, and what objects there are."""
    told = {"case": (0.5, 0.1), "slices": [(0.5, 0.1)]}
    table = write_quality([Record("=a.png", "done", quality={"+x": told}, warnings=["-w"])], tmp_path / "quality.csv")
    _, (name, *_, warnings) = csv.reader(table.open(encoding="utf-8"))
    assert (name, warnings) == ("'=a.png", "'-w")
    picture(tmp_path / "in" / "a.png", 8, 8)
    names = {index: f"={name}" for index, name in LABELS.items()}
    batch = BatchSegmenter(Segmenter(Toy(), names, intensity={"mode": "min_max"}), extras=Extras(instances=True))
    (record,) = (batch(job) for job in plan(tmp_path / "in", tmp_path / "out"))
    (objects,) = (path for path in record.files if path.endswith(".csv"))
    rows = list(csv.DictReader(Path(objects).read_text(encoding="utf-8").splitlines()))
    assert rows
    assert all(row["class"].startswith("'=") for row in rows)


def test_an_empty_result_is_none_when_a_run_goes_on(tmp_path):
    job = Job(tmp_path / "a.png", tmp_path / "out" / "a")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").touch()
    assert job.existing() is None
    (tmp_path / "out" / "a.png").write_bytes(b"x")
    assert job.existing() == tmp_path / "out" / "a.png"


def test_probabilities_that_are_none_are_refused_by_name(tmp_path):
    Image.fromarray(np.ones((6, 5), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "p").mkdir()
    pair = Pair("a", tmp_path / "a.png", tmp_path / "a.png")
    path = tmp_path / "p" / "a_probabilities.npz"

    def score():
        return evaluate_pairs([pair], {1: "polyp"}, sod=True, probabilities=tmp_path / "p", workers=1)

    np.savez(path, probabilities=np.full((2, 6, 5), 0.5))
    assert score()[0]
    whole = path.read_bytes()
    for content, message in ((whole[:-40], "cannot be read"), (b"none", "cannot be read")):
        path.write_bytes(content)
        with pytest.raises(ImageFileError, match=f"a_probabilities.npz.*{message}"):
            score()
    np.savez(path, other=np.zeros((2, 6, 5)))
    with pytest.raises(ImageFileError, match="must hold an array named probabilities"):
        score()
    np.savez(path, probabilities=np.zeros((1, 6, 5)))
    with pytest.raises(ImageFileError, match="must be of background and class"):
        score()


@pytest.mark.parametrize(
    ("extras", "labels", "ending"),
    [
        (Extras(labels=True), ["left lung", "left_lung"], "left_lung"),
        (Extras(labels=True), ["Liver", "liver"], "liver"),
        (Extras(labels=True, overlay=True), ["overlay"], "overlay"),
    ],
)
def test_no_class_writes_over_what_another_wrote(extras, labels, ending):
    with pytest.raises(ValueError, match=f"two would end in {ending}"):
        refuse_clashes([Job(Path("a.png"), Path("out/a"))], extras, labels)


def test_a_saved_session_of_any_content_is_restored_or_refused_in_words(tmp_path):
    session = opened()
    session.segment(0)
    session.add_point(1, (3, 3, 1))
    session.save(tmp_path / "case.nii.gz")
    path = tmp_path / "case.session.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    restore_session(opened(), path)
    changes = [
        {key: value} for key in good for value in (None, 3, "x", [], {}, {"0": 1}, {"0": {"liver": {"points": 3}}})
    ]
    for change in changes:
        path.write_text(json.dumps({**good, **change}), encoding="utf-8")
        tried(restore_session, opened(), path, refusals=(ValueError, OSError))
    for content in (b"\xff\xfe", b"[" * 100_000, b"[]", json.dumps({**good, "label_file": "../a.nii"}).encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"session|Invalid name"):
            restore_session(opened(), path)
