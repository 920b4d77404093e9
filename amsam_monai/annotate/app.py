"""The web page, in Gradio: one workbench per browser tab, nothing from the network."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from amsam_monai.annotate.drawing import BACKDROP
from amsam_monai.annotate.page import KEYS, SCRIPT, STYLE, facts_table, heading
from amsam_monai.annotate.workbench import TOOLS, Workbench
from amsam_monai.inferers.bundle import LoadedBundle
from amsam_monai.inferers.embeddings_lru import EmbeddingLRU
from amsam_monai.inferers.session import InteractiveSession

logger = logging.getLogger(__name__)

MAX_TABS = 8
SIDE, SMALL = 720, 320
TOOL_NAMES = {
    "Add to class": "add",
    "Remove from class": "remove",
    "Box": "box",
    "Delete point": "delete",
    "Look": "look",
}
OUTSIDE = re.compile(rb"<(script|link)\b[^>]*\b(?:src|href)=\"https?://[^>]*>(?:\s*</script>)?")
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws: wss: data: blob:"


class Tabs:
    """The workbenches of open browser tabs, by Gradio's session; the least recently used are dropped.

    Args:
        bundle: the network, shared by all tabs.
        files: images to step through.
        out: where label maps go.
    """

    def __init__(self, bundle: LoadedBundle, files: Sequence[Path], out: Path) -> None:
        self.bundle, self.files, self.out = bundle, list(files), out
        self._benches: OrderedDict[str, Workbench] = OrderedDict()
        self._lock, self._network_lock = threading.Lock(), threading.Lock()
        self._cache = EmbeddingLRU()

    def bench(self, tab: str | None) -> Workbench:
        """A tab's workbench."""
        key = tab or ""
        with self._lock:
            if key not in self._benches:
                session = InteractiveSession.of_bundle(self.bundle, cache=self._cache, lock=self._network_lock)
                self._benches[key] = Workbench(session, self.files, self.out, side=SIDE)
            self._benches.move_to_end(key)
            while len(self._benches) > MAX_TABS:
                self._benches.popitem(last=False)
            return self._benches[key]


def build_page(bundle: LoadedBundle, files: Sequence[Path], out: Path) -> Any:
    """The page as gradio.Blocks.

    Args:
        bundle: as `load_bundle` gives it.
        files: images to step through; may be empty, files can be dropped on the page.
        out: folder where label maps are saved.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # also read by parts that Blocks does not tell
    tabs = Tabs(bundle, files, out)
    names = [(name, index) for index, name in bundle.labels.items()]
    choices = [(path.name, str(path)) for path in files]
    with gr.Blocks(title="amsam annotate", analytics_enabled=False) as page:
        about = str(bundle.metadata.get("name") or bundle.name)
        gr.HTML(
            heading("amsam annotate", f"{about}. Click to correct; drag for a box or to move a point."),
            elem_id="heading",
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=250):
                case = gr.Dropdown(choices, value=None, label="Case", elem_id="case", interactive=True)
                with gr.Row():
                    upload = gr.UploadButton("Open a file…", size="sm", elem_id="upload")
                    following = gr.Button("Next least certain", size="sm", elem_id="next")
                label = gr.Radio(names, value=names[0][1], label="Class", elem_id="classes")
                tool = gr.Radio(list(TOOL_NAMES.items()), value="add", label="Tool", elem_id="tools")
                with gr.Row():
                    undo = gr.Button("Undo", size="sm", elem_id="undo", min_width=60)
                    redo = gr.Button("Redo", size="sm", elem_id="redo", min_width=60)
                    clear = gr.Button("Clear", size="sm", elem_id="clear", min_width=60)
                with gr.Row():
                    propagate = gr.Button("Propagate", size="sm", elem_id="propagate", min_width=60)
                    everything = gr.Button("Segment all slices", size="sm", elem_id="everything", min_width=60)
                facts = gr.HTML(facts_table([]), elem_id="facts")
                with gr.Row():
                    form = gr.Dropdown(
                        ["NIfTI"], value="NIfTI", show_label=False, container=False, min_width=90, elem_id="form"
                    )
                    save = gr.Button("Save", variant="primary", size="sm", elem_id="save", min_width=70)
                saved = gr.File(None, label="Saved", visible=False, elem_id="saved")
            with gr.Column(scale=6, min_width=480):
                main = gr.Image(
                    blank(SIDE, "Choose a case, or open a file."),
                    show_label=False,
                    interactive=False,
                    elem_id="main-view",
                    buttons=[],
                    format="png",
                )
                place = gr.Slider(0, 1, value=0, step=1, label="Slice", elem_id="slice", visible=False, buttons=[])
                status = gr.HTML("No image is open.", elem_id="status")
                with gr.Row():
                    level = gr.Slider(0, 1, value=0.5, step=0.01, label="Level", elem_id="level", buttons=[])
                    width = gr.Slider(0.02, 2, value=1.0, step=0.01, label="Window", elem_id="window", buttons=[])
                    opacity = gr.Slider(0, 1, value=0.4, step=0.05, label="Mask opacity", elem_id="opacity", buttons=[])
                gr.HTML(KEYS)
            with gr.Column(scale=3, min_width=230):
                plane = gr.Radio(
                    ["axial", "coronal", "sagittal"], value="axial", label="Plane", elem_id="plane", visible=False
                )
                sides = [
                    gr.Image(
                        None,
                        show_label=False,
                        interactive=False,
                        elem_id=f"side-{at}",
                        elem_classes="side-view",
                        visible=False,
                        buttons=[],
                        format="png",
                    )
                    for at in range(2)
                ]
        relay = gr.Textbox(elem_id="relay", elem_classes="relay", show_label=False)
        sent = gr.Button("sent", elem_id="sent", elem_classes="relay")

        everything_shown = [main, *sides, place, plane, facts, status]

        def show(bench: Workbench, message: str) -> list[Any]:
            if not hasattr(bench, "path"):
                return [gr.skip()] * 6 + [gr.skip(), f"⚠ {message}" if message else "No image is open."]
            others = [name for name in bench.planes if name != bench.plane]
            small = [gr.update(value=bench.picture(name, SIDE), visible=True) for name in others]
            small += [gr.update(value=None, visible=False)] * (2 - len(small))
            depth = bench.depth()
            slider = gr.update(
                value=bench.place, maximum=max(depth - 1, 1), visible=depth > 1, label=f"Slice (0–{depth - 1})"
            )
            turn = gr.update(choices=bench.planes, value=bench.plane, visible=len(others) > 0)
            return [bench.picture(), *small, slider, turn, facts_table(bench.facts()), message]

        def acting(act: Callable[..., str]) -> Callable[..., list[Any]]:
            def run(request: gr.Request, *values: Any) -> list[Any]:
                bench = tabs.bench(request.session_hash)
                if not hasattr(bench, "path"):
                    return show(bench, "Open an image first.")
                try:
                    bench.message = act(bench, *values) or bench.message
                    return show(bench, bench.message)
                except (ValueError, OSError) as error:
                    return show(bench, f"⚠ {error}")

            return run

        def open_case(path: str | None, request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
            bench = tabs.bench(request.session_hash)
            if not path:
                return [*show(bench, ""), *[gr.skip()] * 3]
            progress(0.2, desc="Reading and encoding")
            try:
                bench.open(Path(path))
            except (ValueError, OSError) as error:
                return [*show(bench, f"⚠ {error}"), *[gr.skip()] * 3]
            formats = list(bench.formats)
            shown = show(bench, f"{Path(path).name}: the network's own points and masks. Click to correct them.")
            return [*shown, gr.update(choices=formats, value=formats[0]), 0.5, 1.0]

        opened = [*everything_shown, form, level, width]

        def step_on(request: gr.Request, progress: gr.Progress = gr.Progress()) -> Any:
            bench = tabs.bench(request.session_hash)
            try:
                path = bench.next_uncertain(
                    lambda done, total: progress((done, total), desc="Looking at the other cases")
                )
            except ValueError as error:
                return gr.skip(), f"⚠ {error}"
            return str(path), f"The least certain case is {path.name}."

        def upload_case(path: str | None, request: gr.Request) -> Any:
            bench = tabs.bench(request.session_hash)
            if not path:
                return gr.skip()
            known = [*bench.files, *([] if Path(path) in bench.files else [Path(path)])]
            return gr.update(choices=[(one.name, str(one)) for one in known], value=path)

        def save_case(chosen: str, request: gr.Request) -> list[Any]:
            bench = tabs.bench(request.session_hash)
            if not hasattr(bench, "path"):
                return [gr.skip(), "⚠ Open an image first."]
            try:
                path = bench.save(chosen)
            except (ValueError, OSError) as error:
                return [gr.skip(), f"⚠ {error}"]
            return [gr.update(value=str(path), visible=True), f"Saved {path}"]

        def segment_all(request: gr.Request, progress: gr.Progress = gr.Progress()) -> list[Any]:
            def run(bench: Workbench) -> str:
                return bench.segment_all(lambda done, total: progress((done, total), desc="Encoding slices"))

            return acting(run)(request)

        page.load(None, None, None, js=SCRIPT)
        if files:
            page.load(lambda: str(files[0]), None, case)
        case.change(open_case, case, opened, show_progress_on=[main])
        upload.upload(upload_case, upload, case)
        following.click(step_on, None, [case, status], show_progress_on=[status])
        label.change(acting_on(acting, choose_label), label, everything_shown, show_progress="hidden")
        tool.change(acting_on(acting, choose_tool), tool, everything_shown, show_progress="hidden")
        opacity.change(acting_on(acting, choose_opacity), opacity, everything_shown, show_progress="hidden")
        for slider in (level, width):
            slider.change(acting_on(acting, choose_window), [level, width], everything_shown, show_progress="hidden")
        place.release(acting_on(acting, go_to), place, everything_shown, show_progress_on=[main])
        plane.input(acting_on(acting, turn_to), plane, everything_shown, show_progress="hidden")
        # Versions of Gradio differ in which event a script's value causes: the first one counts.
        gr.on(
            [relay.input, relay.change, sent.click],
            acting_on(acting, use_mouse),
            relay,
            everything_shown,
            show_progress="hidden",
            trigger_mode="multiple",
        )
        undo.click(acting_on(acting, lambda bench: bench.undo()), None, everything_shown, show_progress="hidden")
        redo.click(acting_on(acting, lambda bench: bench.redo()), None, everything_shown, show_progress="hidden")
        clear.click(acting_on(acting, lambda bench: bench.clear()), None, everything_shown, show_progress="hidden")
        propagate.click(
            acting_on(acting, lambda bench: bench.propagate()), None, everything_shown, show_progress_on=[status]
        )
        everything.click(segment_all, None, everything_shown, show_progress_on=[status])
        save.click(save_case, form, [saved, status], show_progress="hidden")
    return page


def acting_on(acting: Callable[..., Any], act: Callable[..., str]) -> Callable[..., Any]:
    """A Gradio listener, whose request comes last, from an action, whose workbench comes first."""
    run = acting(act)

    def none(request: gr.Request) -> Any:
        return run(request)

    def one(value: Any, request: gr.Request) -> Any:
        return run(request, value)

    def two(first: Any, second: Any, request: gr.Request) -> Any:
        return run(request, first, second)

    by_arguments: dict[int, Callable[..., Any]] = {1: none, 2: one, 3: two}
    return by_arguments[act.__code__.co_argcount]


def choose_label(bench: Workbench, index: int) -> str:
    """Correct another class."""
    bench.label = int(index)
    return f"Clicks are for {bench.session.labels[bench.label]}."


def choose_tool(bench: Workbench, tool: str) -> str:
    """Take another tool."""
    bench.tool = tool if tool in TOOLS else "look"
    return f"Tool: {next(name for name, key in TOOL_NAMES.items() if key == bench.tool)}."


def choose_opacity(bench: Workbench, opacity: float) -> str:
    """Show masks stronger or weaker."""
    bench.opacity = float(opacity)
    return f"Mask opacity {bench.opacity:.2f}."


def choose_window(bench: Workbench, level: float, width: float) -> str:
    """Show another range of values."""
    bench.window = float(level), float(width)
    return f"Level {level:.2f}, window {width:.2f} of the range that the network sees."


def go_to(bench: Workbench, place: float) -> str:
    """Show another slice."""
    bench.go(int(place))
    return f"Slice {bench.place}."


def turn_to(bench: Workbench, plane: str) -> str:
    """Show another plane."""
    bench.turn(plane)
    return f"{plane.capitalize()} plane."


def use_mouse(bench: Workbench, message: str) -> str:
    """A click, a drag or a key from the page's script."""
    event = json.loads(message or "{}")
    if not event or event.get("at") == bench.last_event:
        return ""
    bench.last_event = event.get("at")
    if "step" in event:
        return go_to(bench, bench.place + int(event["step"]))
    others = [name for name in bench.planes if name != bench.plane]
    plane = {"main-view": bench.plane, **{f"side-{at}": name for at, name in enumerate(others)}}.get(event["view"])
    if plane is None:
        return ""
    x, y = (float(part) * SIDE for part in event["from"])
    if event.get("to") is None:
        return bench.click(plane, x, y)
    return bench.drag(plane, (x, y), (float(event["to"][0]) * SIDE, float(event["to"][1]) * SIDE))


def blank(side: int, text: str) -> np.ndarray:
    """An empty view that says what to do."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (side, side), BACKDROP)
    font = ImageFont.load_default(22)
    pen = ImageDraw.Draw(picture)
    pen.text((side / 2, side / 2), text, fill=(170, 178, 190), font=font, anchor="mm")
    return np.asarray(picture)


class NothingOutside:
    """ASGI middleware: pages without tags that load from other hosts, and a policy that forbids it.

    Args:
        app: the application that it wraps.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on; HTML answers are collected, mended and sent at once."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        held: dict[str, Any] = {}

        async def mend(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [(key, value) for key, value in message["headers"]]
                if any(key.lower() == b"content-type" and value.startswith(b"text/html") for key, value in headers):
                    held.update(start=message, headers=headers, body=b"")
                    return
            elif held:
                held["body"] += message.get("body", b"")
                if message.get("more_body"):
                    return
                body = OUTSIDE.sub(b"", held["body"])
                drop = (b"content-length", b"content-encoding")
                headers = [(key, value) for key, value in held["headers"] if key.lower() not in drop]
                headers += [(b"content-length", str(len(body)).encode()), (b"content-security-policy", POLICY.encode())]
                await send({**held["start"], "headers": headers})
                held.clear()
                await send({"type": "http.response.body", "body": body})
                return
            await send(message)

        await self.app(scope, receive, mend)


def serve(page: Any, *, host: str = "127.0.0.1", port: int = 7860, allowed: Sequence[Path] = ()) -> None:
    """Serve the page until interrupted.

    Args:
        page: what `build_page` gave.
        host: address to listen on.
        port: port.
        allowed: folders whose files the page may hand out, the output folder.
    """
    import uvicorn
    from fastapi import FastAPI

    theme = gr.themes.Base(
        primary_hue="sky",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    page.queue(default_concurrency_limit=4)
    app = gr.mount_gradio_app(
        FastAPI(), page, path="/", allowed_paths=[str(folder) for folder in allowed], css=STYLE, theme=theme,
        show_error=True, footer_links=[],
    )  # fmt: skip
    logger.info("amsam annotate on http://%s:%d", host, port)
    uvicorn.run(NothingOutside(app), host=host, port=port, log_level="warning")
