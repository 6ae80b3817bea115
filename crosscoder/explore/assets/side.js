// Latents at the side: those of the prompt, or before anything was read those that differ most.

import { colourButton } from "./colours.js";
import { addEdit } from "./edits.js";
import { editButton, line } from "./latent.js";
import { readings } from "./readings.js";

const N_TOP = 16; // latents
const $ = (id) => document.getElementById(id);
let order = "writes";

/** Draw the list. */
export function showTop() {
  const reading = readings.first;
  $("order").hidden = !reading;
  $("top-title").textContent = reading ? "Latents of this prompt" : "Latents that differ most";
  if (!reading) return showTable();
  $("top").title = order === "writes" ? "Mean activation on your text, times the norm of the difference of its two decoders" : "Mean activation on your text";
  const rows = [...reading.summary].sort((a, b) => b[order] - a[order]).slice(0, N_TOP);
  const full = Math.max(...rows.map((row) => row[order]));
  $("top").replaceChildren(...rows.map((row) => line(row.latent, { value: row[order], full }, colourButton(row.latent), editButton(row.latent, addEdit))));
}

function showTable() {
  if (!about.scores.length) return;
  const [{ column: score, style, meaning }] = about.scores;
  const values = column(score);
  $("top").title = meaning;
  const rows = Array.from(latents.keys()).filter((row) => !Number.isNaN(values[row]));
  rows.sort((a, b) => values[b] - values[a]);
  $("top").replaceChildren(...rows.slice(0, N_TOP).map((row) => line(latents[row], { value: values[row], full: values[rows[0]], style }, editButton(latents[row], addEdit))));
}

$("order").addEventListener("click", ({ target }) => {
  if (!target.dataset.order) return;
  order = target.dataset.order;
  for (const button of $("order").children) button.setAttribute("aria-pressed", String(button === target));
  showTop();
});
$("other").addEventListener("submit", (event) => {
  event.preventDefault();
  const latent = $("other-latent").valueAsNumber;
  if (rowOf.has(latent)) addEdit(latent);
});
