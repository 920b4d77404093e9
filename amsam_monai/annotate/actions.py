"""What the page's controls do to a workbench; each says in words what happened."""

from __future__ import annotations

import json
from typing import Any

from amsam_monai.annotate.pen import STROKES, TOOLS
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.session.strokes import MAX_PATH

MAX_STEP = 100_000  # slices
MAX_EVENT = 200_000  # characters; a stroke of as many places as there may be has fewer
TOOL_NAMES = {
    "Add": "add",
    "Remove": "remove",
    "Scribble": "scribble",
    "Scribble outside": "scribble_out",
    "Lasso": "lasso",
    "Box": "box",
    "Brush": "brush",
    "Eraser": "eraser",
    "Delete": "delete",
    "Look": "look",
}


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


def choose_brush(bench: Workbench, size: float) -> str:
    """Take a brush of another size."""
    bench.choose_brush(float(size))
    return f"Brush of {bench.brush} pixels."


def choose_contrast(bench: Workbench, name: str) -> str:
    """Show another range of values, or one that is named.

    Raises:
        ValueError: the open image has no such contrast.
    """
    bench.choose_contrast(name)
    return f"Contrast: {name}."


def choose_window(bench: Workbench, level: float, width: float) -> str:
    """Show another part of the contrast's range; says nothing where it is shown already, as after a contrast."""
    if bench.window == (float(level), float(width)):
        return ""
    bench.window = float(level), float(width)
    return f"Level {level:.2f}, window {width:.2f} of the contrast's range."


def go_to(bench: Workbench, place: float) -> str:
    """Show another slice."""
    bench.go(int(place))
    return f"Slice {bench.place}."


def turn_to(bench: Workbench, plane: str) -> str:
    """Show another plane."""
    bench.turn(plane)
    return f"{plane.capitalize()} plane."


def use_mouse(bench: Workbench, message: str) -> str:
    """A click, a drag, a stroke or a key from the page's script.

    Raises:
        ValueError: it is none of these.
    """
    event = event_of(message)
    if not event or event.get("at") == bench.last_event:
        return ""
    bench.last_event = event.get("at")
    if "step" in event:
        return go_to(bench, bench.place + event["step"])
    if "choose" in event:
        return bench.choose_box(event["choose"] - 1)
    if "drop" in event:
        return bench.remove_box(None if event["drop"] is None else event["drop"] - 1)
    if "keep" in event:
        return bench.keep() if event["keep"] else bench.drop()
    if event.get("tool") in TOOLS:  # as it was when the person drew, whichever event comes first
        bench.tool = event["tool"]
    others = bench.other_planes
    plane = {"main-view": bench.plane, **{f"side-{at}": name for at, name in enumerate(others)}}.get(event["view"])
    if plane is None:
        return ""
    if "path" in event:
        path = [bench.on_screen(plane, *place) for place in event["path"]]
        return bench.stroke(plane, path, other=bool(event.get("shift"))) if bench.tool in STROKES else ""
    start = bench.on_screen(plane, *event["from"])
    if event.get("to") is None:
        return bench.click(plane, *start)
    end = bench.on_screen(plane, *event["to"])
    return bench.drag(plane, start, end, other=bool(event.get("shift")))


def event_of(message: str) -> dict[str, Any]:
    """What the script sent: {"step": 1}, or {"view": ..., "from": [x, y], "to": [x, y] or None}, and "at".

    Of a stroke {"view": ..., "path": [[x, y], ...]}; of the list of boxes {"choose": 2} or {"drop": 2}, where None is
    the chosen one; of a preview {"keep": true or false}.

    Raises:
        ValueError: it is none of these, or more than a stroke may be.
    """
    if len(message or "") > MAX_EVENT:
        count = len(message)
        raise ValueError(f"an event must have at most {MAX_EVENT} characters, got {count}; draw shorter strokes.")
    try:
        event = json.loads(message or "{}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"an event must be JSON ({error}).") from error
    if not isinstance(event, dict):
        raise ValueError(f"an event must be a JSON object, got {str(event)[:80]}.")
    for name in {"choose", "drop"} & event.keys():
        number = event[name]
        if isinstance(number, bool) or not (isinstance(number, int) or (name == "drop" and number is None)):
            raise ValueError(f"{name} must be the number of a box, got {str(number)[:80]}.")
        return event
    if "keep" in event:
        if not isinstance(event["keep"], bool):
            raise ValueError(f"keep must be true or false, got {str(event['keep'])[:80]}.")
        return event
    if "path" in event:
        return _checked_stroke(event)
    if event and "step" not in event and not (isinstance(event.get("view"), str) and _is_place(event.get("from"))):
        raise ValueError("an event must have a step, or a view and a place, got neither.")
    if event.get("to") is not None and not _is_place(event["to"]):
        raise ValueError("the end of a drag must be a place (x, y).")
    if "step" in event and (not isinstance(event["step"], int) or abs(event["step"]) > MAX_STEP):
        raise ValueError(f"a step must be a whole number of at most {MAX_STEP}.")
    return event


def _checked_stroke(event: dict[str, Any]) -> dict[str, Any]:
    path = event["path"]
    if not isinstance(path, list) or not 1 <= len(path) <= MAX_PATH:
        count = len(path) if isinstance(path, list) else "none"
        raise ValueError(f"a stroke must have 1 to {MAX_PATH} places, got {count}; draw it in shorter parts.")
    if not isinstance(event.get("view"), str) or not all(_is_place(place) for place in path):
        raise ValueError("a stroke must have a view and places (x, y).")
    return event


def _is_place(value: Any) -> bool:
    """Whether this is (x, y) in fractions of a picture, a little beside it at most."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 10 for one in value)
    )
