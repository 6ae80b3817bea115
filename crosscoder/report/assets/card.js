"use strict";
// The card of one latent, made when it is opened.

const TARGETS = ["error", "reconstruction", "activation"];
const SIGNS = { error: "ν^ε", reconstruction: "ν^r", activation: "ν" };
const GROUPS = { "top plain": "Highest, on plain text", "top chat": "Highest, in chats" };
const LABELS = { n_active: "active tokens", mean_active: "mean where active", max: "largest activation", elsewhere: "best cosine elsewhere" };
const value = (row, name) => (has(name) ? column(name)[row] : undefined);
/** A part of the card. */
const block = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);
/** Name, bar and number, one line each; a bar is full at `full`. */
function bars(entries, style, full = 1) {
  const width = (number) => (number > 0 ? `max(1px, ${Math.min(100, (100 * number) / full)}%)` : "0");
  const line = ([name, number]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, h("i", { style: `width: ${width(number)}` }), h("span", {}, written(number, style))));
  return h("dl", { class: "bars" }, entries.map(line));
}

/** Columns with a prefix, by what comes after it. */
const suffixed = (row, prefix) => columnNames.filter((name) => name.startsWith(prefix)).map((name) => [name.slice(prefix.length), column(name)[row]]);

function weights(row) {
  const norms = about.sources.map((source) => [source, value(row, `norm/${source}`)]).filter(([, norm]) => norm !== undefined);
  const scores = about.scores.filter(({ column: name }) => ["delta_norm", "relative_norm", "cosine"].includes(name));
  const supported = about.sources.filter((source) => has(`supported/${source}`)).map((source) => [`${source}, supported`, value(row, `supported/${source}`)]);
  const all = [...norms, ...supported];
  return block(
    "Decoder norms",
    bars(all, "number", Math.max(...all.map(([, norm]) => norm))),
    h("dl", { class: "inline" }, scores.map(({ label, meaning, column: name }) => h("div", { title: meaning }, h("dt", {}, label), h("dd", {}, written(value(row, name), "score"))))),
  );
}

/** A ν with its interval on a line from −0.2 to 1.5, and the verdict's threshold as a tick. */
function interval(row, target, source) {
  const name = `nu/${target}/${source}`;
  const [nu, low, high] = [name, `${name}/low`, `${name}/high`].map((one) => value(row, one));
  const at = (number) => `${(100 * (Math.min(1.5, Math.max(-0.2, number)) + 0.2)) / 1.7}%`;
  const threshold = about.rule[{ error: "nu_error", reconstruction: "nu_reconstruction" }[target]];
  const range = Number.isNaN(low ?? NaN) ? "" : `${written(low, "score")} to ${written(high, "score")}`;
  const line = h("span", { class: "interval", role: "img", "aria-label": `${written(nu, "score")}, ${range}` });
  line.append(h("i", { class: "zero", style: `left: ${at(0)}` }), h("i", { class: "zero", style: `left: ${at(1)}` }));
  if (threshold !== undefined) line.append(h("i", { class: "threshold", style: `left: ${at(threshold)}`, title: `threshold ${threshold}` }));
  if (range) line.append(h("i", { class: "range", style: `left: ${at(low)}; right: calc(100% - ${at(high)})` }));
  if (!Number.isNaN(nu)) line.append(h("i", { class: "dot", style: `left: ${at(nu)}` }));
  const others = about.contrast.filter((other) => other !== source).join(", ");
  const label = [h("b", {}, raised(SIGNS[target])), `${source} in ${others}'s ${target}`];
  const title = `How much of what it writes along its ${source} decoder is in ${others}, relative to ${source}. 95 %: ${range || "–"}`;
  return h("tr", { title }, h("th", { scope: "row" }, label), h("td", {}, line), h("td", { class: "n" }, written(nu, "score")), h("td", { class: "n ends" }, range));
}

function scaling(row) {
  const lines = about.contrast.flatMap((source) => TARGETS.filter((target) => has(`nu/${target}/${source}`)).map((target) => interval(row, target, source)));
  if (!lines.length) return null;
  const key = h("p", { class: "note" }, "Thin ticks at 0 and 1, the verdict's threshold dotted, 95 % intervals.");
  return block("Latent scaling", h("table", { class: "nus" }, h("tbody", {}, lines)), key);
}

function betas(row) {
  const entries = suffixed(row, "beta/").map(([name, beta]) => [...name.split("/"), beta]);
  if (!entries.length) return null;
  const targets = TARGETS.filter((target) => entries.some(([one]) => one === target));
  const pairs = about.contrast.flatMap((direction) => about.contrast.map((model) => [direction, model]));
  const find = (target, direction, model) => entries.find((e) => e[0] === target && e[1] === direction && e[2] === model)?.[3];
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "direction in model")), targets.map((target) => h("th", { scope: "col", class: "n" }, target)));
  const body = pairs.map(([d, m]) => h("tr", {}, h("th", { scope: "row" }, `${d} in ${m}`), targets.map((t) => h("td", { class: "n" }, written(find(t, d, m), "score")))));
  return block("β", h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

function activity(row) {
  const densities = [["all tokens", value(row, "density")], ...suffixed(row, "density/")].filter(([, density]) => density !== undefined);
  const positions = suffixed(row, "position/");
  const template = [["template", value(row, "template_share")]].filter(([, share]) => share !== undefined);
  const part = (title, entries, full) => (entries.length ? h("div", {}, h("h4", {}, title), bars(entries, "share", full)) : null);
  return block(
    "Activity",
    part("Density, by kind of token", densities, Math.max(...densities.map(([, density]) => density))),
    part("Activation mass by position in the text", positions),
    part("Activation mass on the template", template),
  );
}

function categories(row) {
  const papers = Object.entries(about.papers).filter(([name]) => has(name));
  if (!papers.length) return null;
  return block("By published rules", h("table", {}, h("tbody", {}, papers.map(([name, rule]) => h("tr", {}, h("th", { scope: "row" }, rule), h("td", { class: "n" }, value(row, name)))))));
}

function rest(row) {
  const shown = ["n_active", "mean_active", "max", "difference_energy", "difference_share", "difference_share/chat", "difference_share/template", "difference_cross", "difference_explained", "elsewhere"];
  const style = (name) => (name.startsWith("difference_") && name !== "difference_energy" ? "share" : "number");
  const pairs = shown.filter(has).map((name) => [LABELS[name] ?? name.replaceAll("_", " ").replace("/", ", "), written(value(row, name), style(name))]);
  for (const name of about.prompt_contrasts) {
    pairs.push([name, `${written(value(row, name))}, p ${written(value(row, `${name}/p`))}, Holm ${written(value(row, `${name}/holm`))}`]);
  }
  const list = h("dl", { class: "pairs" }, pairs.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
  const twin = value(row, "twin") ?? -1;
  if (twin >= 0) {
    const note = `, cosine ${written(value(row, "twin_cosine"), "score")}, co-firing ${written(value(row, "twin_cofiring"), "share")}`;
    list.append(h("div", {}, h("dt", {}, "twin"), h("dd", {}, h("a", { href: `#latent-${twin}` }, `latent ${twin}`), note)));
  }
  return block("Figures", list);
}

function lenses(row) {
  if (!lensColumns.length) return null;
  const one = (name) => h("div", {}, h("h4", {}, name.slice(7)), h("p", { class: "words" }, column(name)[row].map((word) => h("code", {}, word))));
  return block("Promoted tokens", h("div", { class: "lenses" }, lensColumns.map(one)));
}

function passage(shown, top) {
  const text = h("p", { class: "passage" });
  shown.codes.forEach((code, i) => {
    const f = shown.activations[i];
    const word = i ? vocabulary[code] : vocabulary[code].trimStart();
    if (!f) return text.append(word);
    const attributes = { class: i === shown.peak ? "token peak" : "token", style: `--f: ${(f / (top || 1)).toFixed(3)}`, tabindex: 0, "data-f": f };
    return text.append(h("span", attributes, word));
  });
  const where = `${shown.group in GROUPS ? "" : `${shown.kind}, `}document ${shown.document}, token ${shown.position}`;
  return h("li", {}, h("div", { class: "where" }, h("b", {}, written(shown.activations[shown.peak])), h("span", {}, where)), text);
}

function contexts(row) {
  const { part, begin, end } = contextsOf(row);
  const groups = new Map();
  for (let i = begin; i < end; i++) {
    const shown = context(part, i);
    groups.set(shown.group, [...(groups.get(shown.group) ?? []), shown]);
  }
  if (!groups.size) return part ? block("Contexts", h("p", { class: "note" }, "None: it was not active, or its contexts were not kept.")) : null;
  const top = Math.max(...[...groups.values()].flat().flatMap(({ activations }) => activations));
  const group = ([name, shown]) => [h("h4", {}, GROUPS[name] ?? name[0].toUpperCase() + name.slice(1)), h("ol", { class: "contexts" }, shown.map((one) => passage(one, top)))];
  return block("Contexts", [...groups].flatMap(group));
}

/** What a token's activation writes into each model. */
function writes(row, f) {
  const parts = about.sources.filter((source) => has(`norm/${source}`)).map((source) => `${written(f * value(row, `norm/${source}`))} into ${source}`);
  return `f = ${written(f)}${parts.length ? `, writes ${parts.join(", ")}` : ""}${about.units ? ` (${about.units} units)` : ""}`;
}

function makeCard(row, close, step) {
  const verdict = verdictOf(row);
  const button = (label, sign, onclick) => h("button", { type: "button", "aria-label": label, title: label, onclick }, sign);
  const title = h("h2", { id: "card-title", tabindex: -1 }, `Latent ${latents[row]}`);
  const buttons = h("div", { class: "buttons" }, button("Previous in the list", "↑", () => step(-1)), button("Next in the list", "↓", () => step(1)), button("Close", "×", close));
  const details = [weights, scaling, activity, rest, categories, betas].map((part) => part(row));
  return [
    h("header", {}, title, verdict && verdictLabel(verdict), buttons),
    verdict && h("p", { class: "meaning" }, verdict.meaning),
    h("div", { class: "grid" }, details.slice(0, 2).filter(Boolean)),
    lenses(row),
    contexts(row),
    h("div", { class: "grid" }, details.slice(2).filter(Boolean)),
  ].filter(Boolean);
}
