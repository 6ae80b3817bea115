// Requests to the server. Work of the models is answered line by line, one event on each line.

/** Jobs that are followed now, by channel: { number, controller }. */
const running = new Map();
const listeners = new Set();

/** Call a function with the number of running jobs whenever a job begins or ends. */
export function onJobs(listener) {
  listeners.add(listener);
}

function notify() {
  for (const listener of listeners) listener(running.size);
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
 * Ask for work of the models, and pass each event on. Work of another channel goes on beside it; a
 * job of the same channel is stopped first. Returns false if it was stopped.
 */
export async function work(channel, path, body, onEvent) {
  stopChannel(channel);
  const job = { number: null, controller: new AbortController() };
  running.set(channel, job);
  notify();
  try {
    const response = await fetch(path, { method: "POST", body: JSON.stringify(body), signal: job.controller.signal });
    if (!response.ok) throw new Error((await response.json()).error);
    for await (const event of readEvents(response)) {
      if (running.get(channel) !== job) return false;
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
    if (running.get(channel) === job) {
      running.delete(channel);
      notify();
    }
  }
}

function stopChannel(channel) {
  const job = running.get(channel);
  if (!job) return;
  running.delete(channel);
  job.controller.abort();
  if (job.number !== null) fetch(`stop/${job.number}`, { method: "POST" });
  notify();
}

/** Stop every job that is followed. */
export function stopAll() {
  for (const channel of Array.from(running.keys())) stopChannel(channel);
}
