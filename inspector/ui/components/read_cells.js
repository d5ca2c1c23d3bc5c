/* One cell of the table of reads, built by the kind of its column. `largest` is the column's
   largest magnitude: what a full bar and the darkest chip stand for. */
const CELL_BUILDERS = {
  address: (value, largest, row) => [addressText(value, row), copyButton(value)],
  badge: (value) => [badge(value)],
  number: (value, largest) => [plain(value, digitsFor(largest))],
  percent: (value) => [percent(value)],
  bar: (value, largest) => [measure(value, largest)],
  diverging: (value, largest) => [divergingMeasure(value, largest)],
  suppressed: (value, largest) => [buildChips(value, "suppressed", largest)],
  promoted: (value, largest) => [buildChips(value, "promoted", largest)],
};

function buildCell(column, row, largest) {
  const cell = document.createElement("td");
  cell.className = column.kind;
  const value = row[column.name];
  if (value != null) cell.append(...CELL_BUILDERS[column.kind](value, largest, row));
  return cell;
}

function spanWith(className, text) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}

function addressText(address, row) {
  const text = spanWith("address-text", address);
  text.dataset.tip = row.place;
  return text;
}

function badge(head) {
  const element = spanWith("head-badge", `H${head}`);
  element.dataset.group = head;
  return element;
}

function colorBadges(root) {
  const palette = themePalette(root, "--st-chart-categorical-colors");
  root.querySelectorAll(".head-badge").forEach((element) => {
    element.style.setProperty("--group-color", groupColor(palette, +element.dataset.group));
  });
}

/* A bar from the left; a negative weight fills it in red. */
function measure(value, largest) {
  const box = document.createElement("div");
  box.className = "measure";
  const fill = barFill(value, largest, 100);
  fill.style.left = 0;
  box.append(trackWith(fill), spanWith("figure", plain(value, digitsFor(largest))));
  return box;
}

/* A bar from the middle: to the right where the read promotes, to the left where it suppresses. */
function divergingMeasure(value, largest) {
  const box = document.createElement("div");
  box.className = "measure";
  const fill = barFill(value, largest, 50);
  fill.style[value < 0 ? "right" : "left"] = "50%";
  box.append(trackWith(fill), spanWith("figure", signed(value, digitsFor(largest))));
  return box;
}

function barFill(value, largest, full) {
  const fill = document.createElement("div");
  fill.className = value < 0 ? "fill negative" : "fill";
  fill.style.width = `${largest > 0 ? (Math.abs(value) / largest) * full : 0}%`;
  return fill;
}

function trackWith(fill) {
  const track = document.createElement("div");
  track.className = "track";
  track.appendChild(fill);
  return track;
}

const COPY_SHAPE = "M5 2.5h6.5a1 1 0 0 1 1 1V10M3.5 5H9a1 1 0 0 1 1 1v6.5a1 1 0 0 1-1 1H3.5a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1Z";
const DONE_SHAPE = "M3 8.5 6.5 12 13 4.5";

function copyButton(address) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.dataset.address = address;
  button.dataset.tip = "Copy the address";
  button.setAttribute("aria-label", `Copy the address ${address}`);
  button.appendChild(outlineIcon(COPY_SHAPE));
  return button;
}

function outlineIcon(shape) {
  const namespace = "http://www.w3.org/2000/svg";
  const icon = document.createElementNS(namespace, "svg");
  icon.setAttribute("viewBox", "0 0 16 16");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", shape);
  icon.appendChild(path);
  return icon;
}

async function copyAddress(button) {
  const copied = await copyText(button.dataset.address, button);
  if (!copied) return;
  button.classList.add("copied");
  button.replaceChildren(outlineIcon(DONE_SHAPE));
  setTimeout(() => {
    button.classList.remove("copied");
    button.replaceChildren(outlineIcon(COPY_SHAPE));
  }, 1200);
}

/* The clipboard interface exists on https and localhost only; elsewhere the old command serves. */
async function copyText(text, beside) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.style.position = "fixed";
    document.body.appendChild(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    beside.focus({ preventScroll: true });
    return copied;
  }
}
