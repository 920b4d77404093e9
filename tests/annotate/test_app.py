"""What the page's listeners answer, without a browser."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from amsam_monai.bundles.load import LoadedBundle
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import two_bars

gradio = pytest.importorskip("gradio", reason="needs gradio")
pytestmark = pytest.mark.browser

from amsam_monai.annotate.actions import choose_tool, use_mouse  # noqa: E402
from amsam_monai.annotate.app import NOTHING, acting, build_page, show  # noqa: E402
from amsam_monai.annotate.tabs import MAX_TABS, Tabs  # noqa: E402

TAB = SimpleNamespace(session_hash="tab")


@pytest.fixture
def tabs(tmp_path):
    nib.save(nib.Nifti1Image(two_bars(), np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "a.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    network = BrightRegions(2, automatic=(1,))
    bundle = LoadedBundle("toy", tmp_path, network, {1: "vessel", 2: "node"}, intensity={"mode": "none"})
    return Tabs(bundle, [tmp_path / "a.nii.gz", tmp_path / "broken.nii.gz"], tmp_path / "out")


def test_without_an_image_every_action_says_so(tabs):
    assert acting(tabs, choose_tool)("box", TAB)[-1] == f"⚠ {NOTHING}"
    assert show(tabs.bench("tab"), "⚠ a file is damaged.")[-1] == "⚠ a file is damaged."
    assert show(tabs.bench("tab"), "")[-1] == "No image is open."


def test_an_event_that_comes_twice_counts_once_and_changes_nothing_shown(tabs):
    bench = tabs.bench("tab")
    bench.open(tabs.files[0])
    event = '{"view": "main-view", "from": [0.5, 0.5], "to": null, "at": 7}'
    first = acting(tabs, use_mouse)(event, TAB)
    assert "at voxel" in first[-1]
    points = bench.session.points(bench.label, bench.slice)
    again = acting(tabs, use_mouse)(event, TAB)
    assert again == [gradio.skip()] * 7
    assert bench.session.points(bench.label, bench.slice) == points


def test_a_mistake_is_said_and_leaves_the_image_open(tabs):
    bench = tabs.bench("tab")
    bench.open(tabs.files[0])
    with pytest.raises(ValueError, match="broken"):
        bench.open(tabs.files[1])
    assert bench.path == tabs.files[0]
    assert bench.session.is_open

    def refuse(bench):
        raise ValueError("the mask does not fit.")

    assert acting(tabs, refuse)(TAB)[-1] == "⚠ the mask does not fit."


def test_tabs_are_apart_and_bounded(tabs):
    assert tabs.bench("a") is not tabs.bench("b")
    for number in range(MAX_TABS):
        tabs.bench(str(number))
    assert len(tabs._benches) == MAX_TABS


def test_the_page_is_built_without_files_too(tabs, tmp_path):
    assert build_page(tabs.bundle, [], tmp_path) is not None


def test_a_further_tab_drops_nobody_s_unsaved_work(tabs):
    for number in range(MAX_TABS):
        bench = tabs.bench(str(number))
        bench.open(tabs.files[0])
        acting(tabs, use_mouse)(
            '{"view": "main-view", "from": [0.5, 0.5], "to": null, "at": 1}', SimpleNamespace(session_hash=str(number))
        )
        assert bench.unsaved
    with pytest.raises(ValueError, match=f"{MAX_TABS} tabs have unsaved work; save or close one"):
        tabs.bench("one more")
    tabs.bench("3").save("NIfTI")
    assert not tabs.bench("3").unsaved
    kept = tabs.bench("0")
    tabs.bench("one more")
    assert tabs.bench("0") is kept
    tabs.close("0")
    assert tabs.bench("0") is not kept


def test_images_of_one_name_have_label_maps_of_their_own(tabs, tmp_path):
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / "a.nii.gz"
    second.write_bytes(tabs.files[0].read_bytes())
    paths = []
    for tab, path in (("x", tabs.files[0]), ("y", second), ("x", tabs.files[0])):
        tabs.bench(tab).open(path)
        paths.append(tabs.bench(tab).save("NIfTI").name)
    assert paths == ["a_label.nii.gz", "a_label_2.nii.gz", "a_label.nii.gz"]
