"use strict";
// Answers side by side: shows every prompt of the chosen question with its answers.

/** Builds one prompt, unless the block above shows it already, and its answers in columns. */
function makeBlock({ label, prompt, answers }, i, blocks) {
  const text = (words) => h("div", { class: "text" }, showable(words || "–"));
  const columns = answers.map(([name, words]) => h("div", { class: "answer" }, h("h5", {}, name), text(words)));
  const quoted = prompt === blocks[i - 1]?.prompt ? null : h("blockquote", {}, prompt);
  return h("div", { class: "asked" }, label && h("h4", {}, label), quoted, h("div", { class: "columns" }, columns));
}

function startAnswers(element) {
  const questions = readJson(element.dataset.answers);
  const choice = h("select", { "aria-label": "Question" }, questions.map(({ title }, i) => h("option", { value: i }, `${i + 1}. ${title}`)));
  const shown = h("div");
  const step = (by) => () => {
    choice.selectedIndex += by;
    show();
  };
  const previous = h("button", { type: "button", "aria-label": "Previous question", onclick: step(-1) }, "‹ Previous");
  const next = h("button", { type: "button", "aria-label": "Next question", onclick: step(1) }, "Next ›");

  function show() {
    const at = choice.selectedIndex;
    shown.replaceChildren(...questions[at].blocks.map(makeBlock));
    previous.disabled = at === 0;
    next.disabled = at === questions.length - 1;
  }

  choice.addEventListener("change", show);
  element.append(h("div", { class: "chooser" }, choice, previous, next), shown);
  show();
}

for (const element of document.querySelectorAll(".answers")) startAnswers(element);
