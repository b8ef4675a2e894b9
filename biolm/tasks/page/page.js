"use strict";
// Draws every map of the chosen cells on canvas, coloured by the chosen annotation.
// data: { datasets: [{ name, cells: [..], views: [{ name, note, x: [..], y: [..] }],
//                      columns: [{ name, levels: [..] | null, slots: [..], values: [..] }] }],
//         colours: [..], scale: [..] }; x and y lie between 0 and 1, values are level numbers or numbers,
//         slots say which colour and shape a level has.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { dataset: data.datasets[0], column: null, only: null, canvases: [] };
const MARGIN = 0.04;

function option(select, text, value) {
  const item = document.createElement("option");
  item.textContent = text;
  item.value = value;
  select.append(item);
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
  const finite = values.filter((v) => v !== null);
  return finite.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
}

function colourOf(column) {
  if (column.levels) return (v) => (v === null ? "#bbbbbb" : data.colours[column.slots[v] % data.colours.length]);
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

function place(view, i, size) {
  const room = size * (1 - 2 * MARGIN);
  return [size * MARGIN + view.x[i] * room, size * (1 - MARGIN) - view.y[i] * room];
}

function draw() {
  const { column, only } = state;
  const colour = colourOf(column);
  for (const { canvas, view } of state.canvases) {
    const size = canvas.clientWidth;
    const density = Math.max(window.devicePixelRatio || 1, 2);
    canvas.width = canvas.height = Math.round(size * density);
    const pen = canvas.getContext("2d");
    pen.scale(density, density);
    const radius = Math.max(2, Math.min(4.5, size / Math.sqrt(view.x.length) / 6));
    const faded = (i) => only !== null && column.values[i] !== only;
    const order = view.x.map((_, i) => i).sort((a, b) => faded(b) - faded(a) || a - b);
    for (const i of order) {
      pen.globalAlpha = faded(i) ? 0.5 : 0.85;
      pen.fillStyle = faded(i) ? "#d5d9de" : colour(column.values[i]);
      const [x, y] = place(view, i, size);
      shape(pen, column.levels && column.values[i] !== null ? column.slots[column.values[i]] % 3 : 0, x, y, radius);
    }
  }
}

function swatch(slot) {
  const paths = ['<circle cx="5" cy="5" r="4"/>', '<rect x="1.2" y="1.2" width="7.6" height="7.6"/>',
    '<path d="M5 .6 9.6 9H.4z"/>'];
  const holder = document.createElement("span");
  holder.innerHTML = `<svg viewBox="0 0 10 10" fill="${data.colours[slot % data.colours.length]}" aria-hidden="true">${paths[slot % 3]}</svg>`;
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
  column.levels.forEach((name, level) => {
    const count = column.values.filter((v) => v === level).length;
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(swatch(column.slots[level]), `${name} · ${count}`);
    button.addEventListener("click", () => {
      state.only = state.only === level ? null : level;
      for (const other of box.children) other.setAttribute("aria-pressed", String(other === button && state.only !== null));
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

function point(event, canvas, view) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = -1;
  let nearest = 14 ** 2;
  for (let i = 0; i < view.x.length; i++) {
    const [px, py] = place(view, i, box.width);
    const distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < nearest) [best, nearest] = [i, distance];
  }
  const tip = byId("tip");
  tip.hidden = best < 0;
  if (best < 0) return;
  tip.replaceChildren(...describe(best).map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  }));
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
  tip.style.top = `${event.clientY + 14 + window.scrollY}px`;
}

function showColumn(name) {
  state.column = state.dataset.columns.find((column) => column.name === name) || state.dataset.columns[0];
  state.only = null;
  byId("column").value = state.column.name;
  byId("shown").textContent = `${state.dataset.name}, coloured by ${state.column.name}`;
  legend();
  draw();
}

function showDataset(index) {
  state.dataset = data.datasets[index];
  const wanted = state.column ? state.column.name : "";
  byId("column").replaceChildren();
  for (const column of state.dataset.columns) option(byId("column"), column.name, column.name);
  const views = byId("views");
  views.replaceChildren();
  state.canvases = state.dataset.views.map((view) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const note = document.createElement("small");
    note.textContent = ` ${view.note}`;
    caption.append(view.name, note);
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Map of ${view.x.length} cells of ${state.dataset.name} by ${view.name}`);
    canvas.addEventListener("pointermove", (event) => point(event, canvas, view));
    canvas.addEventListener("pointerdown", (event) => point(event, canvas, view));
    canvas.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
    figure.append(caption, canvas);
    views.append(figure);
    return { canvas, view };
  });
  showColumn(wanted);
}

data.datasets.forEach((dataset, index) => option(byId("dataset"), dataset.name, index));
byId("dataset").addEventListener("change", (event) => showDataset(Number(event.target.value)));
byId("column").addEventListener("change", (event) => showColumn(event.target.value));
window.addEventListener("resize", draw);
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  draw();
});
for (const hidden of document.querySelectorAll(".controls, .hint")) hidden.hidden = false;
showDataset(0);
