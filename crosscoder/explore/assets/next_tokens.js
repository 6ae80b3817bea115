// Table of the most probable next tokens, in every column.

import { showBlank } from "./strip.js";

const table = document.getElementById("next-tokens");
const { models } = readJson("settings");
const [base, chat] = models;
const ORDER = [base, chat, `edited ${chat}`, `edited ${base}`];
const percent = (p) => (p < 0.0005 ? "0" : (100 * p).toFixed(p < 0.0995 ? 1 : 0));

/** Draw the table; `written` is the token that stands at this place, if any. */
export function drawNextTokens(rows, written) {
  const columns = ORDER.filter((name) => name in rows[0].p);
  const head = h("tr", {}, h("th", { scope: "col" }, "token"), columns.map((name) => h("th", { scope: "col", class: "n" }, name)));
  const cell = (p) => h("td", { class: "n p", style: `--at: ${(100 * p).toFixed(2)}%` }, percent(p));
  const body = rows.map(({ id, text, p }) => h("tr", { class: id === written ? "marked" : false }, h("th", { scope: "row" }, h("code", {}, showBlank(text))), columns.map((name) => cell(p[name]))));
  table.replaceChildren(h("caption", {}, "Probability in percent"), h("thead", {}, head), h("tbody", {}, body));
}

export function clearNextTokens(text) {
  table.replaceChildren(h("caption", {}, text));
}
