"use strict";
// What every page does: a remark on what is pointed at, tables that sort, all of it open in print.
const byId = (id) => document.getElementById(id);

function showTip(event, lines) {
  const tip = byId("tip");
  tip.hidden = lines.length === 0;
  if (tip.hidden) return;
  tip.replaceChildren(...lines.map((line) => {
    const row = document.createElement("div");
    row.textContent = line;
    return row;
  }));
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - tip.offsetWidth - 8);
  tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
  tip.style.top = `${event.clientY + 14 + window.scrollY}px`;
}

function remark(event) {
  if (event.target.tagName === "CANVAS") return;
  const place = event.target.closest("[data-tip]");
  showTip(event, place && place.dataset.tip ? [place.dataset.tip] : []);
}

function sortBy(heading) {
  const rows = [...heading.closest("table").tBodies[0].rows];
  const column = heading.cellIndex;
  const text = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.replaceAll(",", "");
  const numeric = rows.every((row) => text(row) === "–" || !Number.isNaN(Number(text(row))));
  const up = heading.getAttribute("aria-sort") === (numeric ? "descending" : null);
  const worth = (row) => (text(row) === "–" ? -Infinity : Number(text(row)));
  rows.sort((a, b) => (numeric ? worth(a) - worth(b) : text(a).localeCompare(text(b))));
  const ascending = numeric ? up : heading.getAttribute("aria-sort") !== "ascending";
  if (!ascending) rows.reverse();
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  heading.closest("table").tBodies[0].append(...rows);
}

document.addEventListener("pointermove", remark);
document.addEventListener("pointerdown", remark);
for (const heading of document.querySelectorAll("th[data-sort]")) {
  heading.tabIndex = 0;
  heading.addEventListener("click", () => sortBy(heading));
  heading.addEventListener("keydown", (event) => { if (event.key === "Enter") sortBy(heading); });
}
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
