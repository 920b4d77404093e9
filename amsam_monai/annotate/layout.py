"""Where the page's parts are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from amsam_monai.annotate.actions import TOOL_NAMES
from amsam_monai.annotate.contrast import AS_SEEN
from amsam_monai.annotate.drawing import BACKDROP
from amsam_monai.annotate.page import KEY_SHEET, class_style, facts_table, heading, image_tag, legend
from amsam_monai.annotate.pen import BRUSH
from amsam_monai.annotate.tabs import SIDE


@dataclass
class Parts:
    """The page's parts that listen or show, by what they are for."""

    case: Any
    upload: Any
    following: Any
    label: Any
    tool: Any
    brush: Any
    undo: Any
    redo: Any
    clear: Any
    propagate: Any
    everything: Any
    facts: Any
    boxes: Any
    form: Any
    save: Any
    saved: Any
    main: Any
    place: Any
    status: Any
    preview: Any
    plane: Any
    sides: list[Any]
    contrast: Any
    level: Any
    width: Any
    opacity: Any
    legend: Any
    relay: Any
    sent: Any

    @property
    def shown(self) -> list[Any]:
        """What changes with every action."""
        buttons = [self.propagate, self.everything]
        views = [self.main, *self.sides, self.place, self.plane]
        return [*views, self.facts, self.boxes, self.preview, self.legend, *buttons, self.status]


def lay_out(about: str, classes: Sequence[tuple[str, int]], cases: Sequence[tuple[str, str]]) -> Parts:
    """Make the parts; to be called inside `gradio.Blocks`.

    Args:
        about: what is served.
        classes: names and indices.
        cases: names and paths of the images to step through.
    """
    gr.HTML(heading("amsam annotate", about) + class_style([index for _, index in classes]), elem_id="heading")
    with gr.Row(equal_height=False, elem_id="desk"):
        with gr.Column(scale=3, min_width=200, elem_id="tools-side"):
            left = _left(classes, cases)
        with gr.Column(scale=6, min_width=320, elem_id="picture-side"):
            middle = _middle()
        with gr.Column(scale=3, min_width=200, elem_id="planes-side"):
            right = _right()
    gr.HTML(KEY_SHEET)
    relay = gr.Textbox(elem_id="relay", elem_classes="relay", show_label=False)
    sent = gr.Button("sent", elem_id="sent", elem_classes="relay")
    return Parts(**left, **middle, **right, relay=relay, sent=sent)


def _left(classes: Sequence[tuple[str, int]], cases: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Case, saving, class, tool, steps and numbers."""
    parts: dict[str, Any] = {
        "case": gr.Dropdown(list(cases), value=None, label="Case", elem_id="case", interactive=True)
    }
    with gr.Row():
        parts["upload"] = gr.UploadButton("Open a file…", size="sm", elem_id="upload", min_width=90)
        parts["following"] = _button("Next least certain", "next", min_width=120)
    with gr.Row():
        parts["form"] = gr.Dropdown(
            ["NIfTI"], value="NIfTI", show_label=False, container=False, min_width=90, elem_id="form"
        )
        parts["save"] = gr.Button("Save", variant="primary", size="sm", elem_id="save", min_width=70)
    parts["label"] = gr.Radio(list(classes), value=classes[0][1], label="Class", elem_id="classes")
    parts["tool"] = gr.Radio(list(TOOL_NAMES.items()), value="add", label="Tool", elem_id="tools")
    parts["brush"] = gr.Slider(1, 61, value=BRUSH, step=2, label="Brush size (px)", elem_id="brush", buttons=[])
    with gr.Row():
        parts |= {key: _button(key.capitalize(), key) for key in ("undo", "redo", "clear")}
    with gr.Row():
        parts["propagate"] = _button("Propagate", "propagate")
        parts["everything"] = _button("Segment all slices", "everything", min_width=110)
    parts["facts"] = gr.HTML(facts_table([]), elem_id="facts")
    parts["boxes"] = gr.HTML("", elem_id="boxes")
    parts["saved"] = gr.File(None, label="Saved", visible=False, elem_id="saved")
    return parts


def _middle() -> dict[str, Any]:
    """What happened, and the large view."""
    status = gr.HTML("No image is open.", elem_id="status")
    words = "Choose a case, or open a file."
    main = gr.HTML(image_tag(blank(SIDE, words), text=words), elem_id="main-view")
    place = gr.Slider(0, 1, value=0, step=1, label="Slice", elem_id="slice", visible=False, buttons=[])
    return {"status": status, "main": main, "place": place}


def _right() -> dict[str, Any]:
    """What is proposed, the other planes, grey values and legend."""
    preview = gr.HTML("", elem_id="preview")
    planes = ["axial", "coronal", "sagittal"]
    plane = gr.Radio(planes, value="axial", label="Large view", elem_id="plane", visible=False)
    sides = [gr.HTML("", elem_id=f"side-{at}", elem_classes="side-view", visible=False) for at in range(2)]
    with gr.Group(elem_id="greys"):
        contrast = gr.Dropdown([AS_SEEN], value=AS_SEEN, label="Contrast", elem_id="contrast", interactive=True)
        level = gr.Slider(0, 1, value=0.5, step=0.01, label="Level", elem_id="level", buttons=[])
        width = gr.Slider(0.02, 2, value=1.0, step=0.01, label="Window", elem_id="window", buttons=[])
        opacity = gr.Slider(0, 1, value=0.4, step=0.05, label="Mask opacity", elem_id="opacity", buttons=[])
    points = gr.HTML(legend(""), elem_id="points")
    greys = {"contrast": contrast, "level": level, "width": width, "opacity": opacity}
    return {"preview": preview, "plane": plane, "sides": sides, "legend": points, **greys}


def _button(text: str, name: str, min_width: int = 60) -> Any:
    return gr.Button(text, size="sm", elem_id=name, min_width=min_width)


def blank(side: int, text: str) -> np.ndarray:
    """An empty view that says what to do."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (side, side), BACKDROP)
    pen = ImageDraw.Draw(picture)
    pen.text((side / 2, side / 2), text, fill=(170, 178, 190), font=ImageFont.load_default(22), anchor="mm")
    return np.asarray(picture)
