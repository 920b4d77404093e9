"""What the page's listeners answer, without a browser."""

import gzip
import json
import tempfile
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from amsam_monai.bundles.load import LoadedBundle
from amsam_monai.networks.systems.aisam import AISAM
from tests.segment.toy_net import BrightRegions
from tests.session.test_session import two_bars

gradio = pytest.importorskip("gradio", reason="needs gradio")
pytestmark = pytest.mark.browser

from amsam_monai.annotate.actions import choose_tool, use_mouse  # noqa: E402
from amsam_monai.annotate.app import NOTHING, SHOWN, acting, build_page, show  # noqa: E402
from amsam_monai.annotate.browser_files import browser_files  # noqa: E402
from amsam_monai.annotate.tabs import MAX_TABS, Tabs  # noqa: E402

TAB = SimpleNamespace(session_hash="tab")
EVENTS = count(100)


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
    assert again == [gradio.skip()] * SHOWN
    assert bench.session.points(bench.label, bench.slice) == points


def test_what_a_picture_has_not_is_not_shown(tabs, tmp_path):
    Image.fromarray(np.uint8(two_bars()[..., 0])).save(tmp_path / "p.png")
    bench = tabs.bench("tab")
    for path, several in ((tabs.files[0], True), (tmp_path / "p.png", False)):
        bench.open(path)
        *_, legend, propagate, everything, _ = show(bench, "")
        assert propagate["visible"] is everything["visible"] is several
        assert "network" not in legend  # it shows no points of its own


def test_the_networks_points_are_named_where_it_has_some(tmp_path, nano_sam):
    Image.fromarray(np.uint8(two_bars()[..., 0] * 255)).save(tmp_path / "p.png")
    bundle = LoadedBundle("toy", tmp_path, AISAM(nano_sam, num_classes=1, gate=False), {1: "bar"})
    bench = Tabs(bundle, [tmp_path / "p.png"], tmp_path / "out").bench("tab")
    bench.open(tmp_path / "p.png")
    assert bench.own_prompts == "points"
    assert "network, outside" in show(bench, "")[-4]


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
    assert len(tabs) == MAX_TABS


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


def edited(tabs, tab, path=None):
    """A tab with unsaved work."""
    tabs.bench(tab).open(path or tabs.files[0])
    click = {"view": "main-view", "from": [0.5, 0.5], "to": None, "at": next(EVENTS)}
    acting(tabs, use_mouse)(json.dumps(click), SimpleNamespace(session_hash=tab))
    assert tabs.bench(tab).unsaved
    return tabs.bench(tab)


def names(folder):
    return sorted(path.name for path in folder.glob("*"))


def test_a_tab_that_is_closed_keeps_its_work_in_a_file_and_until_its_place_is_needed(tabs, tmp_path):
    bench = edited(tabs, "a")
    label = bench.session.label.copy()
    tabs.close("a")
    assert names(tmp_path / "out" / ".unsaved") == ["a_label.nii.gz", "a_label.session.json"]
    assert tabs.bench("a") is bench  # its connection was lost, and it goes on
    tabs.close("a")
    assert len(names(tmp_path / "out" / ".unsaved")) == 2
    for number in range(MAX_TABS):
        tabs.bench(str(number))
    assert tabs.bench("a") is not bench
    session = tabs.bench("a").session
    session.open(tabs.files[0], state=tmp_path / "out" / ".unsaved" / "a_label.nii.gz")
    np.testing.assert_array_equal(session.label, label)


def test_another_image_in_a_tab_keeps_what_was_not_saved_of_the_one_before(tabs, tmp_path):
    for _ in range(2):
        edited(tabs, "a").open(tabs.files[0])
    assert [name for name in names(tmp_path / "out" / ".unsaved") if name.endswith("gz")] == [
        "a_label.nii.gz",
        "a_label_2.nii.gz",
    ]
    assert tabs.keep_unsaved() == []
    edited(tabs, "b")
    assert [path.name for path in tabs.keep_unsaved()] == ["a_label_3.nii.gz"]


def test_work_that_cannot_be_kept_stays_open(tabs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".unsaved").touch()
    bench = edited(tabs, "a")
    with pytest.raises(OSError, match="unsaved"):
        bench.open(tabs.files[0])
    tabs.close("a")
    assert bench.unsaved
    for number in range(MAX_TABS):
        tabs.bench(str(number))
    assert tabs.bench("a") is bench


def test_a_tab_at_work_is_not_dropped(tabs):
    with tabs.working("a") as bench:
        for number in range(MAX_TABS):
            tabs.bench(str(number))
        assert tabs.bench("a") is bench
    for number in range(MAX_TABS):
        tabs.bench(str(number))
    assert tabs.bench("a") is not bench


def test_a_label_map_that_another_tab_or_day_wrote_is_kept(tabs, tmp_path):
    first, second = edited(tabs, "a"), edited(tabs, "b")
    path = first.save("NIfTI")
    content = path.read_bytes()
    first.save("NIfTI")
    assert first.replaced is None
    second.session.segment("all")
    assert second.save("NIfTI") == path
    assert second.replaced == tmp_path / "out" / ".replaced" / "a_label.nii.gz"
    assert gzip.decompress(second.replaced.read_bytes()) == gzip.decompress(content)
    first.save("NIfTI")
    assert first.replaced.name == "a_label_2.nii.gz"
    assert len(names(tmp_path / "out" / ".replaced")) == 4


def test_files_that_a_browser_sent_go_with_their_tab_or_when_they_cannot_be_opened(tabs):
    sent = []
    for name in ("good", "broken"):
        folder = Path(tempfile.mkdtemp(dir=browser_files()))
        sent.append(folder / f"{name}.nii.gz")
        sent[-1].write_bytes(tabs.files[name == "broken"].read_bytes())
    tabs.bench("a").open(sent[0])
    tabs.forget(sent[0])
    assert sent[0].is_file()
    tabs.forget(sent[1])
    tabs.forget(tabs.files[0])
    assert not sent[1].exists()
    assert tabs.files[0].is_file()
    tabs.close("a")
    for number in range(MAX_TABS):
        tabs.bench(str(number))
    assert not sent[0].exists()


def test_images_of_one_name_have_label_maps_of_their_own(tabs, tmp_path):
    (tmp_path / "other").mkdir()
    second = tmp_path / "other" / "a.nii.gz"
    second.write_bytes(tabs.files[0].read_bytes())
    paths = []
    for tab, path in (("x", tabs.files[0]), ("y", second), ("x", tabs.files[0])):
        tabs.bench(tab).open(path)
        paths.append(tabs.bench(tab).save("NIfTI").name)
    assert paths == ["a_label.nii.gz", "a_label_2.nii.gz", "a_label.nii.gz"]
