// Draws every map of the chosen cells on canvas, coloured by the chosen annotation.
// data: { datasets: [{ name, note, cells: [..], views: [{ name, note, x, y }],
//                      columns: [{ name, levels: [..], slots: [..], values } | { name, levels: null, low, step, values }] }],
//         colours: [..], dark: [..], scale: [..] }
// x, y: base64 of 16-bit numbers, 65535 the far edge; values: base64 of 8-bit level numbers (255 missing)
// or of 16-bit codes (65535 missing, else low + step * code); slots say which colour and shape a level has.
const data = JSON.parse(byId("data").textContent);
const state = { dataset: null, column: null, only: new Set(), canvases: [], printing: false };
const MARGIN = 0.04;
const MANY = 20000;
const night = window.matchMedia("(prefers-color-scheme: dark)");

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function words(text) {
  const view = new DataView(bytes(text).buffer);
  return Array.from({ length: view.byteLength / 2 }, (_, i) => view.getUint16(2 * i, true));
}

// Unpacks a set of cells the first time it is shown.
function unpack(dataset) {
  if (dataset.open) return dataset;
  for (const view of dataset.views) for (const axis of ["x", "y"]) view[axis] = words(view[axis]).map((v) => v / 65535);
  for (const column of dataset.columns) {
    column.values = column.levels
      ? Array.from(bytes(column.values), (v) => (v === 255 ? null : v))
      : words(column.values).map((v) => (v === 65535 ? null : column.low + column.step * v));
  }
  dataset.open = true;
  return dataset;
}

function option(select, text, value) {
  const item = document.createElement("option");
  item.textContent = text;
  item.value = value;
  select.append(item);
}

function palette() {
  return night.matches && !state.printing ? data.dark : data.colours;
}

function blend(share) {
  const last = data.scale.length - 1;
  const place = Math.min(Math.max(share, 0), 1) * last;
  const left = Math.min(Math.floor(place), last - 1);
  const channel = (i) => {
    const [a, b] = [data.scale[left], data.scale[left + 1]].map((c) => parseInt(c.slice(1 + 2 * i, 3 + 2 * i), 16));
    return Math.round(a + (b - a) * (place - left));
  };
  return `rgb(${channel(0)},${channel(1)},${channel(2)})`;
}

function range(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) if (v !== null) [low, high] = [Math.min(low, v), Math.max(high, v)];
  return high < low ? [null, null] : [low, high];
}

function colourOf(column) {
  const colours = palette();
  if (column.levels) return (v) => (v === null ? "#bbbbbb" : colours[column.slots[v] % colours.length]);
  const [low, high] = range(column.values);
  return (v) => (v === null ? "#bbbbbb" : blend((v - low) / (high - low || 1)));
}

// Three shapes in turn, so that a type can be told without its colour.
function shape(pen, kind, x, y, r) {
  pen.beginPath();
  if (kind === 0) pen.arc(x, y, r, 0, 7);
  else if (kind === 1) pen.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
  else { pen.moveTo(x, y - 1.2 * r); pen.lineTo(x + 1.1 * r, y + 0.9 * r); pen.lineTo(x - 1.1 * r, y + 0.9 * r); pen.closePath(); }
  pen.fill();
}

// The part of the map that is shown: corner and side in the unit square.
function place(item, i, size) {
  const { view, part } = item;
  const room = size * (1 - 2 * MARGIN);
  return [
    size * MARGIN + ((view.x[i] - part.x) / part.side) * room,
    size * (1 - MARGIN) - ((view.y[i] - part.y) / part.side) * room,
  ];
}

function drawOne(item, colour, faded) {
  const { column } = state;
  const { canvas, view } = item;
  const size = canvas.clientWidth;
  const density = Math.max(window.devicePixelRatio || 1, 2);
  canvas.width = canvas.height = Math.round(size * density);
  const pen = canvas.getContext("2d");
  pen.scale(density, density);
  const count = view.x.length * item.part.side ** 2;
  const radius = Math.max(count > MANY ? 1 : 2, Math.min(4.5, size / Math.sqrt(count) / 6));
  const grey = getComputedStyle(document.documentElement).getPropertyValue("--faded");
  for (const behind of [true, false]) {
    pen.globalAlpha = behind ? 0.5 : 0.85;
    for (let i = 0; i < view.x.length; i++) {
      const value = column.values[i];
      if (faded(value) !== behind) continue;
      const [x, y] = place(item, i, size);
      if (x < -5 || y < -5 || x > size + 5 || y > size + 5) continue;
      pen.fillStyle = behind ? grey : colour(value);
      if (count > MANY) pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      else shape(pen, column.levels && value !== null ? column.slots[value] % 3 : 0, x, y, radius);
    }
  }
}

function draw() {
  const colour = colourOf(state.column);
  const faded = (value) => state.only.size > 0 && !state.only.has(value);
  for (const item of state.canvases) drawOne(item, colour, faded);
  byId("whole").hidden = state.canvases.every((item) => item.part.side === 1);
}

function swatch(slot) {
  const paths = ['<circle cx="5" cy="5" r="4"/>', '<rect x="1.2" y="1.2" width="7.6" height="7.6"/>',
    '<path d="M5 .6 9.6 9H.4z"/>'];
  const holder = document.createElement("span");
  holder.innerHTML = `<svg viewBox="0 0 10 10" class="f${slot % data.colours.length}" aria-hidden="true">${paths[slot % 3]}</svg>`;
  return holder.firstChild;
}

function number(v) {
  return v === null ? "none" : Number.isInteger(v) ? v.toLocaleString("en") : v.toPrecision(3);
}

function legend() {
  const box = byId("legend");
  box.replaceChildren();
  const { column } = state;
  if (!column.levels) {
    const [low, high] = range(column.values);
    const row = document.createElement("div");
    row.className = "scale";
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.background = `linear-gradient(90deg, ${data.scale.join(",")})`;
    row.append(number(low), bar, number(high));
    box.append(row);
    return;
  }
  const counts = new Array(column.levels.length).fill(0);
  for (const v of column.values) if (v !== null) counts[v] += 1;
  column.levels.forEach((name, level) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(swatch(column.slots[level]), `${name} · ${counts[level].toLocaleString("en")}`);
    button.addEventListener("click", () => {
      if (!state.only.delete(level)) state.only.add(level);
      button.setAttribute("aria-pressed", String(state.only.has(level)));
      draw();
    });
    box.append(button);
  });
}

function describe(i) {
  const lines = state.dataset.columns.map((column) => {
    const value = column.values[i];
    return `${column.name}: ${column.levels && value !== null ? column.levels[value] : number(value)}`;
  });
  return [state.dataset.cells[i], ...lines];
}

function point(event, item) {
  const box = item.canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = -1;
  let nearest = 14 ** 2;
  for (let i = 0; i < item.view.x.length; i++) {
    const [px, py] = place(item, i, box.width);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < nearest) [best, nearest] = [i, distance];
  }
  showTip(event, best < 0 ? [] : describe(best));
}

// Enlarges the square around the dragged box, in the unit square of the map.
function enlarge(item, from, to, size) {
  const room = size * (1 - 2 * MARGIN);
  const unit = ([x, y]) => [
    item.part.x + ((x - size * MARGIN) / room) * item.part.side,
    item.part.y + ((size * (1 - MARGIN) - y) / room) * item.part.side,
  ];
  const [[ax, ay], [bx, by]] = [unit(from), unit(to)];
  const side = Math.max(Math.abs(ax - bx), Math.abs(ay - by), 0.005);
  item.part = { x: (ax + bx - side) / 2, y: (ay + by - side) / 2, side };
  draw();
}

function allowDragging(item, figure) {
  const { canvas } = item;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    point(event, item);
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    const from = at(event);
    const mark = document.createElement("div");
    mark.id = "box";
    const move = (more) => {
      const to = at(more);
      byId("tip").hidden = true;
      figure.append(mark);
      mark.style.left = `${canvas.offsetLeft + Math.min(from[0], to[0])}px`;
      mark.style.top = `${canvas.offsetTop + Math.min(from[1], to[1])}px`;
      mark.style.width = `${Math.abs(to[0] - from[0])}px`;
      mark.style.height = `${Math.abs(to[1] - from[1])}px`;
    };
    const up = (last) => {
      window.removeEventListener("pointermove", move);
      mark.remove();
      const to = at(last);
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) > 12) enlarge(item, from, to, canvas.clientWidth);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", up, { once: true });
  });
  canvas.addEventListener("pointermove", (event) => { if (event.buttons === 0) point(event, item); });
  canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
  canvas.addEventListener("dblclick", whole);
}

function whole() {
  for (const item of state.canvases) item.part = { x: 0, y: 0, side: 1 };
  draw();
}

function showColumn(name) {
  state.column = state.dataset.columns.find((column) => column.name === name) || state.dataset.columns[0];
  state.only.clear();
  byId("column").value = state.column.name;
  byId("shown").textContent = `${state.dataset.name}, coloured by ${state.column.name}`;
  legend();
  draw();
}

function addView(view) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const note = document.createElement("small");
  note.textContent = ` ${view.note}`;
  caption.append(view.name, note);
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Map of ${view.x.length} cells of ${state.dataset.name} by ${view.name}`);
  figure.append(caption, canvas);
  byId("views").append(figure);
  const item = { canvas, view, part: { x: 0, y: 0, side: 1 } };
  allowDragging(item, figure);
  return item;
}

function showDataset(index) {
  state.dataset = unpack(data.datasets[index]);
  const wanted = state.column ? state.column.name : "";
  byId("column").replaceChildren();
  for (const column of state.dataset.columns) option(byId("column"), column.name, column.name);
  byId("remark").textContent = state.dataset.note;
  byId("remark").hidden = !state.dataset.note;
  byId("views").replaceChildren();
  state.canvases = state.dataset.views.map(addView);
  showColumn(wanted);
}

data.datasets.forEach((dataset, index) => option(byId("dataset"), dataset.name, index));
byId("dataset").addEventListener("change", (event) => showDataset(Number(event.target.value)));
byId("column").addEventListener("change", (event) => showColumn(event.target.value));
byId("whole").addEventListener("click", whole);
window.addEventListener("resize", draw);
night.addEventListener("change", draw);
for (const [name, printing] of [["beforeprint", true], ["afterprint", false]]) {
  window.addEventListener(name, () => { state.printing = printing; draw(); });
}
for (const hidden of document.querySelectorAll(".controls, .hint")) hidden.hidden = false;
byId("dataset").parentNode.hidden = data.datasets.length < 2;
showDataset(0);
