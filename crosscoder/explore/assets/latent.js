// How a latent is named on this page: sign and colour of its verdict, number, and label or promoted tokens.

const N_WORDS = 4;
const LABEL_COLUMNS = ["tokens/difference", ...about.diff_pair.map((name) => `tokens/${name}`), ...lensColumns];
const words = LABEL_COLUMNS.find((name) => has(name));

/** Number of a latent in a link to its card. */
export function link(latent) {
  return h("a", { href: `#latent-${latent}` }, String(latent));
}

/** Sign of a latent's verdict, in its colour. */
export function sign(latent) {
  const verdict = verdictOf(rowOf.get(latent));
  if (!verdict) return h("i", { class: "sign" });
  return h("i", { class: "sign", style: `--c: var(--${verdict.colour})`, title: verdict.name, role: "img", "aria-label": verdict.name }, verdict.sign);
}

/** Label of a latent; without one, the tokens that it promotes. */
export function label(latent) {
  const row = rowOf.get(latent);
  const text = has("label") ? column("label")[row] : "";
  if (text) return h("span", { class: "label" }, text);
  const promoted = words ? column(words)[row].slice(0, N_WORDS) : [];
  return h("span", { class: "label", title: "Tokens that it promotes" }, promoted.map((word) => h("code", {}, word.trimStart() || "␣")));
}

/** One line: sign, number, label, a value with a bar, and whatever comes after. */
export function line(latent, { value, full, style }, ...after) {
  const width = full > 0 ? Math.max(0, Math.min(100, (100 * value) / full)) : 0;
  const bar = h("span", { class: "value", style: `--at: ${width}%` }, formatNumber(value, style));
  return h("li", { "data-latent": latent }, sign(latent), link(latent), label(latent), bar, after);
}

/** Button that puts a latent among the edits. */
export function editButton(latent, onclick) {
  return h("button", { type: "button", class: "quiet", "aria-label": `Edit latent ${latent}`, onclick: () => onclick(latent) }, "edit");
}
