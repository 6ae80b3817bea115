"use strict";
// Draws each plot when it comes into view, in the page's colours, and again when the colours change.

const POINTS_AS_SVG = 6000; // more points are drawn with WebGL, if it is available
const webgl = Boolean(document.createElement("canvas").getContext("webgl"));
const nLatents = typeof latents === "undefined" ? 0 : latents.length; // a page may have no table of latents

/** Returns a figure with every `var(--name)` replaced by its value in the style sheet. */
function coloured(part, style) {
  if (Array.isArray(part)) return part.map((one) => coloured(one, style));
  if (part && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([name, one]) => [name, coloured(one, style)]));
  const name = typeof part === "string" && /^var\((--[\w-]+)\)$/.exec(part)?.[1];
  return name ? style.getPropertyValue(name).trim() : part;
}

/** Starts plotly.js with the first plot that comes into view, because it takes a second on a slow machine. */
function startPlotly() {
  if (globalThis.Plotly) return;
  document.head.append(Object.assign(document.createElement("script"), { textContent: document.getElementById("plotly").textContent }));
}

function draw(element) {
  startPlotly();
  const style = getComputedStyle(document.body);
  const { data, layout } = coloured(JSON.parse(document.getElementById(element.dataset.figure).textContent), style);
  layout.font.family = style.fontFamily;
  layout.hoverlabel = { font: { family: style.fontFamily, color: style.color }, bgcolor: style.getPropertyValue("--card").trim() };
  for (const trace of data) {
    const isLatents = trace.type === "scatter" && trace.mode === "markers" && trace.customdata;
    if (isLatents && webgl && nLatents > POINTS_AS_SVG) trace.type = "scattergl";
  }
  const first = !element.dataset.drawn;
  Plotly.react(element, data, layout, { displayModeBar: false, responsive: true });
  element.dataset.drawn = "true";
  if (first) {
    element.on("plotly_click", ({ points }) => {
      if (points[0].customdata !== undefined) location.hash = `latent-${points[0].customdata}`;
    });
  }
}

const elements = document.querySelectorAll(".plot");
const watch = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) {
        watch.unobserve(target);
        draw(target);
      }
    }
  },
  { rootMargin: "300px" },
);
for (const element of elements) watch.observe(element);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const element of elements) if (element.dataset.drawn) draw(element);
});
