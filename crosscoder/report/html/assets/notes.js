"use strict";
// Notes on latents: kept in this browser, by crosscoder, and exported as JSON.

const notesKey = `crosscoder-notes-${about.crosscoder}`;
const notes = readNotes();

/** Reads the saved notes; a browser may refuse to keep any. */
function readNotes() {
  try {
    const saved = JSON.parse(localStorage.getItem(notesKey) ?? "{}");
    return saved && typeof saved === "object" ? saved : {};
  } catch {
    return {};
  }
}

function saveNote(latent, text) {
  if (text.trim()) notes[latent] = text;
  else delete notes[latent];
  try {
    localStorage.setItem(notesKey, JSON.stringify(notes));
  } catch {
    // the notes can still be exported until the page is closed
  }
  showNoteCount();
}

function showNoteCount() {
  const count = Object.keys(notes).length;
  const button = document.getElementById("export-notes");
  button.textContent = `Notes as JSON (${count})`;
  button.disabled = count === 0;
}

function makeNoteField(latent) {
  const oninput = ({ currentTarget }) => saveNote(latent, currentTarget.value);
  const field = h("textarea", { class: "note-field", rows: 1, "aria-label": "Note", placeholder: "Note, kept in this browser", oninput });
  field.value = notes[latent] ?? "";
  return field;
}
