"""The page's markup that Gradio has no parts for: styles, the sheet of keys, and small tables."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from amsam_monai.annotate.drawing import colour

STYLE = """
.gradio-container {max-width: 1320px !important; margin: 0 auto !important; padding: 4px 12px !important;}
.gradio-container .app {padding: 4px 6px !important;}
#main-view .html-container, .side-view .html-container, #facts .html-container, #preview .html-container,
  #heading .html-container {padding: 0 !important;}
#status .html-container {padding: 2px 0 !important;}
.gradio-container .gap, .gradio-container .column, .gradio-container .row {gap: 8px !important;}
#heading {padding: 0 2px;} #heading h1 {font-size: 1.1rem; margin: 0; display: inline;}
#heading p {margin: 0 12px; opacity: .75; display: inline;}
#heading button, #preview button, #sheet button, #boxes button {padding: 0 9px; cursor: pointer;
  border: 1px solid var(--border-color-primary); border-radius: 4px; background: var(--background-fill-secondary);}
#classes .wrap, #tools .wrap, #plane .wrap {gap: 4px;}
#classes label, #tools label, #plane label {padding: 3px 7px;}
#classes, #tools, #plane, #brush {padding: 5px 8px !important;}
#main-view, .side-view {background: #11141a; border: 1px solid #2b313c !important; padding: 0 !important;
  --body-text-color: #dfe4ea; --block-background-fill: #11141a; color: #dfe4ea;}
#main-view .prose, .side-view .prose {margin: 0; max-width: none;}
#main-view img, .side-view img {margin: 0 auto !important;}
#main-view img, .side-view img {width: 100% !important; height: auto !important; object-fit: contain; display: block;
  border-radius: 6px; user-select: none; -webkit-user-drag: none; cursor: crosshair; touch-action: none;}
#main-view img {width: min(100%, max(300px, 100vh - 155px)) !important;}
#main-view {position: relative;}
#main-view .pending img:not([alt='']) {visibility: hidden;}
#drag-box {position: fixed; border: 2px dashed #56b4e9; pointer-events: none; z-index: 9;}
#stroke {position: fixed; inset: 0; width: 100vw; height: 100vh; pointer-events: none; z-index: 9;}
#brush-ring {position: fixed; border: 1px solid #fff; outline: 1px solid #000; border-radius: 50%;
  pointer-events: none; z-index: 9; transform: translate(-50%, -50%);}
#status {min-height: 2.2em; padding: 2px 10px; border-left: 3px solid #56b4e9;
  background: var(--background-fill-secondary);}
#preview {padding: 0 !important;} #preview .prose {margin: 0; max-width: none;}
#preview .strip {display: flex; gap: 6px; flex-wrap: wrap;} #preview figure {margin: 0; cursor: pointer; flex: none;}
#preview img {margin: 0; width: 72px; border-radius: 4px; display: block;}
#preview figcaption {text-align: center; font-size: .75rem;}
#preview .choice {display: flex; gap: 8px; padding: 4px 0;} #preview .choice button {padding: 2px 16px;}
#preview .choice button[data-keep=true] {background: #0072b2; color: #fff;}
#sheet {position: fixed; top: 50%; left: 50%; transform: translate(-50%, -50%); width: min(560px, 94vw);
  max-height: 92vh; overflow-y: auto; padding: 14px 18px; z-index: 1000; border-radius: 8px;
  border: 1px solid var(--border-color-primary);
  background: var(--background-fill-primary); box-shadow: 0 8px 40px #0008;}
#sheet[hidden] {display: none;} #sheet h2 {margin: 0 0 8px; font-size: 1.05rem;}
#sheet dl {display: grid; grid-template-columns: max-content 1fr; gap: 3px 14px; margin: 0 0 10px; font-size: .9rem;}
#sheet dd, #sheet dt {margin: 0;}
#facts .prose, #facts {padding: 0;}
#facts table {width: 100%; border-collapse: collapse; font-size: .85rem; border: 0 !important; margin: 0;}
#facts tr, #facts th, #facts td {border: 0 !important;}
#facts th, #facts td {text-align: left; padding: 2px 4px; vertical-align: baseline; font-size: .8rem; line-height: 1.35;
  border-bottom: 1px solid var(--border-color-primary) !important;}
#facts th {font-weight: 500; opacity: .7;} #facts td:first-child {overflow-wrap: anywhere; min-width: 4em;}
#facts td i {font-style: normal; white-space: nowrap;}
#boxes ul {list-style: none; margin: 0; padding: 0; max-height: 190px; overflow-y: auto; font-size: .85rem;}
#boxes li {display: flex; align-items: center; gap: 6px; margin: 0; padding: 1px 4px; border-radius: 4px;}
#boxes li.chosen {background: #56b4e933;} #boxes li span {flex: 1; cursor: pointer; white-space: nowrap;}
#boxes h2 {font-size: .85rem; font-weight: 500; opacity: .7; margin: 0; padding: 3px 4px;}
.swatch {display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em;}
.bar {display: inline-block; width: 2.2em; height: .55em; border-radius: 3px; background: #8884; margin-right: .4em;}
.bar i {display: block; height: 100%; border-radius: 3px; background: #009e73;} .bar i.low {background: #d55e00;}
b.low {color: #d55e00; font-weight: 600;}
.relay {display: none !important;} footer {display: none !important;}
.gradio-container hr, .gradio-container > .main > .wrap > .contain {border: 0;}
#greys .block {padding: 4px 10px;}
#legend {display: grid; grid-template-columns: 1fr 1fr; column-gap: 8px; font-size: .8rem; line-height: 1.75;}
#legend svg {display: inline-block; vertical-align: -3px; margin: 0 4px 0 0;}
kbd {border: 1px solid var(--border-color-primary); border-radius: 4px; padding: 0 5px; font-size: .8rem;}
@media (max-width: 1000px) {
  #desk {display: grid !important; grid-template-columns: 215px minmax(0, 1fr);}
  #facts th, #facts td {font-size: .72rem; padding: 2px;}
  #tools-side, #picture-side, #planes-side {min-width: 0 !important; width: auto !important;}
  #tools-side {grid-row: 1 / 3;}
  #main-view img {width: 100% !important;}
}
"""

OWN_POINTS = (
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='5' fill='none' stroke='#0072b2' stroke-width='2'/>"
    "</svg>"
    "network, inside</span>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='5' fill='none' stroke='#e13c3c' stroke-width='2'/>"
    "<path d='M0 8h16' stroke='#e13c3c' stroke-width='2'/></svg>"
    "network, outside</span>"
)
YOUR_POINTS = (
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='7' fill='#0072b2'/>"
    "<path d='M4 8h8M8 4v8' stroke='#fff' stroke-width='2'/></svg>you, inside</span>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='7' fill='#cd2828'/>"
    "<path d='M4 8h8' stroke='#fff' stroke-width='2'/></svg>you, outside</span>"
)

KEYS = (
    ("A, R", "add, remove points"),
    ("F, G", "scribble inside, outside"),
    ("L", "lasso"),
    ("B", "box"),
    ("W, E", "brush, eraser"),
    ("[ ]", "smaller, larger brush"),
    ("D", "delete a point or a box"),
    ("V", "look"),
    ("Shift", "the other way round: outside, erase; box or lasso: add or replace"),
    ("Del", "drop the chosen box"),
    ("1 … 9", "class"),
    ("↑ ↓", "slice"),
    ("P", "propagate: look first"),
    ("Enter, Esc", "keep or drop what is proposed"),
    ("Z, Y", "undo, redo"),
    ("C", "clear the class in this slice"),
    ("S", "save"),
    ("N", "go to the case that the network is least certain of"),
    ("?", "this sheet"),
)

KEY_SHEET = (
    "<div id='sheet' role='dialog' aria-label='Keys' hidden><h2>Keys</h2><dl>"
    + "".join(
        "<dt>{}</dt><dd>{}</dd>".format(
            " ".join(f"<kbd>{html.escape(key.strip(','))}</kbd>" if key != "…" else "…" for key in keys.split()),
            html.escape(does),
        )
        for keys, does in KEYS
    )
    + "</dl><button type='button' data-sheet>Close</button></div>"
)


def image_tag(picture: np.ndarray, *, pixel: float | None = None, text: str = "") -> str:
    """A picture as a tag that holds it, so that none lies on a disk.

    Args:
        picture: as it is shown.
        pixel: width of a pixel of the slice, as a fraction of the picture's; for the brush.
        text: what a picture of words says; such a picture hides while another one is on its way.

    Shape: picture (H, W, 3), uint8.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    size = "" if pixel is None else f' data-pixel="{pixel:.6f}"'
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{html.escape(text)}"{size}>'


def heading(title: str, about: str) -> str:
    """The head of the page."""
    keys = "<button type='button' data-sheet title='Keys' aria-label='Keys'>?</button>"
    return f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>{keys}"


def class_style(indices: Sequence[int]) -> str:
    """A style that gives the class buttons the colours of their masks, in the order of the buttons."""
    rules = (
        f"#classes label:nth-of-type({place}) span::before {{background: rgb{colour(index)};}}"
        for place, index in enumerate(indices, start=1)
    )
    shape = "content: ''; display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em;"
    return f"<style>#classes label span::before {{{shape}}} {' '.join(rules)}</style>"


def legend(own: str) -> str:
    """What points look like: a person's, and the network's where `own` says that it chooses points."""
    return f"<div id='legend'>{OWN_POINTS if own == 'points' else ''}{YOUR_POINTS}</div>"


def facts_table(rows: Sequence[dict[str, Any]]) -> str:
    """Classes with presence, size, and the Dice to expect or, where rows have no `error`, the predicted IoU."""
    if not rows:
        return "<p>Open an image to see what the network finds.</p>"
    lines, with_presence = [], any(row["presence"] is not None for row in rows)
    for row in rows:
        swatch = "<span class='swatch' style='background:rgb{}'></span>".format(colour(row["index"]))
        error = f" <i>± {row['error']:.2f}</i>" if row.get("error") is not None else ""
        cells = [swatch + html.escape(row["name"]), two_places(row["quality"]) + error]
        cells += [two_places(row["presence"])] * with_presence + [html.escape(row["size"])]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    told = "expected Dice" if "error" in rows[0] else "predicted IoU"
    names = ["class", told, *["presence"] * with_presence, "size"]
    head = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def preview_strip(rows: Sequence[dict[str, Any]]) -> str:
    """Small pictures of what is proposed, and buttons that keep or drop it; nothing where nothing is."""
    if not rows:
        return ""
    figures = "".join(
        f"<figure data-step='{row['step']}'>{image_tag(row['picture'])}<figcaption>{row['place']}</figcaption></figure>"
        for row in rows
    )
    buttons = (
        "<button type='button' data-keep='true'>Keep</button><button type='button' data-keep='false'>Drop</button>"
    )
    return f"<div class='strip'>{figures}</div><div class='choice'>{buttons}</div>"


def boxes_table(name: str, rows: Sequence[dict[str, Any]]) -> str:
    """The boxes of a class in the slice, each with a button that deletes it; nothing where there is none."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        points = f", {row['points']} point{'s' * (row['points'] != 1)}" if row["points"] else ""
        swatch = "<i class='swatch' style='background:rgb{}'></i>".format(colour(row["index"]))
        number, shown = row["number"], " class='chosen'" if row["chosen"] else ""
        told = f"{swatch}<b>{number}</b> {row['size']} px{points} {bar(row['quality'])}"
        button = f"<button type='button' aria-label='Delete box {number}'>×</button>"
        lines.append(f"<li{shown} data-box='{number}'><span>{told}</span>{button}</li>")
    told = ", with predicted IoU" if any(row["quality"] is not None for row in rows) else ""
    return f"<h2>Boxes of {html.escape(name)} in this slice{told}</h2><ul>{''.join(lines)}</ul>"


def bar(value: float | None) -> str:
    """A value in [0, 1] as a bar and a number."""
    if value is None or value != value:
        return two_places(value)
    share = min(max(value, 0.0), 1.0)
    low = " class='low'" if share < 0.6 else ""
    return f"<span class='bar'><i{low} style='width:{share:.0%}'></i></span>{two_places(value)}"


def two_places(value: float | None) -> str:
    """A value in [0, 1], orange where it is low; a dash where nobody tells it."""
    if value is None or value != value:
        return "–"
    share = min(max(value, 0.0), 1.0)
    return f"<b class='low'>{share:.2f}</b>" if share < 0.6 else f"{share:.2f}"
