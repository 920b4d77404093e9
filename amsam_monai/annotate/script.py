"""The page's script: mouse, pen, finger and keys become events of hidden or visible Gradio parts."""

from __future__ import annotations

import json

from amsam_monai.annotate.actions import TOOL_NAMES
from amsam_monai.annotate.pen import STROKES
from amsam_monai.session.strokes import MAX_PATH

TOOL_KEYS = {
    "a": "add",
    "r": "remove",
    "f": "scribble",
    "g": "scribble_out",
    "l": "lasso",
    "b": "box",
    "w": "brush",
    "e": "eraser",
    "d": "delete",
    "v": "look",
}

GIVEN = {"TOOLS": list(TOOL_NAMES.values()), "STROKES": list(STROKES), "KEYS": TOOL_KEYS, "MOST": MAX_PATH // 2}
CONSTANTS = ", ".join(f"{name} = {json.dumps(value)}" for name, value in GIVEN.items())

# Coordinates are fractions of the picture.
SCRIPT = (
    f"() => {{\n  const {CONSTANTS};"
    """
  let start = null, box = null, path = null, svg = null, ring = null;
  const picture = (event) => {
    const view = event.target.closest && event.target.closest('#main-view, #side-0, #side-1');
    const image = view && view.querySelector('img');
    return image ? {id: view.id, image} : null;
  };
  const tool = () => TOOLS[[...document.querySelectorAll('#tools input')].findIndex((input) => input.checked)];
  const brush = () => Number((document.querySelector('#brush input[type=number]') || {}).value || 1);
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const place = (frame, event) =>
    [round((event.clientX - frame.left) / frame.width), round((event.clientY - frame.top) / frame.height)];
  const send = (value) => {
    const field = document.querySelector('#relay textarea, #relay input');
    if (!field) return;
    const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set;
    set.call(field, JSON.stringify({...value, at: Date.now()}));
    field.dispatchEvent(new Event('input', {bubbles: true}));
    setTimeout(() => { const button = document.querySelector('#sent'); if (button) button.click(); }, 80);
  };
  const width = (image, frame) => brush() * Number(image.dataset.pixel || 0) * frame.width;
  const drawStroke = () => {
    if (!svg) {
      svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      svg.id = 'stroke';
      svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'polyline'));
      document.body.append(svg);
    }
    const wide = ['brush', 'eraser'].includes(start.tool) && start.width > 3;
    const line = svg.firstChild, ink = ['scribble_out', 'eraser'].includes(start.tool) ? '#ffffff' : '#56b4e9';
    const {left, top, width, height} = start.frame;
    line.setAttribute('points', path.map(([x, y]) => `${left + x * width},${top + y * height}`).join(' '));
    Object.assign(line.style, {
      fill: start.tool === 'lasso' ? '#56b4e933' : 'none', stroke: ink, strokeLinecap: 'round', strokeLinejoin: 'round',
      strokeWidth: (wide ? start.width : 3) + 'px', strokeOpacity: wide ? .5 : 1});
  };
  const moveRing = (event) => {
    const hit = picture(event);
    if (!hit || hit.id !== 'main-view' || !['brush', 'eraser'].includes(tool())) {
      if (ring) ring.remove();
      ring = null;
      return;
    }
    if (!ring) { ring = document.createElement('div'); ring.id = 'brush-ring'; document.body.append(ring); }
    const side = Math.max(3, width(hit.image, hit.image.getBoundingClientRect())) + 'px';
    Object.assign(ring.style, {left: event.clientX + 'px', top: event.clientY + 'px', width: side, height: side});
  };
  const end = () => {
    if (box) box.remove();
    if (svg) svg.remove();
    start = box = path = svg = null;
  };
  document.addEventListener('dragstart', (event) => { if (picture(event)) event.preventDefault(); });
  document.addEventListener('pointerdown', (event) => {
    const hit = event.isPrimary && event.button === 0 && event.target.tagName === 'IMG' && picture(event);
    if (!hit) return;
    event.preventDefault();
    const frame = hit.image.getBoundingClientRect(), from = place(frame, event);
    if (document.activeElement) document.activeElement.blur();
    start = {id: hit.id, frame, from, x: event.clientX, y: event.clientY, tool: tool(), width: width(hit.image, frame)};
    if (STROKES.includes(start.tool)) { path = [from]; drawStroke(); }
  });
  document.addEventListener('pointermove', (event) => {
    if (!event.isPrimary) return;
    moveRing(event);
    if (!start) return;
    if (path) {
      const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [], {width, height} = start.frame;
      for (const one of all.length ? all : [event]) {
        const next = place(start.frame, one), last = path[path.length - 1];
        if (Math.hypot((next[0] - last[0]) * width, (next[1] - last[1]) * height) >= 2) path.push(next);
      }
      if (path.length > MOST) path = path.filter((_, at) => at % 2 === 0 || at === path.length - 1);
      drawStroke();
      return;
    }
    if (Math.hypot(event.clientX - start.x, event.clientY - start.y) < 5) return;
    if (!box) { box = document.createElement('div'); box.id = 'drag-box'; document.body.append(box); }
    Object.assign(box.style, {
      left: Math.min(start.x, event.clientX) + 'px', top: Math.min(start.y, event.clientY) + 'px',
      width: Math.abs(start.x - event.clientX) + 'px', height: Math.abs(start.y - event.clientY) + 'px'});
  });
  document.addEventListener('pointerup', (event) => {
    if (!start || !event.isPrimary) return;
    const moved = Math.hypot(event.clientX - start.x, event.clientY - start.y) >= 5;
    const what = {view: start.id, tool: start.tool, shift: event.shiftKey};
    if (path) send({...what, path});
    else send({...what, from: start.from, to: moved ? place(start.frame, event) : null});
    end();
  });
  document.addEventListener('pointercancel', end);
  const sheet = () => { const part = document.querySelector('#sheet'); if (part) part.hidden = !part.hidden; };
  document.addEventListener('click', (event) => {
    const line = event.target.closest('#boxes [data-box]');
    if (line) send({[event.target.closest('button') ? 'drop' : 'choose']: Number(line.dataset.box)});
    const small = event.target.closest('#preview [data-step]'), choice = event.target.closest('#preview [data-keep]');
    if (small && Number(small.dataset.step)) send({step: Number(small.dataset.step)});
    if (choice) send({keep: choice.dataset.keep === 'true'});
    if (event.target.closest('[data-sheet]')) sheet();
  });
  const resize = (by) => {
    const slider = document.querySelector('#brush input[type=range]');
    if (!slider) return;
    const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(slider), 'value').set;
    set.call(slider, Number(slider.value) + by);
    slider.dispatchEvent(new Event('input', {bubbles: true}));
  };
  const keys = {z: 'undo', y: 'redo', c: 'clear', p: 'propagate', s: 'save', n: 'next'};
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input:not([type=radio]):not([type=range]), textarea, [contenteditable]');
    if (typing || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase(), open = document.querySelector('#sheet:not([hidden])');
    const proposed = document.querySelector('#preview [data-keep]');
    const press = (selector) => { const part = document.querySelector(selector); if (part) part.click(); };
    if (event.ctrlKey && !['z', 'y', 's'].includes(key)) return;
    if (key === '?' || (open && key === 'escape')) sheet();
    else if (key in keys) press('#' + keys[key]);
    else if (key in KEYS) press(`#tools label:nth-of-type(${TOOLS.indexOf(KEYS[key]) + 1}) input`);
    else if (/^[1-9]$/.test(key)) press(`#classes label:nth-of-type(${key}) input`);
    else if (key === '[' || key === ']') resize(key === ']' ? 2 : -2);
    else if (proposed && ['escape', 'enter'].includes(key) && !event.target.closest('#preview'))
      send({keep: key === 'enter'});
    else if (key === 'delete' || key === 'backspace') send({drop: null});
    else if (key === 'arrowup' || key === 'arrowdown') send({step: key === 'arrowup' ? 1 : -1});
    else return;
    event.preventDefault();
  });
}
"""
)
