// Table of the latents that differ between two prompts.

import { addEdit } from "./edits.js";
import { editButton, label, link, sign } from "./latent.js";

const $ = (id) => document.getElementById(id);

export function showComparison(rows) {
  $("comparison").hidden = false;
  const head = ["latent", "", "first", "second", "difference written", "score", ""].map((name, place) => h("th", { scope: "col", class: place > 1 ? "n" : false }, name));
  const figure = (value) => h("td", { class: "n" }, formatNumber(value));
  const body = rows.map((row) =>
    h("tr", {}, h("th", { scope: "row" }, sign(row.latent), link(row.latent)), h("td", {}, label(row.latent)), [row.first, row.second, row.writes, row.score].map(figure), h("td", {}, editButton(row.latent, addEdit))),
  );
  $("comparison-table").replaceChildren(h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
}
