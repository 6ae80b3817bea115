"use strict";
// Reads what pack.py packed into the page: the table's columns, and the contexts in chunks, each when it is first needed.

const TYPES = { f4: Float32Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array };

function unpack({ type, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return new TYPES[type](bytes.buffer);
}

function unpackColumn(packed) {
  if (packed.data !== undefined) return unpack(packed);
  if (packed.words) return Array.from(unpack(packed.codes), (code) => packed.words[code]);
  const tokens = unpack(packed.tokens);
  let end = 0;
  return Array.from(unpack(packed.lengths), (n) => Array.from(tokens.subarray(end, (end += n)), (code) => vocabulary[code]));
}

const about = readJson("about");
const vocabulary = readJson("vocabulary");
const packedColumns = readJson("columns");
const has = (name) => name in packedColumns;
const unpacked = new Map();

/** One column of the table: an array with an entry per row. */
function column(name) {
  if (!unpacked.has(name)) unpacked.set(name, unpackColumn(packedColumns[name]));
  return unpacked.get(name);
}

const latents = column("latent");
const rowOf = new Map(Array.from(latents, (latent, row) => [latent, row]));
const columnNames = Object.keys(packedColumns);
const LENSES = { tokens: "Logit lens", jacobian_tokens: "Jacobian lens" };
const lensColumns = columnNames.filter((name) => name.split("/")[0] in LENSES);
const suppressedColumns = columnNames.filter((name) => name.startsWith("suppressed_tokens/"));
const chunks = new Map();

/** Contexts of a few hundred latents, whose tokens stay codes until they are shown. */
function chunk(number) {
  if (!chunks.has(number)) {
    const packed = readJson(`contexts-${number}`);
    const made = packed && Object.fromEntries(Object.entries(packed).map(([name, part]) => [name, unpackColumn(part)]));
    if (made) {
      made.rowEnds = running(made.counts);
      made.ends = running(made.lengths);
    }
    chunks.set(number, made);
  }
  return chunks.get(number);
}

function running(counts) {
  let sum = 0;
  return Uint32Array.from(counts, (n) => (sum += n));
}

/** Contexts of a row of the table, as a range of places in a chunk. */
function contextsOf(row) {
  const part = chunk(Math.floor(row / about.latents_per_chunk));
  if (!part) return { part, begin: 0, end: 0 };
  const place = row % about.latents_per_chunk;
  return { part, begin: place ? part.rowEnds[place - 1] : 0, end: part.rowEnds[place] };
}

/** One context: the codes of its tokens, and each token's activation. */
function context(part, i) {
  const begin = i ? part.ends[i - 1] : 0;
  const codes = part.tokens.subarray(begin, part.ends[i]);
  const activations = Array.from(part.levels.subarray(begin, part.ends[i]), (level) => (level / 255) * part.max[i]);
  const [group, kind, document, position, peak] = ["group", "kind", "document", "position", "peak"].map((name) => part[name][i]);
  return { codes, activations, group, kind, document, position, peak };
}

/** Formats a number: a `score` has three decimals, a `percent` has two digits, others have three. */
function formatNumber(value, style = "number") {
  if (value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const sign = value < 0 ? "−" : "";
  if (style === "percent") return formatPercent(100 * size, sign);
  if (style === "score" && size < 10) return sign + size.toFixed(3);
  if (Number.isInteger(size) || size >= 1000) return sign + Math.round(size).toLocaleString("en");
  if (size < 1e-3) return sign + size.toExponential(1).replace("-", "−");
  return sign + size.toPrecision(3);
}

/** Formats a percentage as numbers.py does. */
function formatPercent(percent, sign) {
  if (percent >= 9.95 || percent === 0) return `${sign}${Math.round(percent)} %`;
  if (percent < 0.01) return sign ? "> −0.01 %" : "< 0.01 %";
  return `${sign}${percent.toPrecision(2)} %`;
}

/** Tells whether a ν says nothing: its interval is wider than the distance from absent to present. */
function isIllConditioned(row, name) {
  if (!name.startsWith("nu/") || !has(`${name}/low`) || Number.isNaN(column(name)[row])) return false;
  return !(column(`${name}/high`)[row] - column(`${name}/low`)[row] <= 1);
}

/** Writes `ν^r` with its r raised. */
function raiseExponent(label) {
  const [base, above] = label.split("^");
  return above ? [base, h("sup", {}, above)] : [base];
}

function verdictOf(row) {
  return has("verdict") ? about.verdicts[column("verdict")[row]] : null;
}

function verdictLabel(verdict) {
  return h("span", { class: "verdict", style: `--c: var(--${verdict.colour})` }, h("i", { class: "sign" }, verdict.sign), verdict.name);
}
