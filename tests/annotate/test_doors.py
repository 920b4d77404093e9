"""The page's door gives the masks of the command line, see `tests/doors.py`."""

import numpy as np
import pytest

from amsam_monai.data.files.images import read_label
from tests.doors import CASES, masks_of, prepared

pytest.importorskip("gradio", reason="needs gradio")
from tests.annotate.browsing import annotating, browsing, choose, needs_browser, wait_for_status

pytestmark = needs_browser


@pytest.mark.parametrize("system", list(CASES))
def test_the_page_saves_the_masks_of_the_command_line(system, tmp_path):
    bundle = prepared(system, tmp_path)
    masks = {f"{number}{''.join(path.suffixes)}": path for number, path in enumerate(masks_of(bundle))}
    root = tmp_path / "page"
    (root / "cases").mkdir(parents=True)
    for name, path in masks.items():
        (root / "cases" / name).write_bytes(path.read_bytes())
    with annotating(root, bundle, "--device", "cpu") as url, browsing(url) as page:
        for name, path in masks.items():
            expected = masks_of(bundle)[path]
            if name != next(iter(masks)):
                choose(page, "#case", name)
            wait_for_status(page, f"{name}: the network's own")
            if expected.ndim == 3:  # a picture is segmented whole as it opens
                page.click("#everything")
                wait_for_status(page, "are segmented")
            page.click("#save")
            wait_for_status(page, "Saved")
            ending = ".nii.gz" if expected.ndim == 3 else ".png"
            saved = read_label(root / "out" / f"{name.split('.')[0]}_label{ending}").array
            np.testing.assert_array_equal(saved, expected, err_msg=name)
