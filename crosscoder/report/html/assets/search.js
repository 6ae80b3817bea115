"use strict";
// Search in everything that is written about a latent, and the place where it was found.

const NUMBER = /^\d+$/;
const AROUND = 28; // characters shown on each side of a match

/** Every text about a row with its origin; the first line is the latent's number. */
function linesOf(row) {
  const lines = [["", `latent ${latents[row]}`], ["verdict", has("verdict") ? column("verdict")[row] : ""]];
  if (has("label")) lines.push(["label", column("label")[row]]);
  for (const name of lensColumns) lines.push([`${LENSES[name.split("/")[0]]}, ${name.split("/")[1]}`, column(name)[row].join("")]);
  const { part, begin, end } = contextsOf(row);
  for (let i = begin; i < end; i++) {
    let line = "";
    for (let t = i ? part.ends[i - 1] : 0; t < part.ends[i]; t++) line += vocabulary[part.tokens[t]];
    lines.push([`context, ${part.group[i]}`, line]);
  }
  return lines;
}

const texts = [];
/** All text of a row that can be searched, in lower case. */
function textOf(row) {
  if (texts[row] === undefined) texts[row] = linesOf(row).map(([, text]) => text).join("\n").toLowerCase();
  return texts[row];
}

/** Words and quoted phrases of a query. */
const termsOf = (query) => Array.from(query.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g), (match) => match[1] ?? match[2]);

/** Returns a test of rows for a query; a number alone is a latent. */
function matcher(query) {
  if (NUMBER.test(query)) return (row) => String(latents[row]).startsWith(query);
  const terms = termsOf(query);
  return (row) => terms.every((term) => textOf(row).includes(term));
}

/** Shows where a row matches: for each term, its origin and the text around it. */
function explainMatch(row, query) {
  if (!query || NUMBER.test(query)) return [];
  const lines = linesOf(row);
  const found = [];
  for (const term of termsOf(query)) {
    const line = lines.find(([, text]) => text.toLowerCase().includes(term));
    if (!line) continue;
    const [origin, text] = line;
    const at = text.toLowerCase().indexOf(term);
    const before = text.slice(Math.max(0, at - AROUND), at);
    const after = text.slice(at + term.length, at + term.length + AROUND);
    const mark = h("mark", {}, showable(text.slice(at, at + term.length)));
    found.push(h("div", { class: "match" }, h("span", {}, origin || "number"), showable(before), mark, showable(after)));
  }
  return found;
}
