"use strict";
// The table of runs: a click on a header sorts it, a text narrows it.
const body = document.querySelector("#runs tbody");
const filter = document.querySelector("#runs input");
const rows = [...body.rows];

// Numbers by value, texts by their numbers ("seed 8" before "seed 16"); what is missing comes last.
function compare(a, b, sign) {
  if (a === "–" || b === "–") return (a === "–") - (b === "–");
  const [x, y] = [a, b].map((text) => Number(text.replaceAll(",", "")));
  return sign * (x - y || (isNaN(x - y) && a.localeCompare(b, "en", { numeric: true })));
}

for (const header of document.querySelectorAll("#runs thead th")) {
  const button = document.createElement("button");
  button.append(...header.childNodes);
  header.append(button);
  button.addEventListener("click", () => {
    const sign = header.ariaSort === "ascending" ? -1 : 1;
    for (const other of header.parentNode.cells) other.ariaSort = null;
    header.ariaSort = sign > 0 ? "ascending" : "descending";
    const text = (row) => row.cells[header.cellIndex].textContent.trim();
    body.append(...rows.sort((a, b) => compare(text(a), text(b), sign)));
  });
}

filter.addEventListener("input", () => {
  const parts = filter.value.toLowerCase().split(/\s+/);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !parts.every((part) => text.includes(part));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.querySelector("#runs output").textContent = `${shown} of ${rows.length}`;
});
