"use strict";
// Functions of every script: reading embedded JSON, and making elements.

const readJson = (id) => JSON.parse(document.getElementById(id)?.textContent ?? "null");

/** Makes an element with attributes and children; text is never parsed as HTML. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}
