"use strict";
// Card of one latent, built when it is opened.

const TARGETS = ["error", "reconstruction", "activation"];
const SIGNS = { error: "ν^ε", reconstruction: "ν^r", activation: "ν" };
const LABELS = { n_active: "active tokens", mean_active: "mean where active", max: "largest activation", max_cross_cosine: "largest cosine with another latent", difference_share: "fraction of the difference", "difference_share/chat": "the same in chats", "difference_share/template": "the same on the template", difference_cross: "product with the other latents", difference_explained: "explained difference", found_again: "found again by other seeds", matched_cosine: "cosine with its partners there", "label_score/detection": "label, detection", "label_score/fuzzing": "label, fuzzing", "label_score/intruder": "contexts, intruder" };
const FIGURES = ["n_active", "mean_active", "max", "difference_energy", "difference_share", "difference_share/chat", "difference_share/template", "difference_cross", "difference_explained", "max_cross_cosine", "found_again", "matched_cosine", "causal_equivalence", "label_score/detection", "label_score/fuzzing", "label_score/intruder"];
const MEANINGS = {
  tokens: "What the latent writes, read by the unembedding as if no layer came after it.",
  jacobian_tokens: "The same through the mean Jacobian of the later layers, over held-out texts.",
};
const value = (row, name) => (has(name) ? column(name)[row] : undefined);
/** A section of the card. */
const block = (title, ...children) => h("section", {}, h("h3", {}, title), ...children);
const remark = (text) => h("p", { class: "note" }, text);
/** One line per entry: name, bar and number; a bar of `full` is complete. */
function bars(entries, style, full = 1) {
  const width = (number) => (number > 0 ? `max(1px, ${Math.min(100, (100 * number) / full)}%)` : "0");
  const line = ([name, number]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, h("i", { style: `width: ${width(number)}` }), h("span", {}, formatNumber(number, style))));
  return h("dl", { class: "bars" }, entries.map(line));
}

/** Values of the columns with a prefix, by the rest of their names. */
const suffixed = (row, prefix) => columnNames.filter((name) => name.startsWith(prefix)).map((name) => [name.slice(prefix.length), column(name)[row]]);

function weights(row) {
  const norms = about.sources.map((source) => [source, value(row, `norm/${source}`)]).filter(([, norm]) => norm !== undefined);
  const scores = about.scores.filter(({ column: name }) => ["delta_norm", "relative_norm", "cosine"].includes(name));
  const supported = about.sources.filter((source) => has(`supported/${source}`)).map((source) => [`${source}, supported`, value(row, `supported/${source}`)]);
  const all = [...norms, ...supported];
  return block(
    "Decoder norms",
    bars(all, "number", Math.max(...all.map(([, norm]) => norm))),
    h("dl", { class: "inline" }, scores.map(({ label, meaning, column: name }) => h("div", { title: meaning }, h("dt", {}, label), h("dd", {}, formatNumber(value(row, name), "score"))))),
    supported.length ? remark("Supported: the part of the norm that the data support.") : null,
  );
}

/** A ν with its interval on a line from −0.2 to 1.5, with the verdict's threshold as a tick. */
function interval(row, target, source) {
  const name = `nu/${target}/${source}`;
  const [nu, low, high] = [name, `${name}/low`, `${name}/high`].map((one) => value(row, one));
  const at = (number) => `${(100 * (Math.min(1.5, Math.max(-0.2, number)) + 0.2)) / 1.7}%`;
  const threshold = about.rule[{ error: "nu_error", reconstruction: "nu_reconstruction" }[target]];
  const range = Number.isNaN(low ?? NaN) ? "" : `${formatNumber(low, "score")} to ${formatNumber(high, "score")}`;
  const line = h("span", { class: "interval", role: "img", "aria-label": `${formatNumber(nu, "score")}, ${range}` });
  line.append(h("i", { class: "zero", style: `left: ${at(0)}` }), h("i", { class: "zero", style: `left: ${at(1)}` }));
  if (threshold !== undefined) line.append(h("i", { class: "threshold", style: `left: ${at(threshold)}`, title: `threshold ${threshold}` }));
  if (range) line.append(h("i", { class: "range", style: `left: ${at(low)}; right: calc(100% - ${at(high)})` }));
  if (nu < -0.2 || nu > 1.5) line.append(h("i", { class: "beyond", style: `left: ${at(nu)}` }, nu < 0 ? "‹" : "›"));
  else if (!Number.isNaN(nu)) line.append(h("i", { class: "dot", style: `left: ${at(nu)}` }));
  const isIll = isIllConditioned(row, name);
  const others = about.diff_pair.filter((other) => other !== source).join(", ");
  const label = [h("b", {}, raiseExponent(SIGNS[target])), `${source} in ${others}'s ${target}`];
  const title = `Strength of its ${source} direction in ${others}, relative to ${source}. 95 % interval: ${range || "–"}`;
  const ends = isIll ? h("span", { title: range }, "ill-conditioned") : range;
  return h("tr", { title, class: isIll && "ill" }, h("th", { scope: "row" }, label), h("td", {}, line), h("td", { class: "n" }, formatNumber(nu, "score")), h("td", { class: "n ends" }, ends));
}

function scaling(row) {
  const lines = about.diff_pair.flatMap((source) => TARGETS.filter((target) => has(`nu/${target}/${source}`)).map((target) => interval(row, target, source)));
  if (!lines.length) return null;
  const key = remark(
    "ν: how much of a direction the other model has; ticks at 0 (absent) and 1 (as present). Dotted tick: threshold of the verdict. Bars: 95 % intervals; ‹ and › lie outside. " +
      "Ill-conditioned: the interval is wider than 1, and the number says nothing.",
  );
  return block("Latent scaling", h("table", { class: "nus" }, h("tbody", {}, lines)), key);
}

function betas(row) {
  const entries = suffixed(row, "beta/").map(([name, beta]) => [...name.split("/"), beta]);
  if (!entries.length) return null;
  const targets = TARGETS.filter((target) => entries.some(([one]) => one === target));
  const pairs = about.diff_pair.flatMap((direction) => about.diff_pair.map((model) => [direction, model]));
  const find = (target, direction, model) => entries.find((e) => e[0] === target && e[1] === direction && e[2] === model)?.[3];
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "hidden" }, "direction in model")), targets.map((target) => h("th", { scope: "col", class: "n" }, target)));
  const body = pairs.map(([d, m]) => h("tr", {}, h("th", { scope: "row" }, `${d} in ${m}`), targets.map((t) => h("td", { class: "n" }, formatNumber(find(t, d, m), "score")))));
  const key = remark("Factor by which a decoder direction, times the activation, best fits each target of a model. ν is the ratio of two of them.");
  return block("β", h("table", {}, h("thead", {}, head), h("tbody", {}, body)), key);
}

function activity(row) {
  const densities = [["all tokens", value(row, "density")], ...suffixed(row, "density/")].filter(([, density]) => density !== undefined);
  const positions = suffixed(row, "position/");
  const template = [["template", value(row, "template_share")]].filter(([, fraction]) => fraction !== undefined);
  const part = (title, entries, full) => (entries.length ? h("div", {}, h("h4", {}, title), bars(entries, "percent", full)) : null);
  return block(
    "Activity",
    part("Density, by kind of token", densities, Math.max(...densities.map(([, density]) => density))),
    part("Activation mass by position in the text", positions),
    part("Activation mass on the template", template),
    histogram(row),
  );
}

function categories(row) {
  const papers = Object.entries(about.papers).filter(([name]) => has(name));
  if (!papers.length) return null;
  const key = remark("What the thresholds of published papers call it; no control has calibrated them.");
  return block("By published rules", key, h("table", {}, h("tbody", {}, papers.map(([name, rule]) => h("tr", {}, h("th", { scope: "row" }, rule), h("td", { class: "n" }, value(row, name)))))));
}

/** A line of the figures: name, value, and below them what it means. */
const figure = (name, text, meaning) => h("div", {}, h("dt", {}, name), h("dd", {}, text), meaning && h("dd", { class: "why" }, meaning));

function rest(row) {
  const style = (name) => (name.startsWith("difference_") && name !== "difference_energy" ? "percent" : "number");
  const q = about.diff_pair.map((source) => `q/${source}`);
  const lines = [...q, ...FIGURES].filter(has).map((name) => figure(LABELS[name] ?? name.replaceAll("_", " ").replace("/", ", "), formatNumber(value(row, name), style(name)), about.meanings[name]));
  for (const name of about.prompt_contrasts) {
    lines.push(figure(name, `${formatNumber(value(row, name))}, p ${formatNumber(value(row, `${name}/p`))}, Holm ${formatNumber(value(row, `${name}/holm`))}`, about.meanings[name]));
  }
  const twin = value(row, "twin") ?? -1;
  if (twin >= 0) {
    const note = `, cosine ${formatNumber(value(row, "twin_cosine"), "score")}, co-firing ${formatNumber(value(row, "twin_cofiring"), "percent")}`;
    lines.push(figure("twin", [h("a", { href: `#latent-${twin}` }, `latent ${twin}`), note], about.meanings.twin));
  }
  return block("Figures", h("dl", { class: "pairs" }, lines));
}

function lenses(row) {
  if (!lensColumns.length) return null;
  const one = (name) => h("div", {}, h("h4", {}, name.split("/")[1]), h("p", { class: "words" }, column(name)[row].map((word) => h("code", {}, showable(word)))));
  const group = ([metric, title]) => {
    const names = lensColumns.filter((name) => name.startsWith(`${metric}/`));
    return names.length ? h("div", { title: MEANINGS[metric] }, h("h4", {}, h("b", {}, title)), h("div", { class: "lenses" }, names.map(one))) : null;
  };
  const { least_count: least, counted_tokens: counted, named_tokens: named } = about.lens;
  const note = named ? `Named are only the ${formatNumber(named)} tokens of the vocabulary that occur at least ${least} times in ${formatNumber(counted)} tokens of text.` : null;
  const suppressed = suppressedColumns.length ? h("div", {}, h("h4", {}, h("b", {}, "Suppressed (logit lens)")), h("div", { class: "lenses" }, suppressedColumns.map(one))) : null;
  return block("Promoted tokens", Object.entries(LENSES).map(group).filter(Boolean), suppressed, note && remark(note));
}

/** Describe how much a token's activation writes into each model. */
function writes(row, f) {
  const parts = about.sources.filter((source) => has(`norm/${source}`)).map((source) => `${formatNumber(f * value(row, `norm/${source}`))} into ${source}`);
  return `f = ${formatNumber(f)}${parts.length ? `, writes ${parts.join(", ")}` : ""}${about.units ? ` (${about.units} units)` : ""}`;
}

function makeCard(row, close, step) {
  const verdict = verdictOf(row);
  const button = (label, sign, onclick) => h("button", { type: "button", "aria-label": label, title: label, onclick }, sign);
  const title = h("h2", { id: "card-title", tabindex: -1 }, `Latent ${latents[row]}`);
  const buttons = h("div", { class: "buttons" }, button("Previous in the list (←)", "←", () => step(-1)), button("Next in the list (→)", "→", () => step(1)), button("Close", "×", close));
  const details = [weights, scaling, activity, rest, categories, betas].map((part) => part(row));
  return [
    h("header", {}, title, verdict && verdictLabel(verdict), buttons),
    has("label") && column("label")[row] ? h("p", { class: "label" }, showable(column("label")[row])) : null,
    verdict && h("p", { class: "meaning" }, verdict.meaning),
    lens ? h("p", { class: "words", title: `Promoted tokens (${LENSES[lensName]}, ${lensSource})` }, "promotes ", column(lens)[row].slice(0, 8).map((word) => h("code", {}, showable(word)))) : null,
    makeNoteField(latents[row]),
    contexts(row),
    lenses(row),
    h("div", { class: "grid" }, details.slice(0, 2).filter(Boolean)),
    h("div", { class: "grid" }, details.slice(2).filter(Boolean)),
  ].filter(Boolean);
}
