// A prompt as a strip of tokens, coloured by a figure; pointing at a token shows its latents.

import { label, sign } from "./latent.js";

const N_HOVERED = 6; // latents in the card of a token
const hover = document.getElementById("hover");
const { models } = readJson("settings");
const [base, chat] = models;

/** Figures that colour the tokens: title, meaning, and style of the number. */
export const FIGURES = {
  kl: { title: `KL(${chat} ‖ ${base})`, meaning: "How differently the models continue after the token, in nats." },
  difference: { title: "norm of the difference", meaning: `‖x_${chat} − x_${base}‖ at the crosscoder's layer.` },
  explained: { title: "explained part of the difference", meaning: "1 − ‖δ − δ̂‖² / ‖δ‖²: 1 if the latents explain the whole difference, below 0 if they add to it." },
};

/** A token of spaces, so that it can be seen. */
export const showBlank = (text) => (text.trim() ? text : "␣".repeat(text.length));

/** Values of the tokens by the name of a figure, or by `latent-123`. */
function valuesOf(reading, figure) {
  if (figure in FIGURES) return reading.values[figure];
  const latent = Number(figure.split("-")[1]);
  return reading.latents.map((active) => active.find(([one]) => one === latent)?.[1] ?? 0);
}

/** Bounds of the colours: from 0 to the largest value on the user's text; fractions from 0 to 1. */
export function boundsOf(readings, figure) {
  if (figure === "explained") return [0, 1];
  const values = readings.flatMap((reading) => valuesOf(reading, figure).filter((_, i) => reading.tokens[i].is_text));
  return [0, Math.max(...values, 1e-9)];
}

/** Draw the tokens into an element; `onopen` gets the number of a token that was clicked. */
export function drawStrip(element, reading, onopen) {
  const pieces = reading.tokens.map((token, number) =>
    h("span", { class: `piece ${token.kind}`, role: "button", tabindex: number ? -1 : 0, "data-number": number, "aria-label": `token ${number}, ${token.text}` }, token.text),
  );
  const shown = pieces.flatMap((piece, number) => (reading.tokens[number].text.includes("⏎") ? [piece, h("br")] : [piece]));
  element.replaceChildren(...shown);
  element.onclick = (event) => {
    const piece = event.target.closest(".piece");
    if (piece) open(piece);
  };
  element.onkeydown = (event) => {
    const piece = event.target.closest(".piece");
    if (!piece) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open(piece);
    } else move(event, element, piece);
  };
  const open = (piece) => {
    for (const other of pieces) other.classList.toggle("open", other === piece);
    onopen(Number(piece.dataset.number));
  };
  element.onmouseover = element.onfocusin = (event) => showHover(event.target.closest(".piece"), reading);
  element.addEventListener("focusin", element.onfocusin);
  element.onmouseleave = hideHover;
  element.addEventListener("focusout", hideHover);
}

/** Arrow keys step through the tokens, of which one is in the order of the Tab key. */
export function move(event, element, piece) {
  const pieces = Array.from(element.querySelectorAll(".piece"));
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const place = Math.max(0, Math.min(pieces.length - 1, pieces.indexOf(piece) + step));
  for (const other of pieces) other.tabIndex = other === pieces[place] ? 0 : -1;
  pieces[place].focus();
}

/** Colour the tokens of a strip by a figure. */
export function colourStrip(element, reading, figure, [low, high]) {
  const values = valuesOf(reading, figure);
  element.querySelectorAll(".piece").forEach((piece, number) => {
    const at = (values[number] - low) / (high - low);
    piece.style.setProperty("--f", Math.max(0, Math.min(1, at)).toFixed(3));
    piece.classList.toggle("blank", !(at > 0));
  });
}

function showHover(piece, reading) {
  if (!piece) return hideHover();
  const number = Number(piece.dataset.number);
  const token = reading.tokens[number];
  const figures = Object.entries(FIGURES).map(([name, { title }]) => h("div", {}, h("dt", {}, title), h("dd", {}, formatNumber(reading.values[name][number]))));
  const active = reading.latents[number];
  const lines = active.slice(0, N_HOVERED).map(([latent, f]) => h("li", {}, sign(latent), h("b", {}, String(latent)), label(latent), h("span", { class: "n" }, formatNumber(f))));
  const rest = active.length > N_HOVERED ? h("p", { class: "note" }, `and ${active.length - N_HOVERED} more`) : null;
  hover.replaceChildren(
    ...[h("p", {}, h("code", {}, showBlank(token.text)), h("span", { class: "note" }, `token ${number}, ${token.kind}`)), h("dl", {}, figures), lines.length ? h("ul", {}, lines) : h("p", { class: "note" }, "no active latent"), rest].filter(Boolean),
  );
  hover.hidden = false;
  const at = piece.getBoundingClientRect();
  const left = Math.max(12, Math.min(at.left, document.documentElement.clientWidth - hover.offsetWidth - 12));
  const below = at.bottom + 8;
  const fits = below + hover.offsetHeight < innerHeight;
  hover.style.left = `${left}px`;
  hover.style.top = `${fits ? below : Math.max(8, at.top - hover.offsetHeight - 8)}px`;
  piece.setAttribute("aria-describedby", "hover");
}

export function hideHover() {
  hover.hidden = true;
}

addEventListener("scroll", hideHover, { passive: true });
