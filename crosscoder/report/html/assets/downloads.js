"use strict";
// Downloads: the list as CSV, and the notes as JSON.

function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** One cell of a CSV file; texts that a spreadsheet would take for a formula are quoted with an apostrophe. */
function csvCell(value) {
  if (value === undefined || Number.isNaN(value)) return "";
  if (typeof value === "number") return String(value);
  const text = Array.isArray(value) ? value.join(" ") : String(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

/** All columns of the rows of the list, in its order. */
function listAsCsv() {
  const names = [...columnNames, "note"];
  const lines = [names.map(csvCell).join(",")];
  for (const row of order) lines.push(names.map((name) => csvCell(has(name) ? column(name)[row] : notes[latents[row]])).join(","));
  return `${lines.join("\r\n")}\r\n`;
}

function startDownloads() {
  document.getElementById("csv").addEventListener("click", () => download("latents.csv", "text/csv", listAsCsv()));
  const content = () => JSON.stringify({ crosscoder: about.crosscoder, notes }, null, 2);
  document.getElementById("export-notes").addEventListener("click", () => download("notes.json", "application/json", content()));
  showNoteCount();
}
