"use strict";
// The address (#latent-123) says which card is open, so that it can be linked to and the back button works.

const card = document.getElementById("card");
const tip = document.getElementById("tip");
let openRow = -1;
let cameFrom = null; // element that had the focus when the card was opened

function closeCard() {
  history.pushState(null, "", location.pathname + location.search);
  route();
}

/** The latent before or after the open one, in the order of the list. */
function step(by) {
  const row = order[order.indexOf(openRow) + by];
  if (row !== undefined) location.hash = `latent-${latents[row]}`;
}

function route() {
  const match = /^#latent-(\d+)$/.exec(location.hash);
  const row = match ? rowOf.get(Number(match[1])) : undefined;
  hideTip();
  if (row !== undefined) {
    if (openRow < 0) cameFrom = document.activeElement;
    card.replaceChildren(...makeCard(row, closeCard, step));
    card.hidden = false;
    card.scrollTop = 0;
    card.querySelector("h2").focus({ preventScroll: true });
  } else {
    card.hidden = true;
    card.replaceChildren();
    if (openRow >= 0) cameFrom?.focus({ preventScroll: true });
  }
  openRow = row ?? -1;
  document.body.classList.toggle("with-card", row !== undefined);
  markOpen();
}

function showTip(event) {
  const token = event.target.closest?.(".token");
  if (!token) return hideTip();
  tip.textContent = writes(openRow, Number(token.dataset.f));
  tip.hidden = false;
  const at = token.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - tip.offsetWidth - 12);
  const above = at.top - tip.offsetHeight - 6;
  tip.style.left = `${Math.max(12, left)}px`;
  tip.style.top = `${above > 0 ? above : at.bottom + 6}px`;
  token.setAttribute("aria-describedby", "tip");
}

function hideTip() {
  tip.hidden = true;
}

card.addEventListener("mouseover", showTip);
card.addEventListener("focusin", showTip);
card.addEventListener("mouseleave", hideTip);
card.addEventListener("scroll", hideTip);
addEventListener("keydown", (event) => {
  if (openRow < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape") closeCard();
  if (event.target.closest?.("input, textarea, select")) return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
addEventListener("hashchange", route);
addEventListener("popstate", route);
startList();
startDownloads();
route();
