"""MONAI Label's own client, the class that 3D Slicer's module brings along, against a real server."""

import time

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from tests.label_app.trainable_bundle import write_trainable_bundle

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from tests.label_app.serving import serving
from tests.label_app.test_service import save_balls

pytestmark = pytest.mark.label

MODEL, CLICKS = "nano_segmentation", "nano_segmentation_click"
ANSWER = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}  # as Slicer asks
LIVER, SPLEEN = 300, 7


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One bundle, whose maps hold the values of its own labels, above 255 too."""
    root = tmp_path_factory.mktemp("client")
    studies = save_balls(root)
    classes = f"{{liver: {LIVER}, spleen: {SPLEEN}}}"
    bundle = write_trainable_bundle(root / "bundles", "aisam", name=MODEL, classes=classes)
    (bundle / "configs" / "inference.yaml").write_text("settings: {label_values: own}\n", encoding="utf-8")
    with serving(root, studies, [bundle]) as server:
        yield server


@pytest.fixture
def client(server, tmp_path):
    return MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="slicer")


def mask_of(answer):
    """The mask (I, J, K) in an answer of `infer`, and what goes beside it."""
    path, params = answer
    return sitk.GetArrayFromImage(sitk.ReadImage(path)).transpose(2, 1, 0), params


def test_the_client_lists_models_and_samples(client):
    info = client.info()
    assert info["models"][CLICKS]["labels"] == {"liver": LIVER, "spleen": SPLEEN, "background": 254}
    assert info["trainers"][MODEL]["config"]["val_interval"] == 5
    assert not client.auth_enabled()
    sample = client.next_sample("first", {})
    assert sample["id"] in client.datastore()["objects"]
    with pytest.raises(MONAILabelClientException, match=r"Status: 404; Response: .*strategy must be one of"):
        client.next_sample("nonsense", {})


def test_the_client_infers_clicks_and_resets(client):
    automatic, params = mask_of(client.infer(MODEL, "p0", {**ANSWER}))
    assert automatic.shape == (40, 36, 7)
    assert set(np.unique(automatic)) - {0} == set(params["label_names"].values())
    assert params["label_names"].items() <= {"liver": LIVER, "spleen": SPLEEN}.items()
    clicks = {"label": "liver", "liver": [[14, 15, 3]], "spleen": [], "background": [[1, 1, 3]], **ANSWER}
    first, params = mask_of(client.infer(CLICKS, "p0", {**clicks, "reset_state": True}))
    assert params["slices"] == [3]
    others = [0, 1, 2, 4, 5, 6]
    np.testing.assert_array_equal(first[..., others], automatic[..., others])
    # another label was chosen: the points are forgotten, masks of other slices stay
    clicks |= {"label": "spleen", "liver": [], "spleen": [[14, 15, 2]]}
    second, params = mask_of(client.infer(CLICKS, "p0", {**clicks, "background": [], "reset_state": True}))
    assert params["slices"] == [2]
    sent = [(point["voxel"], point["positive"]) for point in params["points"]["spleen"] if not point["automatic"]]
    assert sent == [([14.0, 15.0, 2.0], True)]
    np.testing.assert_array_equal(second[..., [0, 1, 4, 5, 6]], automatic[..., [0, 1, 4, 5, 6]])
    with pytest.raises(MONAILabelClientException, match=r"Status: 400; Response: .*inside the image"):
        client.infer(CLICKS, "p0", {**clicks, "spleen": [[400, 1, 1]]})


def test_the_client_sends_an_image_and_segments_it_in_a_session(client, server):
    path = str(server.studies / "p2.nii.gz")
    stored = client.upload_image(path, "CT/Chest: 5 mm")["image"]
    assert stored in client.datastore()["objects"]
    assert mask_of(client.infer(MODEL, "CT/Chest: 5 mm", {**ANSWER}))[0].shape == (40, 36, 7)
    session = client.create_session(path)["session_id"]
    assert mask_of(client.infer(MODEL, "", {**ANSWER}, session_id=session))[0].shape == (40, 36, 7)
    client.remove_session(session)


def test_the_client_saves_labels_of_16_bits_trains_and_is_told_how_far_it_is(client, server, tmp_path):
    def save(number, values, names):
        ball = nib.load(server.root / f"label{number}.nii.gz")
        label = np.asarray(ball.dataobj).astype(np.uint16) * np.uint16(values)
        nib.save(nib.Nifti1Image(label, ball.affine), tmp_path / "label.nii.gz")
        info = {"label_info": [{"name": name, "idx": value} for value, name in names.items()]} if names else {}
        return client.save_label(f"p{number}", str(tmp_path / "label.nii.gz"), tag="final", params=info)

    with pytest.raises(MONAILabelClientException, match="label values must be among those of label_info"):
        save(0, 299, {LIVER: "liver"})
    assert save(0, LIVER, {LIVER: "liver", SPLEEN: "spleen"})["image"] == "p0"
    save(1, LIVER, None)  # the values of the bundle's own maps need no names
    kept = client.download_label("p0", "final")
    assert set(np.unique(np.asarray(nib.load(kept).dataobj))) == {0, LIVER}
    client.train_start(MODEL, {"max_epochs": 3, "steps_per_epoch": 2, "val_split": 0})
    told = []
    # the check alone says no until the process has started
    while client.train_status()["status"] == "RUNNING" or client.train_status(check_if_running=True):
        told.append(next(iter(client.info()["train_stats"].values())))
        time.sleep(0.25)
    assert client.train_status()["status"] == "DONE", server.log()[-3000:]
    ended = next(iter(client.info()["train_stats"].values()))
    assert (ended["epoch"], ended["total_epochs"], ended["cases"]) == (3, 3, 2)
    assert any(stats.get("total_epochs") == 3 and "total_time" not in stats for stats in told)
