// Chosen latents with their factors, and the positions at which they are edited.

import { label, link, sign } from "./latent.js";

const list = document.getElementById("edits");
const positions = document.getElementById("positions");
const nFirst = document.getElementById("n-first");
const { models } = readJson("settings");
const edits = new Map(); // latent → { factor, on }
const listeners = new Set();

/** Call a function after every change. */
export function onEdit(listener) {
  listeners.add(listener);
}

/** What the server reads. */
export function getEdits() {
  const chosen = positions.value === "first" ? `first-${nFirst.value}` : positions.value;
  return { latents: Array.from(edits, ([latent, { factor, on }]) => ({ latent, factor, on })), positions: chosen };
}

export function setEdits(content) {
  edits.clear();
  for (const { latent, factor, on } of content.latents) edits.set(latent, { factor, on });
  const first = /^first-(\d+)$/.exec(content.positions);
  positions.value = first ? "first" : content.positions;
  if (first) nFirst.value = first[1];
  draw();
}

/** Ablate a latent in both models; one that is chosen already stays as it is. */
export function addEdit(latent) {
  if (!rowOf.has(latent)) return;
  if (!edits.has(latent)) edits.set(latent, { factor: 0, on: "both" });
  draw();
  list.querySelector(`[data-latent="${latent}"] input[type=range]`)?.focus();
}

export const isEdited = (latent) => edits.has(latent);

/** Say in words what a factor does. */
function explain(factor) {
  if (factor === 0) return "ablated";
  if (factor === 1) return "unchanged";
  return factor < 0 ? "reversed" : factor < 1 ? "weaker" : "stronger";
}

function drawEdit([latent, edit]) {
  const says = h("span", { class: "says" }, explain(edit.factor));
  const number = h("input", { type: "number", min: -4, max: 4, step: 0.25, value: edit.factor, "aria-label": `Factor of latent ${latent}` });
  const range = h("input", { type: "range", min: -4, max: 4, step: 0.25, value: edit.factor, "aria-label": `Factor of latent ${latent}, as a slider` });
  const take = (value) => {
    if (!Number.isFinite(value)) return;
    edit.factor = Math.max(-4, Math.min(4, value));
    number.value = range.value = edit.factor;
    says.textContent = explain(edit.factor);
    notify();
  };
  range.addEventListener("input", () => take(range.valueAsNumber));
  number.addEventListener("change", () => take(number.valueAsNumber));
  const on = h("select", { "aria-label": `Model in which latent ${latent} is edited` }, ["both", ...models].map((name) => h("option", { value: name, selected: edit.on === name }, name === "both" ? "both models" : name)));
  on.addEventListener("change", () => {
    edit.on = on.value;
    notify();
  });
  const remove = h("button", { type: "button", class: "quiet", "aria-label": `Remove latent ${latent} from the edits`, title: "Remove", onclick: () => removeEdit(latent) }, "×");
  const head = h("div", { class: "head" }, sign(latent), link(latent), label(latent), remove);
  return h("li", { "data-latent": latent }, head, h("div", { class: "factor" }, h("span", { "aria-hidden": "true" }, "×"), number, range, says, on));
}

function removeEdit(latent) {
  edits.delete(latent);
  draw();
  document.getElementById("edits-title").scrollIntoView({ block: "nearest" });
}

function notify() {
  for (const listener of listeners) listener();
}

function draw() {
  list.replaceChildren(...Array.from(edits, drawEdit));
  document.getElementById("no-edits").hidden = edits.size > 0;
  document.getElementById("positions-fields").hidden = edits.size === 0;
  drawFirst();
  notify();
}

function drawFirst() {
  document.getElementById("n-first-field").hidden = positions.value !== "first";
}

positions.addEventListener("change", () => {
  drawFirst();
  notify();
});
nFirst.addEventListener("change", notify);
