/* Pointer and keyboard. */
const CLICK_TOLERANCE = 4;

function listenToGrid(grid) {
  listenToPointer(grid);
  listenToWheel(grid);
  grid.canvas.onkeydown = (event) => pressKey(grid, event);
  grid.canvas.onblur = () => leave(grid);
  grid.root.querySelector(".zoom").onclick = (event) => {
    const zoom = event.target.closest("button")?.dataset.zoom;
    if (zoom) zoomFromCenter(grid, zoom);
  };
}

function pointOf(grid, event) {
  const box = grid.canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function listenToPointer(grid) {
  const { canvas } = grid;
  canvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    grid.press = { ...pointOf(grid, event), moved: false };
    canvas.setPointerCapture(event.pointerId);
  };
  canvas.onpointermove = (event) => {
    const point = pointOf(grid, event);
    if (grid.press) drag(grid, point);
    else hoverAt(grid, point);
  };
  canvas.onpointerup = (event) => {
    const { press } = grid;
    release(grid);
    if (!press || press.moved) return;
    const found = thingAt(grid, pointOf(grid, event));
    if (found) selectSlot(grid, found.i * grid.n + found.j);
  };
  canvas.onpointercancel = () => release(grid);
  canvas.onpointerleave = () => leave(grid);
  canvas.ondblclick = () => zoomFromCenter(grid, "reset");
}

function drag(grid, point) {
  const { press } = grid;
  const dx = point.x - press.x;
  const dy = point.y - press.y;
  if (!press.moved && Math.hypot(dx, dy) < CLICK_TOLERANCE) return;
  grid.press = { ...point, moved: true };
  grid.canvas.classList.add("dragging");
  grid.tooltip.hide();
  panBy(grid, dx, dy);
  redraw(grid);
}

function release(grid) {
  grid.press = null;
  grid.canvas.classList.remove("dragging");
}

/* Turned all the way out, the wheel scrolls the page again. */
function listenToWheel(grid) {
  grid.canvas.onwheel = (event) => {
    const point = pointOf(grid, event);
    const outAtEnd = grid.view.zoom === 1 && event.deltaY > 0;
    if (outAtEnd || !isInPlot(grid, point.x, point.y)) return;
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    zoomAt(grid, Math.exp(-pixels * 0.002), point.x, point.y);
    hoverAt(grid, point);
    redraw(grid);
  };
}

function zoomFromCenter(grid, direction) {
  if (direction === "reset") grid.view = wholeView();
  else {
    const focus = zoomFocus(grid);
    zoomAt(grid, direction === "in" ? 1.6 : 1 / 1.6, focus.x, focus.y);
  }
  redraw(grid);
}

/* Zooming by key or button keeps the read in hand, or the selected slot, in place. */
function zoomFocus(grid) {
  const { area, hover, selectedSlot: slot, n } = grid;
  const center = { x: area.left + area.width / 2, y: area.top + area.height / 2 };
  if (hover) return keyCenter(grid, hover.i, hover.j);
  if (slot == null) return center;
  const place = keyCenter(grid, Math.floor(slot / n), slot % n);
  return isInPlot(grid, place.x, place.y) ? place : center;
}

/* The read whose dot is nearest to a point, else the key there. */
function thingAt(grid, { x, y }) {
  let nearest = null;
  let best = Infinity;
  for (const read of grid.reads) {
    const place = keyCenter(grid, read.i, read.j);
    const distance = Math.hypot(place.x - x, place.y - y);
    const reach = readRadius(grid, read) + 2;
    if (distance <= reach && distance - reach <= best && isInPlot(grid, place.x, place.y)) {
      nearest = read;
      best = distance - reach;
    }
  }
  if (nearest) return { i: nearest.i, j: nearest.j, read: nearest };
  return keyAt(grid, x, y);
}

function hoverAt(grid, point) {
  hold(grid, thingAt(grid, point));
}

/* Takes a read or a key in hand: guide lines, the text below, and the tip of a read. */
function hold(grid, found) {
  const same = grid.hover?.i === found?.i && grid.hover?.j === found?.j;
  if (same && grid.hover?.read === found?.read) return;
  grid.hover = found;
  if (found?.read) {
    const box = grid.canvas.getBoundingClientRect();
    const { x, y } = keyCenter(grid, found.i, found.j);
    const [left, top] = [box.left + x + 10, box.top + y];
    grid.tooltip.show(found.read.label, { left, top: top - 8, bottom: top + 8 });
  } else grid.tooltip.hide();
  sayWhatIsThere(grid);
  redraw(grid);
}

function leave(grid) {
  if (!grid.press) hold(grid, null);
}

function selectSlot(grid, slot) {
  grid.selection.pick(slot);
  grid.selectedSlot = grid.shownSlot = slot;
  sayWhatIsThere(grid);
  redraw(grid);
}

const STEPS = {
  ArrowRight: [1, 0],
  ArrowLeft: [-1, 0],
  ArrowDown: [0, 1],
  ArrowUp: [0, -1],
};

function pressKey(grid, event) {
  const { key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = STEPS[key] ? readTowards(grid, ...STEPS[key]) : readByWeight(grid, key);
  const zoom = { "+": "in", "=": "in", "-": "out", 0: "reset" }[key];
  const selects = key === "Enter" || key === " ";
  if (target === undefined && !zoom && !selects && key !== "Escape") return;
  event.preventDefault();
  if (zoom) zoomFromCenter(grid, zoom);
  else if (key === "Escape") hold(grid, null);
  else if (selects && grid.hover) selectSlot(grid, grid.hover.i * grid.n + grid.hover.j);
  else if (target) {
    bringIntoView(grid, target.i, target.j);
    hold(grid, { i: target.i, j: target.j, read: target });
  }
}

/* The nearest read in a direction; leaving it costs more than going along it. */
function readTowards(grid, dx, dy) {
  const from = startKey(grid);
  if (!from) return grid.reads[0] ?? null;
  let best = null;
  let least = Infinity;
  for (const read of grid.reads) {
    const along = (read.j - from.j) * dx + (read.i - from.i) * dy;
    const aside = Math.abs((read.j - from.j) * dy) + Math.abs((read.i - from.i) * dx);
    if (along > 0 && along + 2 * aside < least) {
      best = read;
      least = along + 2 * aside;
    }
  }
  return best;
}

/* Page keys go through all reads by weight: no read is out of reach. */
function readByWeight(grid, key) {
  const { reads, hover } = grid;
  const at = reads.indexOf(hover?.read);
  if (key === "Home") return reads[0] ?? null;
  if (key === "End") return reads.at(-1) ?? null;
  if (key === "PageDown") return reads[Math.min(at + 1, reads.length - 1)] ?? null;
  if (key === "PageUp") return reads[Math.max(at - 1, 0)] ?? null;
  return undefined;
}

function startKey(grid) {
  const { hover, selectedSlot: slot, n } = grid;
  if (hover) return hover;
  return slot == null ? null : { i: Math.floor(slot / n), j: slot % n };
}
