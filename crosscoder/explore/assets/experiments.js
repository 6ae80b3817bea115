// Saved experiments, their addresses, and the Python code of what is on the page.

import { request } from "./stream.js";

const saved = document.getElementById("saved");
const code = document.getElementById("code");
const ADDRESS = /^#experiment-([a-z0-9][a-z0-9_-]*)$/;

/** Name of the experiment in the address; null if there is none. */
export const namedExperiment = () => ADDRESS.exec(location.hash)?.[1] ?? null;

export async function listExperiments() {
  const { names } = await request("experiments");
  saved.replaceChildren(...names.map((name) => h("li", {}, h("a", { href: `#experiment-${name}` }, name))));
}

export async function saveExperiment(name, content) {
  const experiment = await request(`experiments/${encodeURIComponent(name)}`, content, "PUT");
  code.textContent = experiment.code;
  await listExperiments();
}

/** Return a saved experiment, and show its code. */
export async function openExperiment(name) {
  const experiment = await request(`experiments/${encodeURIComponent(name)}`);
  code.textContent = experiment.code;
  return experiment;
}

export async function showCode(content) {
  code.textContent = (await request("code", content)).code;
}

document.getElementById("copy").addEventListener("click", async ({ currentTarget }) => {
  await navigator.clipboard.writeText(code.textContent);
  currentTarget.textContent = "Copied";
  setTimeout(() => (currentTarget.textContent = "Copy"), 1500);
});
