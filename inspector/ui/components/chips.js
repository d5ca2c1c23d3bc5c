/* Tokens as chips, strongest first in reading order. Those of suppressed tokens are red and set
   from the right, so that the strongest of both kinds meet in the middle. */
function buildChips(tokens, kind, largest) {
  const box = document.createElement("div");
  box.className = `chips ${kind}`;
  box.append(...tokens.map(([text, score]) => buildChip(text, score, kind, largest)));
  return box;
}

function buildChip(text, score, kind, largest) {
  const chip = document.createElement("span");
  chip.className = "chip";
  chip.dir = "auto";
  chip.textContent = text;
  chip.dataset.tip = `${text}\n${kind}, logit ${signed(score, 3)}`;
  chip.style.setProperty("--strength", largest > 0 ? Math.abs(score) / largest : 0);
  return chip;
}
