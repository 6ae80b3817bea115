// Colours of the tokens: by one of the figures, or by a latent.

import { getEdits } from "./edits.js";
import { label, link, sign } from "./latent.js";
import { readings } from "./readings.js";
import { FIGURES, boundsOf, colourStrip } from "./strip.js";

const N_OFFERED = 16; // latents of the prompt
const $ = (id) => document.getElementById(id);

/** Colours: the three figures, and every edited or strong latent of the prompt. */
export function showColours() {
  const chosen = $("colour").value || "kl";
  const latents = [...getEdits().latents.map(({ latent }) => latent), ...(readings.first?.summary ?? []).slice(0, N_OFFERED).map(({ latent }) => latent)];
  const names = [...Object.keys(FIGURES), ...new Set(latents.map((latent) => `latent-${latent}`))];
  if (chosen.startsWith("latent-") && !names.includes(chosen)) names.push(chosen);
  $("colour").replaceChildren(...names.map((name) => h("option", { value: name, selected: name === chosen }, FIGURES[name]?.title ?? name.replace("-", " "))));
  colour();
}

function colour() {
  const figure = $("colour").value;
  const shown = Object.entries(readings).filter(([, reading]) => reading);
  const bounds = boundsOf(shown.map(([, reading]) => reading), figure);
  for (const [place, reading] of shown) colourStrip($(`strip-${place}`), reading, figure, bounds);
  $("scale-low").textContent = formatNumber(bounds[0]);
  $("scale-high").textContent = formatNumber(bounds[1]);
  const latent = Number(figure.split("-")[1]);
  $("colour-meaning").replaceChildren(...(FIGURES[figure] ? [FIGURES[figure].meaning] : [sign(latent), link(latent), " ", label(latent)]));
}

/** Colour the tokens by a latent. */
function colourBy(latent) {
  const name = `latent-${latent}`;
  if (!Array.from($("colour").options).some(({ value }) => value === name)) $("colour").append(h("option", { value: name }, name.replace("-", " ")));
  $("colour").value = name;
  colour();
}

/** Button that colours the tokens by a latent. */
export function colourButton(latent) {
  return h("button", { type: "button", class: "quiet", title: "Colour the tokens by this latent", "aria-label": `Colour the tokens by latent ${latent}`, onclick: () => colourBy(latent) }, "◐");
}

$("colour").addEventListener("change", colour);
