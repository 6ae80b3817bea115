// Four columns of answers, which grow token by token; what an edit changed is marked.

import { move } from "./strip.js";

const grid = document.getElementById("answer-columns");
const { models } = readJson("settings");
const [base, chat] = models;
const EDITED = (name) => `edited ${name}`;
/** Columns in their order, with the column that each is compared with. */
const COLUMNS = [
  { name: base, title: base },
  { name: chat, title: chat },
  { name: EDITED(chat), title: `${chat}, edited`, against: chat },
  { name: EDITED(base), title: `${base}, edited`, against: base },
];
const answers = new Map(); // column → { tokens: [{ id, text, is_end }], text: element, state: element }
const MARK_EVERY = 8; // tokens
let onOpen = () => {};

/** Call a function with (column, number of the token) when a token of an answer is chosen. */
export function onAnswerToken(listener) {
  onOpen = listener;
}

/** Begin to show answers in these columns; others stay empty. */
export function startAnswers(columns) {
  answers.clear();
  const drawn = COLUMNS.map(({ name, title, against }) => {
    const text = h("div", { class: "text", role: "group", "aria-label": `Answer of ${title}` });
    const state = h("p", { class: "note" });
    if (columns.includes(name)) answers.set(name, { tokens: [], text, state });
    else state.textContent = against ? `No latent is edited in ${against}.` : "";
    follow(name, text);
    return h("div", { class: `answer${columns.includes(name) ? "" : " empty"}`, "data-column": name }, h("h5", {}, title), text, state);
  });
  grid.replaceChildren(...drawn);
}

function follow(name, text) {
  const open = (piece) => {
    for (const other of grid.querySelectorAll(".piece")) other.classList.toggle("open", other === piece);
    onOpen(name, Number(piece.dataset.number));
  };
  text.addEventListener("click", (event) => {
    const piece = event.target.closest(".piece");
    if (piece) open(piece);
  });
  text.addEventListener("keydown", (event) => {
    const piece = event.target.closest(".piece");
    if (!piece) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      open(piece);
    } else move(event, text, piece);
  });
}

/** Add a token to a column. */
export function addToken({ column, id, text, is_end }) {
  const answer = answers.get(column);
  const number = answer.tokens.push({ id, text, is_end }) - 1;
  answer.text.append(h("span", { class: "piece", role: "button", tabindex: number ? -1 : 0, "data-number": number }, text));
  if (is_end) answer.state.textContent = `end of turn after ${answer.tokens.length} tokens`;
  if (number % MARK_EVERY === 0) markDifferences();
}

/** Show that no more tokens come. */
export function endAnswers(reason) {
  for (const answer of answers.values()) {
    if (!answer.tokens.at(-1)?.is_end) answer.state.textContent = `${reason} after ${answer.tokens.length} tokens`;
  }
  markDifferences();
}

/** Texts by column. */
export function getAnswers() {
  return Object.fromEntries(Array.from(answers, ([name, { tokens }]) => [name, tokens.map(({ text }) => text).join("")]));
}

/** Tokens of a column. */
export const getIds = (name) => answers.get(name).tokens.map(({ id }) => id);
export const countTokens = () => Array.from(answers.values(), ({ tokens }) => tokens.length).reduce((a, b) => a + b, 0);

/** Show saved answers, whose tokens are unknown: words stand for them. */
export function showSaved(texts) {
  startAnswers(Object.keys(texts));
  for (const [name, text] of Object.entries(texts)) {
    const answer = answers.get(name);
    if (!answer) continue;
    for (const word of text.match(/\s*\S+|\s+$/g) ?? []) {
      answer.tokens.push({ id: word, text: word, is_end: false });
      answer.text.append(h("span", {}, word));
    }
    answer.state.textContent = "saved";
  }
  markDifferences();
}

/** Mark in every edited answer the tokens that are not part of the unedited one. */
function markDifferences() {
  for (const { name, against } of COLUMNS) {
    if (!answers.has(name) || !answers.has(against)) continue;
    const edited = answers.get(name);
    const common = findCommon(edited.tokens.map(({ id }) => id), answers.get(against).tokens.map(({ id }) => id));
    Array.from(edited.text.children).forEach((piece, number) => piece.classList.toggle("differs", !common.has(number) && !edited.tokens[number].is_end));
  }
}

/** Places of a longest common subsequence in the first list. */
export function findCommon(first, second) {
  const width = second.length + 1;
  const longest = new Uint16Array((first.length + 1) * width);
  for (let i = first.length - 1; i >= 0; i--) {
    for (let j = second.length - 1; j >= 0; j--) {
      const skipped = Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      longest[i * width + j] = first[i] === second[j] ? longest[(i + 1) * width + j + 1] + 1 : skipped;
    }
  }
  const common = new Set();
  for (let i = 0, j = 0; i < first.length && j < second.length; ) {
    if (first[i] === second[j]) {
      common.add(i);
      i++;
      j++;
    } else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
    else j++;
  }
  return common;
}

startAnswers([]);
for (const note of grid.querySelectorAll(".note")) note.textContent = "";
