export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".key-grid");
  const canvas = root.querySelector("canvas");
  const tooltip = createTooltip(root);
  const selection = createSelection(root, data, setStateValue);
  root.style.setProperty("--grid-height", `${data.height}px`);
  canvas.setAttribute("aria-label", ariaLabel(data));

  const grid = (root.grid ??= { canvas, root, view: wholeView(), hover: null });
  if (grid.n !== undefined && grid.n !== data.n) grid.view = wholeView();
  Object.assign(grid, describeReads(data), {
    n: data.n,
    data,
    tooltip,
    selection,
    selectedSlot: selection.value,
    colors: gridColors(root),
    font: themeColor(root, "--st-font"),
    ramp: colorRamp(root),
    backgroundStrength: data.totals ? 1 : 0.5,
  });
  keepInHand(grid);
  takeBackground(grid);
  buildLegend(grid);
  fitCanvas(grid);
  sayWhatIsThere(grid);
  if (grid.shownSlot !== grid.selectedSlot) showSelected(grid);
  listenToGrid(grid);
  observeOnce(grid);
  return () => {
    tooltip.hide();
    grid.observer.disconnect();
    document.removeEventListener("key-grid-background", grid.onBackground);
  };
}

/* After a run the read in hand is the same one among the new reads, if it is still there. */
function keepInHand(grid) {
  const { hover, reads } = grid;
  if (!hover?.read) return;
  const same = (read) => read.slot === hover.read.slot && read.label === hover.read.label;
  hover.read = reads.find(same);
  if (!hover.read) {
    grid.hover = null;
    grid.tooltip.hide();
  }
}

function ariaLabel(data) {
  return (
    `${data.reads.length} reads among ${data.n} by ${data.n} product keys. Arrow keys move ` +
    "between reads, page keys go by weight, Enter selects, plus, minus and 0 zoom."
  );
}

function gridColors(root) {
  const color = (name) => themeColor(root, name);
  const text = color("--st-text-color");
  return {
    text,
    faintText: `color-mix(in srgb, ${text} 68%, transparent)`,
    guide: `color-mix(in srgb, ${text} 55%, transparent)`,
    line: `color-mix(in srgb, ${text} 9%, transparent)`,
    page: color("--st-background-color"),
    plot: color("--st-secondary-background-color"),
    border: color("--st-border-color"),
    ring: color("--st-orange-color"),
    groups: themePalette(root, "--st-chart-categorical-colors"),
  };
}

/* Reads with their half-keys, the heaviest first, so that lighter dots lie on top. */
function describeReads({ reads, n, totals }) {
  const described = reads
    .map((read) => ({ ...read, i: Math.floor(read.slot / n), j: read.slot % n }))
    .sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  return {
    reads: described,
    largestWeight: Math.abs(described[0]?.weight ?? 0),
    margins: totals
      ? { rows: wholeBars(totals.rows), columns: wholeBars(totals.columns) }
      : { rows: stackedTotals(described, "i"), columns: stackedTotals(described, "j") },
  };
}

/* Pieces of stacked bars, in 0..1 of the largest total: {index, group, from, to}. */
function stackedTotals(reads, half) {
  const totals = new Map();
  for (const read of reads) {
    const bar = totals.get(read[half]) ?? new Map();
    totals.set(read[half], bar);
    bar.set(read.group, (bar.get(read.group) ?? 0) + Math.abs(read.weight));
  }
  const height = (bar) => [...bar.values()].reduce((sum, weight) => sum + weight, 0);
  const largest = Math.max(1e-30, ...[...totals.values()].map(height));
  return [...totals].flatMap(([index, bar]) => {
    let from = 0;
    return [...bar].sort(([a], [b]) => a - b).map(([group, weight]) => {
      const piece = { index, group, from, to: from + weight / largest };
      from = piece.to;
      return piece;
    });
  });
}

/* Bars of given totals, one for each half-key. */
function wholeBars(totals) {
  const largest = Math.max(1e-30, ...totals);
  return totals.map((total, index) => ({ index, group: 0, from: 0, to: total / largest }));
}

function takeBackground(grid) {
  const stored = globalThis.keyGridBackgrounds?.get(grid.data.grid);
  if (!grid.data.background || stored?.digest !== grid.data.background) {
    if (!grid.data.background) grid.levels = grid.levelsOf = null;
    return;
  }
  if (grid.levelsOf === stored.digest) return;
  grid.levels = backgroundLevels(stored.cells, grid.n);
  grid.levelsOf = stored.digest;
}

function buildLegend(grid) {
  const entries = grid.data.groups.map(({ group, name }) => {
    const entry = document.createElement("span");
    entry.className = "legend-entry";
    const dot = document.createElement("span");
    dot.className = "legend-dot";
    dot.style.setProperty("--group-color", groupColor(grid.colors.groups, group));
    const text = document.createElement("span");
    text.textContent = name;
    entry.append(dot, text);
    return entry;
  });
  grid.root.querySelector(".legend").replaceChildren(...entries);
}

function fitCanvas(grid) {
  const { canvas } = grid;
  const { clientWidth: width, clientHeight: height } = canvas;
  grid.density = devicePixelRatio || 1;
  canvas.width = Math.round(width * grid.density);
  canvas.height = Math.round(height * grid.density);
  grid.area = plotArea(width, height);
  drawGrid(grid);
}

function redraw(grid) {
  if (grid.frame) return;
  grid.frame = requestAnimationFrame(() => {
    grid.frame = null;
    drawGrid(grid);
  });
}

function observeOnce(grid) {
  if (grid.observer) return;
  grid.observer = new ResizeObserver(() => fitCanvas(grid));
  grid.observer.observe(grid.canvas);
  grid.onBackground = (event) => {
    if (event.detail !== grid.data.grid) return;
    takeBackground(grid);
    redraw(grid);
  };
  document.addEventListener("key-grid-background", grid.onBackground);
}

function showSelected(grid) {
  grid.shownSlot = grid.selectedSlot;
  if (grid.selectedSlot == null) return;
  bringIntoView(grid, Math.floor(grid.selectedSlot / grid.n), grid.selectedSlot % grid.n);
  redraw(grid);
}

/* Says under the canvas what the pointer or the keyboard is on, else what is selected. */
function sayWhatIsThere(grid) {
  const said = grid.root.querySelector(".said");
  const { hover, selectedSlot: slot, n } = grid;
  const text = hover
    ? keyText(grid, hover.i, hover.j, hover.read)
    : slot == null
      ? null
      : keyText(grid, Math.floor(slot / n), slot % n);
  said.textContent = text ?? "Hover a key; wheel zooms, drag moves, 0 shows all.";
  said.classList.toggle("hint", text === null);
}

function keyText(grid, i, j, read) {
  const slot = i * grid.n + j;
  const known = read ?? grid.reads.find((other) => other.slot === slot);
  return known ? known.label.split("\n")[0] : `slot ${slot} = (${i}, ${j})`;
}
