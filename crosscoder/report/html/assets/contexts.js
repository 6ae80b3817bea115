"use strict";
// Contexts of a latent in its card, and the histogram of its activations.

const GROUPS = { "top plain": "Highest, on plain text", "top chat": "Highest, in chats" };
const QUANTILES = "At quantiles of its activation";
const SHOWN = 5; // contexts of a group before the others are asked for

function passage(shown, top) {
  const text = h("p", { class: "passage" });
  shown.codes.forEach((code, i) => {
    const f = shown.activations[i];
    const word = showable(i ? vocabulary[code] : vocabulary[code].trimStart());
    if (!f) return text.append(word);
    const attributes = { class: i === shown.peak ? "token peak" : "token", style: `--f: ${(f / (top || 1)).toFixed(3)}`, tabindex: 0, "data-f": f };
    return text.append(h("span", attributes, word));
  });
  const where = `${shown.group in GROUPS ? "" : `${shown.group}, ${shown.kind}, `}document ${shown.document}, token ${shown.position}`;
  return h("li", {}, h("div", { class: "where" }, h("b", {}, formatNumber(shown.activations[shown.peak])), h("span", {}, where)), text);
}

/** The contexts of a row by the title of their group: first the group in which the latent is strongest. */
function groupContexts(row) {
  const { part, begin, end } = contextsOf(row);
  const groups = new Map();
  for (let i = begin; i < end; i++) {
    const shown = context(part, i);
    const title = GROUPS[shown.group] ?? QUANTILES;
    groups.set(title, [...(groups.get(title) ?? []), shown]);
  }
  const strongest = ([title, shown]) => (title === QUANTILES ? -1 : Math.max(...shown.map(({ activations, peak }) => activations[peak])));
  return [...groups].sort((a, b) => strongest(b) - strongest(a));
}

/** A group of contexts, of which a few are shown until more are asked for. */
function contextGroup(title, shown, top) {
  const list = h("ol", { class: "contexts" }, shown.slice(0, SHOWN).map((one) => passage(one, top)));
  const rest = shown.slice(SHOWN);
  const onclick = ({ currentTarget }) => {
    list.append(...rest.map((one) => passage(one, top)));
    currentTarget.remove();
  };
  const more = rest.length ? h("button", { type: "button", class: "more", onclick }, `${rest.length} more`) : null;
  return [h("h4", {}, title), list, more];
}

function contexts(row) {
  if (!contextsOf(row).part) return null;
  const groups = groupContexts(row);
  if (!groups.length) return block("Contexts", h("p", { class: "note" }, "None: the latent was never active, or its contexts were not saved."));
  const top = Math.max(...groups.flatMap(([, shown]) => shown).flatMap(({ activations }) => activations));
  return block("Contexts", groups.flatMap(([title, shown]) => contextGroup(title, shown, top)));
}

/** Histogram of the activations above 0; the columns histogram/<low> count tokens from a bin's lower edge on. */
function histogram(row) {
  const bins = suffixed(row, "histogram/").map(([low, count]) => [Number(low), count]);
  const used = bins.map(([, count], i) => (count ? i : -1)).filter((i) => i >= 0);
  if (!used.length) return null;
  const shown = bins.slice(used[0], used.at(-1) + 1);
  const most = Math.max(...shown.map(([, count]) => count));
  const bar = ([low, count]) => h("i", { style: `height: ${(100 * count) / most}%`, title: `from ${formatNumber(low)}: ${formatNumber(count)} tokens` });
  const ends = h("div", { class: "ends" }, h("span", {}, formatNumber(shown[0][0])), h("span", {}, formatNumber(value(row, "max"))));
  const label = `Histogram of its activations, from ${formatNumber(shown[0][0])} on, most often ${formatNumber(most)} tokens in a bin`;
  return h("div", {}, h("h4", {}, "Tokens by activation, logarithmic"), h("div", { class: "histogram", role: "img", "aria-label": label }, shown.map(bar)), ends);
}
