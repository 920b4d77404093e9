"""The page's markup that Gradio has no parts for: styles, the script for mouse and keys, and small tables."""

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
.gradio-container {max-width: 1320px !important; margin: 0 auto !important; padding: 6px 14px !important;}
.gradio-container .gap, .gradio-container .column, .gradio-container .row {gap: 10px !important;}
#heading {padding: 0 2px;} #heading h1 {font-size: 1.2rem; margin: 0; display: inline;}
#heading p {margin: 0 0 0 12px; opacity: .75; display: inline;}
#classes .wrap, #tools .wrap, #plane .wrap {gap: 6px;}
#classes label, #tools label, #plane label {padding: 4px 8px;}
#main-view, .side-view {background: #11141a; border: 1px solid #2b313c !important; padding: 0 !important;}
#main-view .prose, .side-view .prose {margin: 0; max-width: none;}
#main-view img, .side-view img {margin: 0 !important;}
#main-view img, .side-view img {width: 100% !important; height: auto !important; object-fit: contain; display: block;
  border-radius: 6px; user-select: none; -webkit-user-drag: none; cursor: crosshair;}
#main-view {position: relative;}
#drag-box {position: fixed; border: 2px dashed #56b4e9; pointer-events: none; z-index: 9;}
#status {min-height: 2.2em; padding: 2px 10px; border-left: 3px solid #56b4e9;
  background: var(--background-fill-secondary);}
#facts .prose, #facts {padding: 0;}
#facts table {width: 100%; border-collapse: collapse; font-size: .85rem; border: 0 !important; margin: 0;}
#facts tr, #facts th, #facts td {border: 0 !important;}
#facts th, #facts td {text-align: left; padding: 3px 4px; white-space: nowrap;
  border-bottom: 1px solid var(--border-color-primary) !important;}
#facts th {font-weight: 500; opacity: .7;}
#boxes ul {list-style: none; margin: 0; padding: 0; max-height: 190px; overflow-y: auto; font-size: .85rem;}
#boxes li {display: flex; align-items: center; gap: 6px; margin: 0; padding: 1px 4px; border-radius: 4px;}
#boxes li.chosen {background: #56b4e933;} #boxes li span {flex: 1; cursor: pointer; white-space: nowrap;}
#boxes button {padding: 0 7px; border: 1px solid var(--border-color-primary); border-radius: 4px; cursor: pointer;}
#boxes h2 {font-size: .85rem; font-weight: 500; opacity: .7; margin: 0; padding: 3px 4px;}
.swatch {display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em;}
.bar {display: inline-block; width: 2.2em; height: .55em; border-radius: 3px; background: #8884; margin-right: .4em;}
.bar i {display: block; height: 100%; border-radius: 3px; background: #009e73;} .bar i.low {background: #d55e00;}
.relay {display: none !important;} footer {display: none !important;}
.gradio-container hr, .gradio-container > .main > .wrap > .contain {border: 0;}
#greys .block {padding: 4px 10px;}
#legend, #keys {font-size: .8rem; line-height: 1.75;}
#legend, #keys {display: grid; grid-template-columns: 1fr 1fr; column-gap: 8px;} #legend {margin-bottom: 8px;}
#legend svg {display: inline-block; vertical-align: -3px; margin: 0 4px 0 0;}
#keys kbd {border: 1px solid var(--border-color-primary); border-radius: 4px; padding: 0 5px; font-size: .8rem;}
"""

# Mouse and keys become events of hidden or visible Gradio parts; coordinates are fractions of the picture.
SCRIPT = """
() => {
  let start = null, box = null;
  const picture = (event) => {
    const view = event.target.closest('#main-view, #side-0, #side-1');
    const image = view && view.querySelector('img');
    return image ? {id: view.id, image} : null;
  };
  const place = (image, event) => {
    const frame = image.getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  };
  const send = (value) => {
    const field = document.querySelector('#relay textarea, #relay input');
    if (!field) return;
    const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set;
    set.call(field, JSON.stringify({...value, at: Date.now()}));
    field.dispatchEvent(new Event('input', {bubbles: true}));
    setTimeout(() => { const button = document.querySelector('#sent'); if (button) button.click(); }, 80);
  };
  document.addEventListener('dragstart', (event) => { if (picture(event)) event.preventDefault(); });
  document.addEventListener('mousedown', (event) => {
    const hit = event.button === 0 && event.target.tagName === 'IMG' && picture(event);
    if (!hit) return;
    event.preventDefault();
    start = {...hit, from: place(hit.image, event), x: event.clientX, y: event.clientY};
  });
  document.addEventListener('mousemove', (event) => {
    if (!start || Math.hypot(event.clientX - start.x, event.clientY - start.y) < 5) return;
    if (!box) { box = document.createElement('div'); box.id = 'drag-box'; document.body.append(box); }
    Object.assign(box.style, {
      left: Math.min(start.x, event.clientX) + 'px', top: Math.min(start.y, event.clientY) + 'px',
      width: Math.abs(start.x - event.clientX) + 'px', height: Math.abs(start.y - event.clientY) + 'px'});
  });
  document.addEventListener('mouseup', (event) => {
    if (!start) return;
    const moved = Math.hypot(event.clientX - start.x, event.clientY - start.y) >= 5;
    send({view: start.id, from: start.from, to: moved ? place(start.image, event) : null, shift: event.shiftKey});
    if (box) box.remove();
    start = box = null;
  });
  document.addEventListener('click', (event) => {
    const line = event.target.closest('#boxes [data-box]');
    if (line) send({[event.target.closest('button') ? 'drop' : 'choose']: Number(line.dataset.box)});
  });
  const keys = {z: 'undo', y: 'redo', c: 'clear', p: 'propagate', s: 'save', n: 'next'};
  const tools = {a: 0, r: 1, b: 2, d: 3, v: 4};
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input:not([type=radio]):not([type=range]), textarea, [contenteditable]');
    if (typing || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    const press = (selector) => { const part = document.querySelector(selector); if (part) part.click(); };
    if (key in keys) press('#' + keys[key]);
    else if (event.ctrlKey) return;
    else if (key in tools) press(`#tools label:nth-of-type(${tools[key] + 1}) input`);
    else if (/^[1-9]$/.test(key)) press(`#classes label:nth-of-type(${key}) input`);
    else if (key === 'delete' || key === 'backspace') send({drop: null});
    else if (key === 'arrowup' || key === 'arrowdown') send({step: key === 'arrowup' ? 1 : -1});
    else return;
    event.preventDefault();
  });
}
"""

LEGEND = (
    "<div id='legend'>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='5' fill='none' stroke='#0072b2' stroke-width='2'/>"
    "</svg>"
    "network, inside</span>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='5' fill='none' stroke='#e13c3c' stroke-width='2'/>"
    "</svg>"
    "network, outside</span>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='7' fill='#0072b2'/>"
    "<path d='M4 8h8M8 4v8' stroke='#fff' stroke-width='2'/></svg>you, inside</span>"
    "<span><svg width='16' height='16'><circle cx='8' cy='8' r='7' fill='#cd2828'/>"
    "<path d='M4 8h8' stroke='#fff' stroke-width='2'/></svg>you, outside</span></div>"
)

KEYS = (
    "<div id='keys'><span><kbd>A</kbd> add</span><span><kbd>R</kbd> remove</span>"
    "<span><kbd>B</kbd> box</span><span><kbd>D</kbd> delete</span>"
    "<span><kbd>V</kbd> look</span><span><kbd>1</kbd>…<kbd>9</kbd> class</span>"
    "<span><kbd>↑</kbd> <kbd>↓</kbd> slice</span><span><kbd>P</kbd> propagate</span>"
    "<span><kbd>Z</kbd> undo</span><span><kbd>Y</kbd> redo</span>"
    "<span><kbd>Del</kbd> drop the chosen box</span><span><kbd>Shift</kbd> box: add or replace</span>"
    "<span><kbd>C</kbd> clear</span><span><kbd>S</kbd> save</span><span><kbd>N</kbd> next</span></div>"
)


def image_tag(picture: np.ndarray) -> str:
    """A picture as a tag that holds it, so that none lies on a disk. Shape (H, W, 3), uint8."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}" alt="">'


def heading(title: str, about: str) -> str:
    """The head of the page."""
    return f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>"


def class_style(indices: Sequence[int]) -> str:
    """A style that gives the class buttons the colours of their masks, in the order of the buttons."""
    rules = (
        f"#classes label:nth-of-type({place}) span::before {{background: rgb{colour(index)};}}"
        for place, index in enumerate(indices, start=1)
    )
    shape = "content: ''; display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .45em;"
    return f"<style>#classes label span::before {{{shape}}} {' '.join(rules)}</style>"


def facts_table(rows: Sequence[dict[str, Any]]) -> str:
    """Classes with quality, presence and size."""
    if not rows:
        return "<p>Open an image to see what the network finds.</p>"
    lines = []
    for row in rows:
        swatch = "<span class='swatch' style='background:rgb{}'></span>".format(colour(row["index"]))
        cells = [swatch + html.escape(row["name"]), bar(row["quality"]), bar(row["presence"]), row["size"]]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>class</th><th>quality</th><th>presence</th><th>size</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


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
    return f"<h2>Boxes of {html.escape(name)} in this slice</h2><ul>{''.join(lines)}</ul>"


def bar(value: float | None) -> str:
    """A value in [0, 1] as a bar and a number."""
    if value is None or value != value:
        return "–"
    share = min(max(value, 0.0), 1.0)
    low = " class='low'" if share < 0.6 else ""
    return f"<span class='bar'><i{low} style='width:{share:.0%}'></i></span>{share:.2f}"
