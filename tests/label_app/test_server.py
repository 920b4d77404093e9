"""A real MONAI Label server without network, driven over HTTP as 3D Slicer and OHIF drive it."""

import gzip
import io
import json
import os
import threading
import time

import nibabel as nib
import numpy as np
import pytest

from tests.label_app.nano_bundle import write_bright_bundle, write_nano_bundle
from tests.label_app.serving import serving
from tests.label_app.test_service import save_balls
from tests.label_app.trainable_bundle import write_trainable_bundle
from tests.segment.toy import oblique, stored_as

requests = pytest.importorskip("requests", reason="needs MONAI Label")
pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

pytestmark = pytest.mark.label

UNLABELLED = {"p0", "p1", "p2", "series", "skin", "bars-RAS", "bars-LPS", "bars-oblique"}
PLANES = ("axial", "coronal", "sagittal")
AUTOMATIC, CLICKS, PICTURES = "nano_segmentation", "nano_segmentation_click", "skin_segmentation_click"
TWO = "bright_axial_2_click"  # two classes, each the bright region that holds its point


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("label")
    studies = save_balls(root)
    write_bars(studies)
    write_picture(studies / "skin.png")
    write_dicom(studies / "series")
    (studies / "broken.nii.gz").write_bytes(b"not a volume")
    volumes = write_trainable_bundle(root / "bundles", "aisam", name=AUTOMATIC, classes="{liver: 1, spleen: 2}")
    pictures = write_nano_bundle(
        root / "bundles", name="skin_segmentation", labels=("lesion",), data_type="png", intensity={"mode": "bit_depth"}
    )
    bright = [write_bright_bundle(root / "bundles", plane) for plane in PLANES]
    bright.append(write_bright_bundle(root / "bundles", "axial", ("one", "other")))
    with serving(root, studies, [volumes, pictures, *bright]) as server:
        yield server


@pytest.fixture(autouse=True)
def _alive_afterwards(server):
    yield
    assert server.alive()


def write_bars(folder):
    """Bars of different length along every axis, stored in three ways."""
    volume = np.zeros((20, 18, 12), dtype=np.float32)
    volume[4:9, 3:13, 2:8] = 1
    volume[12:17, 5:9, 4:11] = 1
    straight = nib.Nifti1Image(volume, np.diag([1.0, 1.2, 2.0, 1.0]))
    nib.save(straight, folder / "bars-RAS.nii.gz")
    nib.save(stored_as(straight, "LPS"), folder / "bars-LPS.nii.gz")
    slanted = nib.Nifti1Image(volume, oblique(volume.shape, (1.0, 1.2, 2.0)))
    nib.save(stored_as(slanted, "PIR"), folder / "bars-oblique.nii.gz")


def write_picture(path):
    from PIL import Image

    picture = np.full((48, 64, 3), 200, dtype=np.uint8)
    picture[10:20, 40:55] = 60
    Image.fromarray(picture).save(path)


def write_dicom(folder):
    """Six slices of 24 x 20 as CT files."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for number in range(6):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = CTImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.PatientID, data.PatientName = "CT", "p", "p"
        data.Rows, data.Columns, data.InstanceNumber = 24, 20, number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [1.5, 1.5], 5
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        pixels = np.zeros((24, 20), dtype=np.int16)
        pixels[8:16, 5:12] = 300
        data.PixelData = pixels.tobytes()
        data.is_little_endian, data.is_implicit_VR = True, False
        data.save_as(folder / f"{number}.dcm", write_like_original=False)


def label_of(answer):
    """The label map in an answer."""
    assert answer.status_code == 200, answer.text
    return nib.Nifti1Image.from_bytes(gzip.decompress(answer.content))


def test_info_lists_every_bundle_twice(server):
    info = requests.get(server.url + "/info/", timeout=60).json()
    models = info["models"]
    bright = {*(f"bright_{plane}" for plane in PLANES), TWO.removesuffix("_click")}
    assert set(models) == {AUTOMATIC, CLICKS, "skin_segmentation", PICTURES, *bright, *(f"{b}_click" for b in bright)}
    assert (models[AUTOMATIC]["type"], models[AUTOMATIC]["dimension"]) == ("segmentation", 3)
    assert (models[CLICKS]["type"], models[CLICKS]["dimension"]) == ("deepedit", 3)
    assert (models[PICTURES]["type"], models[PICTURES]["dimension"]) == ("deepgrow", 2)
    assert list(models[CLICKS]["labels"]) == ["liver", "spleen", "background"]
    assert info["labels"][-1] == "background"
    assert {"least_certain", "most_diverse"} <= set(info["strategies"])
    assert AUTOMATIC in info["trainers"]
    assert info["datastore"]["total"] == 9


def nrrd(content):
    """Sizes, type, encoding and bytes of an NRRD file, as OHIF's reader takes them."""
    head, _, data = content.partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    return [int(size) for size in fields["sizes"].split()], fields["type"], fields["encoding"], data


def ohif_infer(server, model, image, **params):
    """The request of OHIF's plug-in: no client_id, raw uint8 NRRD; gives the mask (I, J, K)."""
    params |= {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    body = {"params": (None, json.dumps({**params, "restore_label_idx": False}))}
    answer = server.post(f"/infer/{model}?image={image}&output=image", files=body)
    assert answer.status_code == 200, answer.text
    sizes, kind, encoding, data = nrrd(answer.content)
    assert (kind, encoding) == ("unsigned char", "raw")
    return np.frombuffer(data, np.uint8).reshape(sizes, order="F")


def test_ohifs_auto_segmentation_and_class_prompts_get_bytes_of_class_indices(server):
    """The image is stored as int16; OHIF draws the bytes as they come."""
    mask = ohif_infer(server, AUTOMATIC, "p0")
    plain = np.asarray(label_of(server.infer(AUTOMATIC, "p0", "image")).dataobj)
    np.testing.assert_array_equal(mask, plain)
    np.testing.assert_array_equal(ohif_infer(server, AUTOMATIC, "p0", label_prompt=[1]), plain)


def test_ohifs_point_prompts_answer_for_several_classes(server):
    """Points come under the names of the classes that were clicked, in a list of their own for the background."""
    labels = requests.get(server.url + "/info/", timeout=60).json()["models"][TWO]["labels"]
    assert all(labels.values())  # of a value 0 OHIF makes the place in its list, and paints one class as another
    bright = np.asarray(nib.load(server.studies / "bars-RAS.nii.gz").dataobj) > 0.5
    expected = np.zeros(bright.shape, np.uint8)
    expected[:10, :, 5] = labels["one"] * bright[:10, :, 5]
    expected[10:, :, 5] = labels["other"] * bright[10:, :, 5]
    points = {"one": [[5, 5, 5]], "other": [[13, 6, 5]]}
    np.testing.assert_array_equal(ohif_infer(server, TWO, "bars-RAS", background=[[0, 0, 5]], **points), expected)
    against = ohif_infer(server, TWO, "bars-RAS", background=[[5, 4, 5]], other=[[13, 6, 5]], one=[[5, 5, 5]])
    assert set(np.unique(against)) == {0, labels["other"]}
    one_class = ohif_infer(server, "bright_axial_click", "bars-RAS", foreground=[[5, 5, 4]], background=[])
    assert one_class[5, 5, 4] == 1  # "deepgrow": OHIF names no class, and there is one


def test_slicers_deepedit_request_lists_every_label_of_the_server(server):
    info = requests.get(server.url + "/info/", timeout=60).json()
    points = {name: [] for name in info["labels"]} | {"liver": [[14, 15, 3]], "background": [[1, 1, 3]]}
    config = info["models"][CLICKS]["config"]
    asked = {**points, "label": "liver", **config, "reset_state": True, "client_id": "slicer-edit"}
    params = server.infer(CLICKS, "p0", **asked, result_extension=".nrrd", result_dtype="uint8").json()
    assert params["slices"] == [3]
    assert params["label_names"].items() <= {"liver": 1, "spleen": 2}.items()
    voxels = [(point["voxel"], point["positive"]) for point in params["points"]["liver"] if not point["automatic"]]
    assert voxels == [([14.0, 15.0, 3.0], True), ([1.0, 1.0, 3.0], False)]


def test_the_first_click_after_another_label_was_chosen_keeps_the_automatic_masks(server):
    client = {"client_id": "keeps"}
    automatic = np.asarray(label_of(server.infer(AUTOMATIC, "p1", "image", **client)).dataobj)
    request = {"label": "liver", "foreground": [[18, 15, 3]], "background": [], "reset_state": True, **client}
    clicked = np.asarray(label_of(server.infer(CLICKS, "p1", "image", **request)).dataobj)
    others = [0, 1, 2, 4, 5, 6]
    assert (automatic[..., others] == 1).any()
    np.testing.assert_array_equal(clicked[..., others], automatic[..., others] == 1)


def test_slicer_can_save_a_dicom_series_under_the_name_that_it_is_told(server):
    names = set()
    for _ in range(len(UNLABELLED) * 8):
        sample = server.post("/activelearning/random", json={"client_id": "slicer"}).json()
        assert "." in sample["name"]
        assert os.path.isfile(sample["path"])
        names.add(sample["name"])
        if "series.nii.gz" in names:
            break
    assert "series.nii.gz" in names


def test_a_volumes_name_with_a_slash_is_made_safe_and_still_known(server):
    name = "CT/Chest: 5 mm"
    with open(server.studies / "p2.nii.gz", "rb") as file:
        put = requests.put(
            server.url + "/datastore/", params={"image": name}, files={"file": ("x.nii.gz", file)}, timeout=60
        )
    assert put.status_code == 200, put.text
    stored = put.json()["image"]
    assert "/" not in stored
    for image in (name, stored):
        answer = requests.post(
            f"{server.url}/infer/{AUTOMATIC}", params={"image": image, "output": "image"}, timeout=120
        )
        assert label_of(answer).shape == (40, 36, 7)
    assert requests.delete(server.url + "/datastore/", params={"id": name}, timeout=60).status_code == 200


def test_ids_are_those_of_the_studies_and_no_paths(server):
    """What is answered does not tell whether a file is there."""
    outside = server.root / "label0.nii.gz"
    texts = set()
    for path in (outside, server.studies / "p0.nii.gz", "p0.nii.gz", "../label0.nii.gz", "/nowhere.png", "a" * 300):
        answer = server.infer(AUTOMATIC, path)
        assert answer.status_code == 404, path
        texts.add(answer.text)
        assert server.post("/infer/wsi_v2/" + AUTOMATIC, params={"image": str(path)}, json={}).status_code == 404
        assert requests.get(server.url + f"/datastore/image?image={path}", timeout=60).status_code == 404
    assert len(texts) == 1
    paths = {"image": str(server.studies / "p2.nii.gz"), "file": str(outside)}
    other = server.post(f"/infer/{AUTOMATIC}?image=p0&output=image", data={"params": json.dumps(paths)})
    np.testing.assert_allclose(label_of(other).affine, nib.load(server.studies / "p0.nii.gz").affine)


def test_automatic_segmentation_keeps_the_geometry(server):
    label = label_of(server.infer(AUTOMATIC, "p0", "image"))
    image = nib.load(server.studies / "p0.nii.gz")
    np.testing.assert_allclose(label.affine, image.affine)
    assert label.shape == image.shape


def test_slicers_click_gives_one_label_and_the_points(server):
    request = {"label": "liver", "foreground": [[14, 15, 3]], "background": [[1, 1, 3]], "client_id": "clicks"}
    params = server.infer(CLICKS, "p0", **request).json()
    assert params["label_names"] == {"liver": 1}
    assert {"voxel": [14.0, 15.0, 3.0], "positive": True, "automatic": False} in params["points"]["liver"]
    label = np.asarray(label_of(server.infer(CLICKS, "p0", "image", **request)).dataobj)
    assert set(np.unique(label)) <= {0, 1}
    assert label[..., [0, 1, 2, 4, 5, 6]].sum() == 0
    both = server.infer(CLICKS, "p0", "all", **request, result_extension=".nrrd")
    assert both.status_code == 200
    assert "multipart" in both.headers["content-type"]
    assert b"NRRD" in both.content


def test_rois_in_both_orders_and_deepedits_points_are_taken(server):
    sorted_ = server.infer(CLICKS, "p1", label="liver", roi=[8, 28, 6, 24, 2, 4], client_id="roi1")
    swapped = server.infer(CLICKS, "p1", label="liver", roi=[28, 8, 24, 6, 4, 2], client_id="roi2")
    assert sorted_.json()["boxes"] == swapped.json()["boxes"]
    assert sorted_.json()["slices"] == [2, 3, 4]
    edit = server.infer(CLICKS, "p1", liver=[[18, 15, 3]], spleen=[[3, 3, 3]], background=[], client_id="edit")
    assert edit.status_code == 200
    assert edit.json()["slices"] == [3]


@pytest.mark.parametrize("stored", ["RAS", "LPS", "oblique"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_click_lands_on_the_clicked_voxel_in_every_plane_and_orientation(server, plane, stored):
    image = nib.load(server.studies / f"bars-{stored}.nii.gz")
    bright = np.asarray(image.dataobj) > 0.5
    voxels = np.argwhere(bright)
    voxel = voxels[len(voxels) // 3].tolist()
    answer = server.infer(f"bright_{plane}_click", f"bars-{stored}", "image", foreground=[voxel], reset_state=True)
    label = np.asarray(label_of(answer).dataobj)
    np.testing.assert_allclose(label_of(answer).affine, image.affine)
    assert label[tuple(voxel)] == 1
    assert not label[~bright].any()
    (axis,) = (at for at in range(3) if (np.argwhere(label)[:, at] == voxel[at]).all())  # one slice, no other
    assert nib.aff2axcodes(image.affine)[axis] in {"axial": "SI", "coronal": "AP", "sagittal": "LR"}[plane]


def test_pictures_and_dicom_series_are_served(server):
    params = server.infer(PICTURES, "skin", label="lesion", foreground=[[47, 15, 0]], slice=0)
    assert params.json()["label_names"] == {"lesion": 1}
    picture = server.infer(PICTURES, "skin", "image", label="lesion", foreground=[[47, 15, 0]], slice=0)
    from PIL import Image

    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)
    downloaded = label_of(requests.get(server.url + "/datastore/image?image=series", timeout=60))
    label = label_of(server.infer(CLICKS, "series", "image", label="liver", foreground=[[8, 12, 2]]))
    assert label.shape == downloaded.shape == (20, 24, 6)
    np.testing.assert_allclose(label.affine, downloaded.affine)


@pytest.mark.parametrize(
    ("model", "image", "params", "status", "message"),
    [
        (CLICKS, "nobody", {"label": "liver"}, 404, "no such image"),
        ("nothing", "p0", {}, 404, "model must be one of"),
        (CLICKS, "p0", {"label": "lung", "foreground": [[1, 1, 1]]}, 400, "label must be one of"),
        (CLICKS, "p0", {"label": "liver", "foreground": [[400, 1, 1]]}, 400, "inside the image"),
        (CLICKS, "p0", {"label": "liver", "foreground": "x"}, 400, "must be a list"),
        (CLICKS, "p0", {"label": "liver", "foreground": [], "slice": 99}, 400, "slice must be"),
        (CLICKS, "p0", {"label": "liver", "roi": [90, 95, 90, 95, 9, 9]}, 400, "roi must overlap"),
        (CLICKS, "p0", {"label": "liver", "result_extension": ".exe"}, 400, "result_extension"),
        (AUTOMATIC, "broken", {}, 400, "broken.nii.gz"),
        (AUTOMATIC, "p0", {"result_dtype": "text"}, 400, "result_dtype must be one of"),
        (CLICKS, "p0", {"label": "liver", "slice": float("inf")}, 400, "slice must be a number"),
        (CLICKS, "p0", {"label": "liver", "roi": [0, float("inf"), 0, 1, 0, 1]}, 400, "roi must be numbers"),
    ],
)
def test_a_clients_mistake_is_a_4xx_with_a_message(server, model, image, params, status, message):
    answer = server.infer(model, image, **params)
    assert answer.status_code == status
    assert message in answer.json()["detail"]


def test_pages_and_names_of_others_are_refused(server):
    """A page of another server makes a browser ask; a name that was made to lead here gives itself away."""
    own = {"Origin": server.url}
    assert requests.get(server.url + "/info/", headers=own, timeout=60).status_code == 200
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        answer = requests.delete(server.url + "/datastore/?id=p2", headers=headers, timeout=60)
        assert answer.status_code == 403, headers
        assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
    assert "p2" in requests.get(server.url + "/datastore/?output=all", timeout=60).json()["objects"]


def test_corrupt_uploads_and_parameters_are_refused(server):
    files = {"file": ("x.nii.gz", b"garbage")}
    assert server.post(f"/infer/{AUTOMATIC}?output=json", files=files, data={"params": "{}"}).status_code == 400
    assert server.post(f"/infer/{AUTOMATIC}?image=p0", data={"params": "{not json"}).status_code == 400
    assert server.post(f"/infer/{AUTOMATIC}", data={"params": "{}"}).status_code == 400
    upload = {"label": ("x.nii.gz", b"garbage")}
    assert requests.put(server.url + "/datastore/label?image=nobody", files=upload, timeout=60).status_code == 404
    assert server.post("/activelearning/nonsense", json={}).status_code == 404
    assert server.post("/train/nonsense", json={}).status_code == 404
    assert server.post(f"/infer/{AUTOMATIC}?image=p0", data={"params": "[" * 5000}).status_code == 400
    archive = {"files": ("x.zip", b"PK")}
    assert requests.put(server.url + "/session/?uncompress=true", files=archive, timeout=60).status_code == 400
    assert requests.get(server.url + "/logs/?lines=" + "9" * 30, timeout=60).status_code == 400
    nothing = server.post(f"/train/{AUTOMATIC}", json={"max_epochs": 1})
    assert nothing.status_code == 400
    assert "no image has a final label" in nothing.json()["detail"]


def test_what_is_no_image_and_no_label_map_is_not_kept(server):
    def put(what, query, content, name="x.nii.gz"):
        return requests.put(f"{server.url}/datastore/{what}?{query}", files={FIELDS[what]: (name, content)}, timeout=60)

    FIELDS = {"image": "file", "label": "label"}
    assert put("label", "image=p2&tag=final", b"garbage").status_code == 400
    other = nib.Nifti1Image(np.zeros((3, 4, 5), dtype=np.uint8), np.eye(4))
    answer = put("label", "image=p2&tag=final", gzip.compress(other.to_bytes()))
    assert answer.status_code == 400
    assert "must have the image's shape (40, 36, 7)" in answer.json()["detail"]
    assert put("label", "image=p2&tag=../../x", b"garbage").status_code == 400
    assert put("image", "image=new", b"garbage").status_code == 400
    assert put("image", "image=../new", b"garbage").status_code == 400
    for what in FIELDS:
        assert put(what, "image=p2", b"garbage", "x." + 300 * "y").status_code == 400
    image = nib.load(server.studies / "p2.nii.gz")
    moved = nib.Nifti1Image(np.zeros(image.shape, np.uint8), np.diag([1.5, 1.5, 6, 1]))
    answer = put("label", "image=p2&tag=final", gzip.compress(moved.to_bytes()))
    assert answer.status_code == 400
    assert "label must lie where its image lies" in answer.json()["detail"]
    right = gzip.compress(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine).to_bytes())
    files = {"label": ("x.nii.gz", right)}
    for params, message in (
        ("[1]", "params must be a JSON object"),
        ('{"label_info": "liver"}', "label_info must be a list"),
        ('{"label_info": [{"name": ["liver"], "idx": 1}]}', "label_info must be a list"),
        ('{"note": NaN}', "NaN is no number of JSON"),
        ('{"label_info": [{"name": "liver", "idx": 9}]}', "label values must be among those of label_info"),
    ):
        query = f"{server.url}/datastore/label?image=p2"
        answer = requests.put(query, files=files, data={"params": params}, timeout=60)
        assert answer.status_code == 400, answer.text
        assert message in answer.json()["detail"]
    for info in ("[1]", '{"note": Infinity}', "[" * 5000):
        answer = requests.put(f"{server.url}/datastore/image/info?image=p2", data={"info": info}, timeout=60)
        assert answer.status_code == 400, info[:20]
    listed = requests.get(server.url + "/datastore/?output=all", timeout=60).json()
    assert "new" not in listed["objects"]
    assert "final" not in listed["objects"]["p2"].get("labels", {})


def test_an_uploaded_volume_is_segmented(server):
    with open(server.studies / "p2.nii.gz", "rb") as file:
        answer = server.post(f"/infer/{AUTOMATIC}?output=image", files={"file": ("u.nii.gz", file)})
    assert label_of(answer).shape == (40, 36, 7)


def test_two_clients_at_once_get_their_own_answers(server):
    answers = {}

    def click(client, image, voxel):
        for _ in range(3):
            request = {"label": "liver", "foreground": [voxel], "client_id": client}
            answers.setdefault(client, []).append(server.infer(CLICKS, image, "image", **request).content)

    threads = [threading.Thread(target=click, args=(f"c{n}", f"p{n}", [14 + 4 * n, 15, 3])) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrays = {client: [np.asarray(label_of(_answer(one)).dataobj) for one in got] for client, got in answers.items()}
    for got in arrays.values():
        assert len(got) == 3
        assert all((one == got[0]).all() for one in got)


def _answer(content):
    answer = requests.Response()
    answer.status_code, answer._content = 200, content
    return answer


def save_label(server, number, names):
    with open(server.root / f"label{number}.nii.gz", "rb") as file:
        info = {"label_info": [{"name": name, "idx": index} for index, name in enumerate(names, 1)]}
        return requests.put(
            server.url + f"/datastore/label?image=p{number}&tag=final",
            files={"label": (f"p{number}.nii.gz", file)},
            data={"params": json.dumps(info)},
            timeout=60,
        )


def test_labels_are_saved_trained_on_and_served(server):
    def next_case(strategy):
        return server.post(f"/activelearning/{strategy}", json={"client_id": "slicer"}).json()

    assert next_case("least_certain")["id"] in UNLABELLED
    assert save_label(server, 0, ["tumour"]).status_code == 200
    for path, body, message in (
        (AUTOMATIC, {"max_epochs": 1}, "a saved label must hold one of liver, spleen"),
        ("", {}, "a saved label must hold one of"),
        (AUTOMATIC, {"max_epochs": "many"}, "must be numbers"),
        (AUTOMATIC, {"val_split": 2}, "val_split must lie in"),
        (AUTOMATIC, {"gpus": [0]}, "gpus must be all or numbers such as 0,1"),
    ):
        refused = server.post(f"/train/{path}", json=body)
        assert refused.status_code == 400
        assert message in refused.json()["detail"]
    for number in range(2):
        answer = save_label(server, number, ["liver"])
        assert answer.status_code == 200, answer.text
    assert next_case("most_diverse")["id"] in UNLABELLED - {"p0", "p1"}
    before = label_of(server.infer(AUTOMATIC, "p2", "image")).get_fdata()
    body = {"max_epochs": 4, "steps_per_epoch": 2, "val_split": 0}
    assert server.post(f"/train/{AUTOMATIC}", json=body).status_code == 200
    told = []
    for _ in range(480):
        time.sleep(0.5)
        task = requests.get(server.url + "/train/", timeout=60).json()
        if task["status"] in ("DONE", "ERROR"):
            break
        told.append(next(iter(requests.get(server.url + "/info/", timeout=60).json()["train_stats"].values())))
    assert task["status"] == "DONE", task
    while_it_ran = [stats for stats in told if stats and "total_time" not in stats]
    assert while_it_ran
    assert all(stats["total_epochs"] == 4 for stats in while_it_ran)
    ended = next(iter(requests.get(server.url + "/info/", timeout=60).json()["train_stats"].values()))
    assert (ended["epoch"], ended["total_epochs"], ended["cases"]) == (4, 4, 2)
    assert (label_of(server.infer(AUTOMATIC, "p2", "image")).get_fdata() != before).any()
    previous = server.studies / ".amsam_label" / "model" / AUTOMATIC / "models" / "previous"
    assert len(list(previous.iterdir())) == 1


def test_slicer_sees_epochs_and_scores_of_cases_left_out_while_a_training_runs(server):
    for number in range(3):
        assert save_label(server, number, ["liver"]).status_code == 200
    body = {"max_epochs": 6, "steps_per_epoch": 2, "val_split": 0.3, "val_interval": 1}
    assert server.post(f"/train/{AUTOMATIC}", json=body).status_code == 200
    told = []
    for _ in range(960):
        time.sleep(0.25)
        if requests.get(server.url + "/train/", timeout=60).json()["status"] in ("DONE", "ERROR"):
            break
        told.append(next(iter(requests.get(server.url + "/info/", timeout=60).json()["train_stats"].values())))
    ended = next(iter(requests.get(server.url + "/info/", timeout=60).json()["train_stats"].values()))
    running = [one for one in told if "total_time" not in one and one.get("total_epochs") == 6]
    assert [one["epoch"] for one in running] == sorted(one["epoch"] for one in running)
    assert any(one["epoch"] for one in running)
    for one in (*running, ended):
        assert 0 <= one["best_metric"] == one["eval"]["best_metric"] <= 1
        assert one["best_metric"] >= one["eval"]["metrics"]["dice"]
    assert (ended["epoch"], ended["validation_cases"]) == (6, 1)
    assert ended["eval"]["metrics"]["dice"] == ended["dice_after"]


def ending(server):
    """How the training that runs ends."""
    while (status := requests.get(server.url + "/train/", timeout=60).json()["status"]) in ("SUBMITTED", "RUNNING"):
        time.sleep(0.2)
    return status
