"use strict";
// Shows characters that no font of this device has as escapes such as \u65e5, instead of as empty boxes.

const FIRST_CHECKED = 0x530; // Latin, Greek and Cyrillic come before, and every font has them
const UNASSIGNED = "\u0378"; // a character that is drawn as every missing one
const isShown = new Map();

/** Draws a character and returns its pixels as text. */
const drawGlyph = (() => {
  const size = 24;
  const drawing = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  drawing.canvas.width = drawing.canvas.height = size;
  drawing.font = `16px ${getComputedStyle(document.body).fontFamily}`;
  drawing.textBaseline = "middle";
  return (character) => {
    drawing.clearRect(0, 0, size, size);
    drawing.fillText(character, 2, size / 2);
    return drawing.getImageData(0, 0, size, size).data.join();
  };
})();

function hasGlyph(character) {
  if (!isShown.has(UNASSIGNED)) isShown.set(UNASSIGNED, drawGlyph(UNASSIGNED));
  if (!isShown.has(character)) isShown.set(character, drawGlyph(character) !== isShown.get(UNASSIGNED));
  return isShown.get(character);
}

function escapeCharacter(character) {
  const code = character.codePointAt(0).toString(16);
  return code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`;
}

/** Returns a text in which every character that cannot be drawn is an escape. */
function showable(text) {
  const isPlain = Array.from(text).every((character) => character.codePointAt(0) < FIRST_CHECKED);
  if (isPlain) return text;
  const show = (character) => (character.codePointAt(0) < FIRST_CHECKED || hasGlyph(character) ? character : escapeCharacter(character));
  return Array.from(text, show).join("");
}

/** Does the same with every text in an element. */
function makeShowable(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const shown = showable(walker.currentNode.data);
    if (shown !== walker.currentNode.data) walker.currentNode.data = shown;
  }
}

for (const element of document.querySelectorAll(".candidates")) makeShowable(element);
