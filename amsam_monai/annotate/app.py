"""The web page, in Gradio: one workbench per browser tab, nothing from the network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from amsam_monai.annotate import actions
from amsam_monai.annotate.browser_files import browser_files
from amsam_monai.annotate.layout import Parts, lay_out
from amsam_monai.annotate.page import boxes_table, facts_table, image_tag, legend, preview_strip
from amsam_monai.annotate.script import SCRIPT
from amsam_monai.annotate.tabs import Tabs
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.bundles.load import LoadedBundle

NOTHING = "Open an image first."
WARN = "⚠"
SHOWN = 12  # values of `Parts.shown`


def build_page(bundle: LoadedBundle, files: Sequence[Path], out: Path) -> Any:
    """The page as gradio.Blocks.

    Args:
        bundle: as `load_bundle` gives it.
        files: images to step through; may be empty, files can be opened on the page.
        out: folder where label maps are saved.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # also read by parts that Blocks does not tell
    browser_files()
    tabs = Tabs(bundle, files, out)
    name = str(bundle.metadata.get("name") or bundle.name)
    about = f"{name}. Click to correct, or draw; press ? for the keys."
    with gr.Blocks(title="amsam annotate", analytics_enabled=False) as page:
        classes = [(label, index) for index, label in bundle.labels.items()]
        parts = lay_out(about, classes, [(path.name, str(path)) for path in files])
        page.load(None, None, None, js=SCRIPT)
        if files:
            page.load(lambda: str(files[0]), None, parts.case)
        listen_to_files(parts, tabs)
        listen_to_view(parts, tabs)
        listen_to_corrections(parts, tabs)

        def close_tab(request: gr.Request) -> None:
            tabs.close(request.session_hash)

        page.unload(close_tab)
    page.tabs = tabs
    return page


def listen_to_files(parts: Parts, tabs: Tabs) -> None:
    """Opening, stepping on and saving."""

    def open_case(path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
        with tabs.working(request.session_hash) as bench:
            if not path:
                return [*show(bench, ""), *[gr.skip()] * 4]
            if not tabs.may_open(path):
                return [
                    *show(bench, f"{WARN} {Path(path).name} must be one of the cases, or a file opened here."),
                    *[gr.skip()] * 4,
                ]
            progress((0, 2), desc="Reading")
            try:
                bench.open(Path(path), lambda: progress((1, 2), desc="Encoding the slice"))
            except (ValueError, OSError, MemoryError) as error:
                tabs.forget(path)
                said = str(error) or "there is not enough memory to open it."
                problem = said.replace(str(path), Path(path).name)  # an upload's folder says nothing to a person
                return [*show(bench, f"{WARN} {problem}"), *[gr.skip()] * 4]
            formats = list(bench.formats)
            own = f"{bench.own_prompts} and masks" if bench.own_prompts else "masks"
            shown = show(bench, f"{Path(path).name}: the network's own {own}. Click to correct them.")
            contrast = gr.update(choices=bench.contrasts, value=bench.contrast)
            return [*shown, gr.update(choices=formats, value=formats[0]), contrast, *bench.window]

    def step_on(request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:
        with tabs.working(request.session_hash, alone=False) as bench:  # it takes long, and clicks go on meanwhile
            try:
                path = bench.next_uncertain(
                    lambda done, total: progress((done, total), desc="Looking at the other cases")
                )
            except ValueError as error:
                return gr.skip(), f"{WARN} {error}"
            return str(path), f"The least certain case is {path.name}."

    def upload_case(path: str | None, request: gr.Request) -> Any:
        with tabs.working(request.session_hash) as bench:
            if not path or not tabs.may_open(path):
                return gr.skip()
            known = [*bench.files, *([] if Path(path) in bench.files else [Path(path)])]
            return gr.update(choices=[(one.name, str(one)) for one in known], value=path)

    def save_case(chosen: str, request: gr.Request) -> list[Any]:
        with tabs.working(request.session_hash) as bench:
            if not bench.is_open:
                return [gr.skip(), f"{WARN} {NOTHING}"]
            try:
                path = bench.save(chosen)
            except (ValueError, OSError) as error:
                return [gr.skip(), f"{WARN} {error}"]
            before = f"; the one before is now {bench.replaced}" if bench.replaced else ""
            return [gr.update(value=str(path), visible=True), f"Saved {path}{before}"]

    opened = [*parts.shown, parts.form, parts.contrast, parts.level, parts.width]
    parts.case.change(open_case, parts.case, opened, show_progress_on=[parts.main])
    parts.upload.upload(upload_case, parts.upload, parts.case)
    parts.following.click(step_on, None, [parts.case, parts.status], show_progress_on=[parts.status])
    parts.save.click(save_case, parts.form, [parts.saved, parts.status], show_progress="hidden")


def listen_to_view(parts: Parts, tabs: Tabs) -> None:
    """Slice, plane and grey values."""
    for control, act in (
        (parts.label, actions.choose_label),
        (parts.tool, actions.choose_tool),
        (parts.brush, actions.choose_brush),
        (parts.opacity, actions.choose_opacity),
    ):
        control.change(acting(tabs, act), control, parts.shown, show_progress="hidden")
    greys = [parts.level, parts.width]
    for slider in greys:
        slider.change(acting(tabs, actions.choose_window), greys, parts.shown, show_progress="hidden")

    def choose_contrast(name: str, request: gr.Request) -> list[Any]:
        shown = acting(tabs, actions.choose_contrast)(name, request)
        with tabs.working(request.session_hash) as bench:
            return [*shown, *bench.window]

    parts.contrast.input(choose_contrast, parts.contrast, [*parts.shown, *greys], show_progress="hidden")
    parts.place.release(acting(tabs, actions.go_to), parts.place, parts.shown, show_progress_on=[parts.main])
    parts.plane.input(acting(tabs, actions.turn_to), parts.plane, parts.shown, show_progress="hidden")


def listen_to_corrections(parts: Parts, tabs: Tabs) -> None:
    """Mouse, pen, keys, undo, redo, clear, propagate and all slices."""

    def segment_all(request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
        def tell(done: int, total: int) -> None:
            progress((done, total), desc="Encoding slices")

        return acting(tabs, lambda bench: bench.segment_all(tell))(request)

    # Versions of Gradio differ in which event a script's value causes: the first one counts.
    gr.on(
        [parts.relay.input, parts.relay.change, parts.sent.click],
        acting(tabs, actions.use_mouse),
        parts.relay,
        parts.shown,
        show_progress="hidden",
        trigger_mode="multiple",
    )
    for button, act in (
        (parts.undo, Workbench.undo),
        (parts.redo, Workbench.redo),
        (parts.clear, Workbench.clear),
    ):
        button.click(acting(tabs, act), None, parts.shown, show_progress="hidden")
    parts.propagate.click(acting(tabs, Workbench.propose), None, parts.shown, show_progress_on=[parts.status])
    parts.everything.click(segment_all, None, parts.shown, show_progress_on=[parts.status])


def acting(tabs: Tabs, act: Callable[..., str]) -> Callable[..., list[Any]]:
    """A Gradio listener, whose request comes last, from an action, whose workbench comes first."""

    def run(request: gr.Request, *values: Any) -> list[Any]:
        with tabs.working(request.session_hash) as bench:  # a browser sends the next event before the last is answered
            if not bench.is_open:
                return show(bench, NOTHING)
            try:
                message = act(bench, *values)
                return show(bench, message) if message else [gr.skip()] * SHOWN
            except (ValueError, OSError) as error:
                return show(bench, f"{WARN} {error}")

    def none(request: gr.Request) -> Any:
        return run(request)

    def one(value: Any, request: gr.Request) -> Any:
        return run(request, value)

    def two(first: Any, second: Any, request: gr.Request) -> Any:
        return run(request, first, second)

    by_arguments: dict[int, Callable[..., Any]] = {1: none, 2: one, 3: two}
    return by_arguments[act.__code__.co_argcount]


def show(bench: Workbench, message: str) -> list[Any]:
    """Values of `Parts.shown`: what a workbench shows, and the message above it."""
    if not bench.is_open:
        said = message if message.startswith(WARN) else f"{WARN} {message}"
        return [gr.skip()] * (SHOWN - 1) + [said if message else "No image is open."]
    others = bench.other_planes
    small = [gr.update(value=image_tag(bench.side_picture(name)), visible=True) for name in others]
    small += [gr.update(value="", visible=False)] * (2 - len(small))
    depth = bench.depth()
    slider = gr.update(value=bench.place, maximum=max(depth - 1, 1), visible=depth > 1, label=f"Slice (0–{depth - 1})")
    turn = gr.update(choices=bench.planes, value=bench.plane, visible=len(others) > 0)
    name = bench.session.labels[bench.label]
    tables = facts_table(bench.facts()), boxes_table(name, bench.boxes()), preview_strip(bench.previews())
    main = image_tag(bench.picture(), pixel=bench.canvas(bench.plane).scale[0] / bench.side)
    several = [gr.update(visible=bench.session.depth > 1)] * 2  # slices to propagate to, and to segment
    return [main, *small, slider, turn, *tables, legend(bench.own_prompts), *several, message]
