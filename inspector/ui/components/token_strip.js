export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".token-strip");
  const list = root.querySelector(".tokens");
  const tooltip = createTooltip(root);
  const selection = createSelection(root, data, setStateValue);

  root.style.setProperty("--strip-height", `${data.height}px`);
  const built = `${data.subject}/${data.promptLength}`;
  if (root.dataset.built !== built) {
    list.replaceChildren(...buildTokens(data));
    root.dataset.built = built;
    root.shownSelection = null;
  }
  const tokens = [...list.querySelectorAll(".token")];
  tokens.forEach((token, index) => describeToken(token, index, data));
  markSelected(root, tokens, selection.value);
  listenToTokens(root, list, tokens, selection);
  explainOnHover(root, tooltip);
  return () => tooltip.hide();
}

function buildTokens(data) {
  return data.tokens.flatMap((text, index) => {
    const token = document.createElement("button");
    token.type = "button";
    token.className = "token";
    token.dir = "auto";
    token.dataset.index = index;
    token.setAttribute("role", "option");
    token.classList.toggle("blank", /^[·⏎⇥␍␣∅�]+$/u.test(text));
    token.classList.toggle("generated", index >= data.promptLength);
    token.textContent = text;
    const before = index > 0 && index === data.promptLength ? [generatedMark()] : [];
    return [...before, token, ...(data.breaks.includes(index) ? [lineBreak()] : [])];
  });
}

function lineBreak() {
  const element = document.createElement("span");
  element.className = "line-break";
  element.setAttribute("aria-hidden", "true");
  return element;
}

function generatedMark() {
  const element = document.createElement("span");
  element.className = "generated-mark";
  element.textContent = "generated";
  element.setAttribute("aria-hidden", "true");
  return element;
}

function describeToken(token, index, data) {
  const intensity = data.intensities[index];
  const origin = index >= data.promptLength ? ", generated" : "";
  token.style.setProperty("--intensity", intensity);
  token.dataset.tip = data.tips[index];
  token.setAttribute(
    "aria-label",
    `token ${index}, ${data.tokens[index]}, intensity ${intensity.toFixed(2)}${origin}`,
  );
}

function markSelected(root, tokens, selected) {
  tokens.forEach((token, index) => {
    token.setAttribute("aria-selected", index === selected);
    token.tabIndex = index === selected ? 0 : -1;
  });
  if (root.shownSelection !== selected) scrollIntoStrip(tokens[selected]);
  root.shownSelection = selected;
}

/* Scrolls the strip, never the page. */
function scrollIntoStrip(token) {
  const strip = token.parentElement;
  const top = token.offsetTop;
  const bottom = top + token.offsetHeight;
  if (top < strip.scrollTop) strip.scrollTop = top - 6;
  else if (bottom > strip.scrollTop + strip.clientHeight) {
    strip.scrollTop = bottom - strip.clientHeight + 6;
  }
}

function listenToTokens(root, list, tokens, selection) {
  const tokenOf = (event) => event.target.closest?.(".token");
  const select = (index) => {
    selection.pick(index);
    markSelected(root, tokens, index);
  };
  list.onclick = (event) => {
    const token = tokenOf(event);
    if (token) select(+token.dataset.index);
  };
  list.onkeydown = (event) => {
    const token = tokenOf(event);
    if (!token) return;
    const target = movedIndex(event.key, +token.dataset.index, tokens);
    if (target === null) return;
    event.preventDefault();
    tokens.forEach((other, index) => (other.tabIndex = index === target ? 0 : -1));
    tokens[target].focus();
  };
}

/* Where a key leads: left and right by one, up and down to the nearest token of the next line. */
function movedIndex(key, index, tokens) {
  const last = tokens.length - 1;
  if (key === "ArrowRight") return Math.min(last, index + 1);
  if (key === "ArrowLeft") return Math.max(0, index - 1);
  if (key === "Home") return 0;
  if (key === "End") return last;
  if (key === "ArrowDown") return tokenOnNextLine(tokens, index, 1);
  if (key === "ArrowUp") return tokenOnNextLine(tokens, index, -1);
  return null;
}

function tokenOnNextLine(tokens, index, step) {
  const { offsetTop: top, offsetLeft: left } = tokens[index];
  let line = null;
  let best = index;
  for (let at = index + step; at >= 0 && at < tokens.length; at += step) {
    const token = tokens[at];
    if (Math.abs(token.offsetTop - top) < 4) continue;
    line ??= token.offsetTop;
    if (Math.abs(token.offsetTop - line) >= 4) break;
    const nearer = Math.abs(token.offsetLeft - left) < Math.abs(tokens[best].offsetLeft - left);
    if (best === index || nearer) best = at;
  }
  return best;
}
