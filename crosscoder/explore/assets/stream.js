// Requests to the server. Work of the models is answered line by line, one event on each line.

/** The job that is followed now: { number, controller }; null if none is. */
let current = null;
const listeners = new Set();

/** Call a function whenever a job begins or ends. */
export function onJob(listener) {
  listeners.add(listener);
}

function setCurrent(job) {
  current = job;
  for (const listener of listeners) listener(job !== null);
}

/** Send JSON, and return the JSON of the answer. */
export async function request(path, body, method = body === undefined ? "GET" : "POST") {
  const response = await fetch(path, { method, body: body === undefined ? undefined : JSON.stringify(body) });
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

/** Yield the events of an answer. */
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}

/** Follow events that need no request, e.g. of loading. */
export async function follow(path, onEvent) {
  const response = await fetch(path);
  for await (const event of readEvents(response)) onEvent(event);
}

/**
 * Ask for work of the models, and pass each event on; a job that is followed already is stopped first.
 * Returns whether the work was done; false if it was stopped.
 */
export async function work(path, body, onEvent) {
  stop();
  const job = { number: null, controller: new AbortController() };
  setCurrent(job);
  try {
    const response = await fetch(path, { method: "POST", body: JSON.stringify(body), signal: job.controller.signal });
    if (!response.ok) throw new Error((await response.json()).error);
    for await (const event of readEvents(response)) {
      if (current !== job) return false;
      if (event.event === "queued") job.number = event.job;
      if (event.event === "failed") throw new Error(event.error);
      if (event.event === "stopped") return false;
      onEvent(event);
    }
    return true;
  } catch (error) {
    if (error.name === "AbortError") return false;
    throw error;
  } finally {
    if (current === job) setCurrent(null);
  }
}

/** Stop the job that is followed; return whether there was one. */
export function stop() {
  if (!current) return false;
  const { number, controller } = current;
  setCurrent(null);
  controller.abort();
  if (number !== null) fetch(`stop/${number}`, { method: "POST" });
  return true;
}
