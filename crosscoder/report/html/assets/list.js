"use strict";
// List of latents with search, filters by verdict, sorting by any column, and pages.

const PAGE = 25;
const DESCRIPTION = "description"; // of a row, which is no column of the table
const lens = ["tokens/difference", ...about.diff_pair.map((name) => `tokens/${name}`), ...lensColumns].find(has);
const [lensName, lensSource] = lens ? lens.split("/") : [];
const state = { sort: about.scores.length ? about.scores[0].column : "latent", descending: true, bySize: false, query: "", verdicts: new Set(), page: 0 };
let order = []; // rows that are shown, in order

const listColumns = [
  { column: "latent", label: "latent", style: "number", meaning: "Index of the latent in the dictionary." },
  ...(has("verdict") ? [{ column: "verdict", label: "verdict", meaning: "Classification by its decoders and by the data." }] : []),
  ...about.scores,
  ...(lens || has("label") ? [{ column: DESCRIPTION, label: lens ? "promotes" : "label", fixed: true, meaning: lens && `Tokens whose logits it raises most (${LENSES[lensName]}, ${lensSource}).` }] : []),
];

function arrange() {
  const matches = state.query ? matcher(state.query) : () => true;
  const verdict = has("verdict") ? column("verdict") : null;
  order = [];
  for (let row = 0; row < latents.length; row++) {
    if ((!state.verdicts.size || state.verdicts.has(verdict[row])) && matches(row)) order.push(row);
  }
  const values = column(state.sort);
  const sign = state.descending ? -1 : 1;
  let compare = typeof values[0] === "string" ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
  if (state.bySize) compare = (a, b) => Math.abs(a) - Math.abs(b);
  // latents whose value is missing or says nothing come last in both directions
  const missing = (row) => Number(Number.isNaN(values[row]) || isIllConditioned(row, state.sort));
  order.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * compare(values[a], values[b])) || latents[a] - latents[b]);
}

/** What a row is about: its label, the tokens that it promotes, and where the search found it. */
function describeRow(row) {
  const label = has("label") ? column("label")[row] : "";
  const words = lens ? column(lens)[row].slice(0, 6) : [];
  return [
    label && h("div", { class: "label" }, showable(label)),
    h("div", { class: "promoted" }, words.map((word) => h("code", {}, showable(word)))),
    ...explainMatch(row, state.query),
  ].filter(Boolean);
}

function cell(row, { column: name, style }) {
  if (name === DESCRIPTION) return h("td", { class: "promotes" }, describeRow(row));
  const value = column(name)[row];
  // a narrow screen has no room for a column of its own
  if (name === "latent") return h("th", { scope: "row" }, h("a", { href: `#latent-${value}` }, String(value)), h("div", { class: "under" }, describeRow(row)));
  if (name === "verdict") return h("td", {}, verdictLabel(about.verdicts[value]));
  const text = formatNumber(value, style);
  if (name === "delta_norm") return h("td", { class: "n" }, h("i", { class: "track", style: `--at: ${value}` }), text);
  const isIll = isIllConditioned(row, name);
  return h("td", { class: isIll ? "n ill" : "n", title: isIll && "Ill-conditioned: its 95 % interval is wider than 1." }, text);
}

function showPage() {
  const pages = Math.max(1, Math.ceil(order.length / PAGE));
  state.page = Math.min(Math.max(state.page, 0), pages - 1);
  const rows = order.slice(state.page * PAGE, (state.page + 1) * PAGE);
  const body = document.querySelector("#list tbody");
  body.replaceChildren(...rows.map((row) => h("tr", { "data-latent": latents[row] }, listColumns.map((one) => cell(row, one)))));
  const first = state.page * PAGE + 1;
  const range = rows.length ? `${formatNumber(first)}–${formatNumber(first + rows.length - 1)} of ` : "";
  document.getElementById("shown").textContent = `${range}${formatNumber(order.length)} latents`;
  document.getElementById("previous").disabled = state.page === 0;
  document.getElementById("next").disabled = state.page === pages - 1;
  markOpen();
}

function showHead() {
  const head = listColumns.map(({ column: name, label, meaning, fixed }) => {
    const sorted = state.sort === name;
    const sign = state.bySize ? "|↓|" : state.descending ? "↓" : "↑";
    const arrow = h("span", { class: "arrow", "aria-hidden": "true" }, sorted ? sign : "");
    const direction = sorted ? (state.descending ? "descending" : "ascending") : false;
    const onclick = () => sortBy(name);
    const inside = fixed ? h("span", {}, label) : h("button", { type: "button", onclick }, raiseExponent(label), arrow);
    const text = fixed || ["latent", "verdict"].includes(name);
    const title = fixed ? meaning : `${meaning} A click sorts${hasSigns(name) ? "; the third sorts by absolute value" : ""}.`;
    return h("th", { scope: "col", title, class: text ? false : "n", "aria-sort": direction, "data-column": name }, inside);
  });
  document.querySelector("#list thead").replaceChildren(h("tr", {}, head));
}

/** Tells whether a column has values of both signs. */
function hasSigns(name) {
  const values = column(name);
  return typeof values[0] === "number" && values.some((value) => value < 0) && values.some((value) => value > 0);
}

/** Sorts by a column: descending, then ascending, then by absolute value if it has two signs. */
function sortBy(name) {
  const isSame = state.sort === name;
  const wasLast = state.bySize || (!state.descending && !hasSigns(name));
  state.bySize = isSame && !state.descending && hasSigns(name);
  state.descending = isSame ? state.bySize || wasLast : !["latent", "verdict"].includes(name);
  state.sort = name;
  showHead();
  document.querySelector(`#list th[data-column="${CSS.escape(name)}"] button`).focus();
  update();
}

function update() {
  state.page = 0;
  arrange();
  showPage();
}

function turn(pages) {
  state.page += pages;
  showPage();
}

function showChips() {
  const counts = new Map();
  for (const name of has("verdict") ? column("verdict") : []) counts.set(name, (counts.get(name) ?? 0) + 1);
  const chips = Object.values(about.verdicts).filter(({ name }) => counts.has(name));
  document.getElementById("chips").replaceChildren(
    ...chips.map((verdict) => {
      const onclick = ({ currentTarget }) => {
        const on = !state.verdicts.delete(verdict.name);
        if (on) state.verdicts.add(verdict.name);
        currentTarget.setAttribute("aria-pressed", on);
        update();
      };
      const count = h("span", {}, formatNumber(counts.get(verdict.name)));
      return h("button", { type: "button", class: "chip", "aria-pressed": "false", title: verdict.meaning, onclick }, verdictLabel(verdict), count);
    }),
  );
}

/** Mark the row whose card is open. */
function markOpen() {
  for (const row of document.querySelectorAll("#list tbody tr")) row.classList.toggle("open", location.hash === `#latent-${row.dataset.latent}`);
}

function startList() {
  showChips();
  showHead();
  update();
  let waiting;
  const query = document.getElementById("query");
  query.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      state.query = query.value.trim();
      update();
    }, 120);
  });
  query.form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("previous").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  const body = document.querySelector("#list tbody");
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) location.hash = `latent-${row.dataset.latent}`;
  });
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const rows = Array.from(body.rows);
    const place = rows.indexOf(event.target.closest("tr")) + (step ?? NaN);
    if (rows[place]) {
      event.preventDefault();
      rows[place].querySelector("a").focus();
    }
  });
}
