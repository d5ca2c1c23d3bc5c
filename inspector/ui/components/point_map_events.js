/* Pointer, wheel and buttons. */
const CLICK_REACH = 9; // CSS pixels
const DRAG_FROM = 4;
const LASSO_STEP = 5;
const MOST_CORNERS = 120;

function listenToMap(map) {
  const { overlay } = map.canvases;
  overlay.onpointerdown = (event) => pressMap(map, event);
  overlay.onpointermove = (event) => movePointer(map, event);
  overlay.onpointerup = (event) => releaseMap(map, event);
  overlay.onpointercancel = () => dropPress(map);
  overlay.onpointerleave = () => map.press || holdPoint(map, -1);
  overlay.ondblclick = () => zoomByButton(map, "reset");
  overlay.onblur = () => holdPoint(map, -1);
  overlay.onkeydown = (event) => pressMapKey(map, event);
  listenToMapWheel(map);
  map.root.querySelector(".tools").onclick = (event) => {
    const { mode, zoom } = event.target.closest("button")?.dataset ?? {};
    if (mode) setMode(map, mode);
    if (zoom) zoomByButton(map, zoom);
  };
  map.root.querySelector(".clear").onclick = () => selectArea(map, []);
}

function setMode(map, mode) {
  map.mode = mode;
  map.drawing = null;
  for (const button of map.root.querySelectorAll("[data-mode]")) {
    button.setAttribute("aria-pressed", button.dataset.mode === mode);
  }
  map.canvases.overlay.classList.toggle("drawing", mode !== "move");
  redrawMap(map);
}

function pointerPlace(map, event) {
  const box = map.canvases.overlay.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function pressMap(map, event) {
  if (event.button !== 0 || !map.index) return;
  const point = pointerPlace(map, event);
  const kind = event.shiftKey && map.mode === "move" ? "box" : map.mode;
  map.press = { ...point, start: point, kind, moved: false };
  map.canvases.overlay.setPointerCapture(event.pointerId);
}

function movePointer(map, event) {
  if (!map.index) return;
  const point = pointerPlace(map, event);
  const { press } = map;
  if (!press) {
    holdPoint(map, pointAt(map, point));
    return;
  }
  const far = Math.hypot(point.x - press.start.x, point.y - press.start.y);
  if (!press.moved && far < DRAG_FROM) return;
  press.moved = true;
  holdPoint(map, -1);
  if (press.kind === "move") {
    map.canvases.overlay.classList.add("dragging");
    panMap(map, point.x - press.x, point.y - press.y);
    Object.assign(press, point);
    redrawMap(map);
  } else drawTo(map, point);
}

/* The box or lasso that is being drawn follows the pointer. */
function drawTo(map, point) {
  const { press } = map;
  if (press.kind === "box") map.drawing = { corners: boxCorners(map, press.start, point) };
  else {
    map.drawing ??= { corners: [unitCorner(map, press.start)] };
    if (Math.hypot(point.x - press.x, point.y - press.y) < LASSO_STEP) return;
    Object.assign(press, point);
    map.drawing.corners.push(unitCorner(map, point));
  }
  redrawOverlay(map);
}

function unitCorner(map, point) {
  const { x, y } = toUnits(map, point);
  const within = (value) => Math.max(-65535, Math.min(2 * 65535, Math.round(value)));
  return [within(x), within(y)];
}

function boxCorners(map, from, to) {
  const [left, top] = unitCorner(map, { x: Math.min(from.x, to.x), y: Math.min(from.y, to.y) });
  const [right, bottom] = unitCorner(map, { x: Math.max(from.x, to.x), y: Math.max(from.y, to.y) });
  return [
    [left, top],
    [right, top],
    [right, bottom],
    [left, bottom],
  ];
}

function releaseMap(map, event) {
  const { press, drawing } = map;
  if (!press) return;
  dropPress(map);
  if (drawing) selectArea(map, thinned(drawing.corners));
  else if (!press.moved) {
    const at = pointAt(map, pointerPlace(map, event));
    if (at >= 0) selectPoint(map, at);
  }
}

function thinned(corners) {
  const step = Math.ceil(corners.length / MOST_CORNERS);
  return corners.filter((_, k) => k % step === 0);
}

function dropPress(map) {
  map.press = map.drawing = null;
  map.canvases.overlay.classList.remove("dragging");
  redrawOverlay(map);
}

function pointAt(map, point) {
  const { x, y } = toUnits(map, point);
  return nearestPoint(map.index, map.lit, x, y, CLICK_REACH / mapScale(map));
}

function holdPoint(map, at) {
  if (map.hover === at) return;
  map.hover = at;
  map.canvases.overlay.classList.toggle("at-point", at >= 0);
  if (at >= 0) {
    const box = map.canvases.overlay.getBoundingClientRect();
    const { x, y } = toScreen(map, map.index.xy[2 * at], map.index.xy[2 * at + 1]);
    const [left, top] = [box.left + x + 12, box.top + y];
    map.tooltip.show(tipText(map, at), { left, top: top - 10, bottom: top + 10 });
  } else map.tooltip.hide();
  if (map.index) sayPoint(map);
  redrawOverlay(map);
}

function selectPoint(map, at) {
  map.selection.pick(map.index.slots[at]);
  map.selected = map.shownSelected = at;
  sayPoint(map);
  redrawOverlay(map);
}

/* Shows an area at once, and until a run has heeded it. */
function selectArea(map, corners) {
  const nonce = Math.max(Date.now(), (map.lastAreaNonce ?? 0) + 1);
  map.lastAreaNonce = nonce;
  map.pendingArea = { corners, subject: map.data.subject, nonce };
  map.setStateValue("area", map.pendingArea);
  showArea(map, corners);
}

function showArea(map, corners) {
  map.area = corners.length > 2 ? corners : [];
  map.root.querySelector(".clear").hidden = !map.area.length;
  lightPoints(map);
  sayPoint(map);
  redrawMap(map);
}

/* Turned all the way out, the wheel scrolls the page again. */
function listenToMapWheel(map) {
  map.canvases.overlay.onwheel = (event) => {
    if (!map.index || (map.view.zoom === 1 && event.deltaY > 0)) return;
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    zoomMap(map, Math.exp(-pixels * 0.002), pointerPlace(map, event));
    holdPoint(map, -1);
    redrawMap(map);
  };
}

function zoomByButton(map, direction) {
  if (!map.index) return;
  if (direction === "reset") map.view = wholeMap(map);
  else {
    const at = map.hover >= 0 ? map.hover : map.selected;
    const center = { x: map.width / 2, y: map.height / 2 };
    const focus = at < 0 ? center : toScreen(map, map.index.xy[2 * at], map.index.xy[2 * at + 1]);
    const inside = focus.x > 0 && focus.y > 0 && focus.x < map.width && focus.y < map.height;
    zoomMap(map, direction === "in" ? 1.6 : 1 / 1.6, inside ? focus : center);
  }
  redrawMap(map);
}
