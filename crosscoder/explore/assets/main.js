// The page: it reads what was typed, asks the server, and shows what comes back.

import { addToken, countTokens, endAnswers, getAnswers, getIds, onAnswerToken, showSaved, startAnswers } from "./answers.js";
import { colourButton, showColours } from "./colours.js";
import { showComparison } from "./comparison.js";
import { Composer } from "./composer.js";
import { addEdit, getEdits, isEdited, onEdit, setEdits } from "./edits.js";
import { listExperiments, namedExperiment, openExperiment, saveExperiment, showCode } from "./experiments.js";
import { editButton, line } from "./latent.js";
import { clearNextTokens, drawNextTokens } from "./next_tokens.js";
import { readings } from "./readings.js";
import { showTop } from "./side.js";
import { drawStrip, hideHover, showBlank } from "./strip.js";
import { follow, onJobs, stopAll, work } from "./stream.js";

const N_TOKEN = 12; // latents of a token
const $ = (id) => document.getElementById(id);
const settings = readJson("settings");
const composers = { first: new Composer($("composer-first"), "prompt", settings.has_chats), second: null };
const SAMPLING = ["temperature", "top_p", "top_k", "seed", "max_new_tokens"];
let status = "starting";
let asked = null; // the request whose answers are shown

// --- status and errors ---

function setStatus(text) {
  $("status").textContent = text;
}

function showError(error) {
  $("error").textContent = error ? error.message ?? String(error) : "";
  $("error").hidden = !error;
}

/** Do something that asks the server, and show its error if it fails. */
async function attempt(action) {
  showError(null);
  try {
    return await action();
  } catch (error) {
    showError(error);
    return false;
  }
}

function describeQueue(event) {
  if (event.event === "queued") setStatus(event.n_before ? `waiting for ${event.n_before} before it` : "working");
  if (event.event === "started") setStatus("working");
}

async function watchLoading() {
  await follow("loading", (event) => {
    if (event.event === "progress") status = event.text;
    if (event.event === "done") status = "ready";
    if (event.event === "failed") showError(new Error(event.error));
    setStatus(event.event === "failed" ? "the models are not loaded" : status);
  });
}

// --- requests ---

function getRequest() {
  const sampling = Object.fromEntries(SAMPLING.map((name) => [name, $(name).valueAsNumber]));
  const missing = SAMPLING.find((name) => !$(name).checkValidity() || Number.isNaN(sampling[name]));
  if (missing) {
    $("sampling").open = true;
    $(missing).focus();
    throw new Error(`${missing.replaceAll("_", " ")} is from ${$(missing).min} to ${$(missing).max}`);
  }
  return { prompt: composers.first.get(), edits: getEdits(), sampling };
}

const isComparing = () => !$("composer-second").hidden;

async function readPrompts() {
  const { first, second } = composers;
  if (!isComparing()) return work("prompt", "read", { prompt: first.get() }, takeEvent);
  return work("prompt", "compare", { first: first.get(), second: second.get() }, takeEvent);
}

function takeEvent(event) {
  describeQueue(event);
  if (event.event === "reading") showReading(event.place ?? "first", event);
  if (event.event === "comparison") showComparison(event.rows);
}

async function generate() {
  const request = getRequest();
  if (!(await work("prompt", "read", { prompt: request.prompt }, takeEvent))) return;
  asked = request;
  let begin = 0; // when the first token can come
  const isDone = await work("prompt", "generate", request, (event) => {
    describeQueue(event);
    if (event.event === "columns") {
      startAnswers(event.columns);
      $("answers-note").textContent = "Marked: tokens that the unedited model does not write there. A click on a token shows what else could stand in its place.";
      setStatus("generating");
      begin = performance.now();
    }
    if (event.event === "token") {
      addToken(event);
      const seconds = (performance.now() - begin) / 1000;
      if (seconds > 0.2) $("speed").textContent = `${formatNumber(countTokens() / seconds)} tokens per second`;
    }
  });
  if (begin) endAnswers(isDone ? "cut off" : "stopped");
  await showCode(request);
}

// --- what was read ---

function showReading(place, reading) {
  readings[place] = reading;
  if (place === "first" && !isComparing()) readings.second = null;
  $("reading").hidden = false;
  $("token").hidden = true;
  $("strip-second").hidden = !readings.second;
  $("comparison").hidden = $("comparison").hidden || !readings.second;
  drawStrip($(`strip-${place}`), reading, (number) => openToken(place, number));
  showColours();
  showTop();
}

// --- one token ---

function showToken(title, active) {
  $("token").hidden = false;
  $("token-title").textContent = title;
  const full = Math.max(...active.map(([, f]) => f), 0);
  const rows = active.slice(0, N_TOKEN).map(([latent, f]) => line(latent, { value: f, full }, colourButton(latent), editButton(latent, addEdit)));
  $("token-latents").replaceChildren(...(rows.length ? rows : [h("li", { class: "note" }, "none")]));
  $("token-latents").parentElement.hidden = false;
}

/** Show a token of a prompt: its latents, and what may come after it. */
async function openToken(place, number) {
  hideHover();
  const reading = readings[place];
  showToken(`Token ${number}: ${showBlank(reading.tokens[number].text)}`, reading.latents[number]);
  $("next-title").textContent = "What comes after it";
  await listNext({ ...getRequest(), prompt: composers[place].get() }, [], number, null);
}

/** Show a token of an answer: what else could stand in its place. */
async function openAnswerToken(name, number) {
  const ids = getIds(name);
  showToken(`Token ${number} of the answer: ${name}`, []);
  $("token-latents").parentElement.hidden = true;
  $("next-title").textContent = "What could stand in its place";
  await listNext(asked, ids.slice(0, number), readings.first.tokens.length + number - 1, ids[number]);
}

async function listNext(request, answer, position, written) {
  clearNextTokens("…");
  await attempt(() =>
    work("token", "next_tokens", { request, answer, position, written }, (event) => {
      describeQueue(event);
      if (event.event === "next_tokens") drawNextTokens(event.rows, written);
    }),
  );
}

// --- two prompts ---

function toggleComparison() {
  const begins = !isComparing();
  $("composer-second").hidden = !begins;
  $("compare").textContent = begins ? "One prompt" : "Compare two prompts";
  $("compare").setAttribute("aria-expanded", String(begins));
  $("read").textContent = begins ? "Compare" : "Read only";
  if (begins) {
    composers.second ??= new Composer($("composer-second"), "second prompt", settings.has_chats, composers.first.get());
    composers.second.focus();
  } else {
    readings.second = null;
    $("strip-second").hidden = true;
    $("comparison").hidden = true;
  }
}

// --- experiments ---

async function showExperiment() {
  const name = namedExperiment();
  if (!name) return;
  await attempt(async () => {
    const { request, answers } = await openExperiment(name);
    composers.first.set(request.prompt);
    setEdits(request.edits);
    for (const one of SAMPLING) $(one).value = request.sampling[one];
    describeSampling();
    asked = request;
    showSaved(answers);
    $("name").value = name;
  });
}

function describeSampling() {
  const { temperature, seed, max_new_tokens: longest } = Object.fromEntries(SAMPLING.map((name) => [name, $(name).value]));
  $("sampling-summary").textContent = `${Number(temperature) ? `temperature ${temperature}, seed ${seed}` : "greedy"}, at most ${longest} tokens`;
}

// --- the card of a latent ---

/** Add a button to the report's card that edits its latent. */
function extendCard() {
  const match = /^#latent-(\d+)$/.exec(location.hash);
  const buttons = $("card").querySelector(".buttons");
  if (!match || !buttons || buttons.querySelector(".edit")) return;
  const latent = Number(match[1]);
  const onclick = () => {
    closeCard();
    addEdit(latent);
  };
  buttons.prepend(h("button", { type: "button", class: "edit", onclick }, isEdited(latent) ? "Edited" : "Edit"));
}

// --- events ---

$("generate").addEventListener("click", () => attempt(generate));
$("read").addEventListener("click", () => attempt(readPrompts));
$("stop").addEventListener("click", stopAll);
$("compare").addEventListener("click", toggleComparison);
$("save").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await saveExperiment($("name").value, { request: asked ?? getRequest(), answers: getAnswers() });
    history.replaceState(null, "", `#experiment-${$("name").value}`);
  });
});
for (const composer of document.querySelectorAll(".composer")) {
  composer.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.target.tagName !== "TEXTAREA") return;
    event.preventDefault();
    attempt(isComparing() ? readPrompts : generate);
  });
}
for (const name of SAMPLING) $(name).addEventListener("input", describeSampling);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("card").hidden) stopAll();
});
addEventListener("hashchange", showExperiment);
new MutationObserver(extendCard).observe($("card"), { childList: true });
onAnswerToken(openAnswerToken);
onEdit(() => {
  if (readings.first) showColours();
});
onJobs((n) => {
  $("stop").disabled = n === 0;
  document.body.classList.toggle("working", n > 0);
  if (n === 0) setStatus(status);
});
describeSampling();
showTop();
extendCard();
attempt(listExperiments);
attempt(watchLoading);
showExperiment();
composers.first.focus();
