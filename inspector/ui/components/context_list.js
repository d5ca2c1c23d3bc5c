export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".context-list");
  const tooltip = createTooltip(root);
  const largest = Math.max(0, ...data.rows.map((row) => Math.abs(row.weight)));
  const elements = [];
  let kind = null;
  for (const row of data.rows) {
    if (row.kind !== kind) elements.push(textBox("context-kind", row.kind));
    kind = row.kind;
    elements.push(contextRow(row, largest));
  }
  root.replaceChildren(...elements, tooltip.box);
  explainOnHover(root, tooltip);
  return () => tooltip.hide();
}

function textBox(className, text) {
  const box = document.createElement("div");
  box.className = className;
  box.textContent = text;
  return box;
}

function contextRow(row, largest) {
  const element = document.createElement("div");
  element.className = "context-row";
  element.setAttribute("role", "listitem");
  element.append(textBox("context-place", row.place), weightBar(row, largest), contextText(row));
  return element;
}

function weightBar(row, largest) {
  const box = document.createElement("div");
  box.className = "context-weight";
  const track = document.createElement("div");
  track.className = "context-track";
  const fill = document.createElement("div");
  fill.className = row.weight < 0 ? "context-fill negative" : "context-fill";
  fill.style.width = `${largest > 0 ? (Math.abs(row.weight) / largest) * 100 : 0}%`;
  track.appendChild(fill);
  box.append(track, textBox("context-figure", plain(row.weight, digitsFor(largest))));
  return box;
}

function contextText(row) {
  const box = document.createElement("div");
  box.className = "context-text";
  box.dataset.tip = row.tip;
  const before = textBox("context-before", "");
  before.appendChild(textBox("", row.before));
  const token = textBox("context-token", row.token);
  token.dir = "auto";
  box.append(before, token, textBox("context-after", row.after));
  return box;
}
