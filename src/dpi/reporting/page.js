"use strict";
// The runs: each is a <tbody> of two rows, its line and its details.
const table = document.querySelector("#runs table");
const filter = document.querySelector("#filter");
const runs = [...table.tBodies];

function show(run, open) {
  run.rows[1].hidden = !open;
  run.querySelector("button").setAttribute("aria-expanded", open);
}

function value(run, column) {
  const cell = run.rows[0].cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
}

// Numbers by value, texts by their numbers ("seed 8" before "seed 16"); what is missing comes last.
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = a - b;
  return sign * (isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference);
}

function sort(header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const column = header.cellIndex;
  const sign = descending ? -1 : 1;
  runs.sort((a, b) => compare(value(a, column), value(b, column), sign));
  table.append(...runs);
}

function narrow() {
  const parts = filter.value.toLowerCase().split(/\s+/);
  for (const run of runs) {
    const text = run.rows[0].textContent.toLowerCase();
    run.hidden = !parts.every((part) => text.includes(part));
  }
  const shown = runs.filter((run) => !run.hidden).length;
  document.querySelector("#count").textContent = `${shown} of ${runs.length}`;
}

// A seed in a table is a link to its run.
function follow() {
  const run = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!runs.includes(run)) return;
  run.hidden = false;
  show(run, true);
  run.scrollIntoView();
}

for (const run of runs) {
  const button = run.querySelector("button");
  button.addEventListener("click", () => show(run, button.getAttribute("aria-expanded") !== "true"));
}
for (const header of table.tHead.rows[0].cells) {
  header.querySelector("button").addEventListener("click", () => sort(header));
}
filter.addEventListener("input", narrow);
addEventListener("hashchange", follow);
narrow();
follow();
